//! `/proc/PID/mountinfo`.

use std::fs;

use crate::{fuzz::fuzz, observe::evidence::freezer::Freezers};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        b"29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n".to_vec(),
        b"36 32 0:31 /a\\040b /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n1 1 0:1 / / rw - ext4\n"
            .to_vec(),
    ];
    seeds.extend(fs::read("/proc/self/mountinfo").ok());
    seeds
}

#[test]
fn mountinfo() {
    fuzz("mountinfo", seeds(), |bytes| drop(Freezers::parse(bytes)));
}
