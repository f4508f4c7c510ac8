//! Takes in the eBPF object that `cargo xtask build` makes before it builds this crate.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=TCPSTATE_EBPF_OBJECT");
    let object = env::var_os("TCPSTATE_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/tcpstate.bpf.o"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env=TCPSTATE_EBPF_OBJECT={}", object.display()),
        Err(error) => println!(
            "cargo::error=the eBPF object {} is not there ({error}): run `cargo xtask build`, which makes it",
            object.display()
        ),
    }
}
