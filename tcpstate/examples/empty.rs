//! Loads and attaches the empty program (`tcpstate-ebpf/src/bin/empty.rs`) for `cargo xtask bench`.
//!
//! `empty OBJECT` prints `ready` when the program of that object file is attached, and ends when its input does.

use std::io::{self, Write};

use anyhow::{Context, Result};
use aya::{Btf, Ebpf, programs::BtfTracePoint};

fn main() -> Result<()> {
    let object = std::env::args_os().nth(1).context("usage: empty OBJECT")?;
    let btf = Btf::from_sys_fs().context("the kernel's BTF cannot be read")?;
    let mut ebpf = Ebpf::load_file(object).context("the object cannot be loaded")?;
    let program: &mut BtfTracePoint =
        ebpf.program_mut("empty").context("the object lacks the program")?.try_into()?;
    program.load("inet_sock_set_state", &btf).context("the kernel refused the program")?;
    program.attach().context("the program cannot be attached")?;
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
