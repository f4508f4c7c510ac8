//! Files below /proc: of a process, and of the network.

use std::fs;

use crate::{
    fuzz::fuzz,
    observe::{
        evidence::{script, sockstat::Sockstat},
        procfs,
    },
};

fn seeds() -> Vec<Vec<u8>> {
    let files = ["/proc/self/stat", "/proc/self/cmdline", "/proc/net/sockstat"];
    let mut seeds: Vec<_> = files.iter().filter_map(|file| fs::read(file).ok()).collect();
    seeds.push(b"7 (a) b) (c) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 4711 0\n".to_vec());
    seeds.push(b"python3\0-m\0http.server\0--bind\0::1\0".to_vec());
    seeds.push(b"sh\0-c\0exec node server.js\0".to_vec());
    seeds
}

#[test]
fn procfs() {
    fuzz("procfs", seeds(), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = procfs::parse_stat(bytes);
        let _ = Sockstat::parse(&text);
        for exe in ["/usr/bin/python3", "/usr/bin/node", "/bin/sh", "/usr/lib/jvm/bin/java"] {
            drop(script::of(exe, bytes));
        }
    });
}
