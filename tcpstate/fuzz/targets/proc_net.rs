//! Rows of `/proc/net/tcp` and `/proc/net/tcp6`.

use std::fs;

use crate::{fuzz::fuzz, observe::proc_net, track::Family};

fn seeds() -> Vec<Vec<u8>> {
    let files = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let lines = files.iter().flatten().flat_map(|text| text.lines().take(20));
    let mut seeds: Vec<_> = lines.map(|line| line.as_bytes().to_vec()).collect();
    for (state, timer) in
        [(1, "01:00000014"), (6, "03:00001770"), (8, "02:FFFFFFFFFFFFFFFF"), (10, "00:00000000")]
    {
        let more = format!(
            "{state:02X} 00000000:00000001 {timer} 00000000  1000        0 4711 1 0000 20 4 30 10 -1"
        );
        seeds.push(format!("   0: 0100007F:1F90 0200007F:C350 {more}").into_bytes());
        let v6 = "0000000000000000FFFF00000100007F";
        seeds.push(format!("   0: {v6}:1F90 {v6}:C350 {more}").into_bytes());
    }
    seeds
}

#[test]
fn proc_net() {
    fuzz("proc_net", seeds(), |bytes| {
        let line = String::from_utf8_lossy(bytes);
        for family in [Family::V4, Family::V6] {
            drop(proc_net::row(&line, family, 1));
        }
    });
}
