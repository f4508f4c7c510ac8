//! How many events the kernel hands to eBPF programs at `inet_sock_set_state`, by a program that does nothing else
//! (`tcpstate-ebpf/src/bin/witness.rs`). What it was handed, the daemon's programs were to be handed as well.

use std::{
    env, fs,
    os::fd::{AsFd, AsRawFd},
    path::PathBuf,
    sync::LazyLock,
};

use aya::{Btf, Ebpf, maps::PerCpuArray, programs::BtfTracePoint};

static PROGRAM: LazyLock<Option<Ebpf>> = LazyLock::new(attach);

fn attach() -> Option<Ebpf> {
    // `cargo xtask test` builds it beside the daemon's object.
    let object = PathBuf::from(env::var_os("TCPSTATE_EBPF_OBJECT")?).with_file_name("witness.bpf.o");
    let btf = Btf::from_sys_fs().ok()?;
    let mut ebpf = Ebpf::load_file(object).ok()?;
    let program: &mut BtfTracePoint = ebpf.program_mut("witness")?.try_into().ok()?;
    program.load("inet_sock_set_state", &btf).ok()?;
    program.attach().ok()?;
    Some(ebpf)
}

/// Events that were handed to programs so far, those included that met the program running already; `None` where it
/// cannot be loaded.
pub(crate) fn handed() -> Option<u64> {
    let ebpf = PROGRAM.as_ref()?;
    let counts = PerCpuArray::<_, u64>::try_from(ebpf.map("HANDED")?).ok()?;
    let counted: u64 = counts.get(&0, 0).ok()?.iter().sum();
    let fd = ebpf.program("witness")?.fd().ok()?.as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let missed = text.lines().find_map(|line| line.strip_prefix("recursion_misses:"))?;
    Some(counted + missed.trim().parse::<u64>().ok()?)
}
