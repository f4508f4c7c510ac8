//! Whether this machine can run scenarios at all, told in one sentence where it cannot.

use anyhow::{Result, ensure};

use crate::host;

/// Programs that the scenarios start, each with the Debian package that brings it.
const PROGRAMS: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nstat", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("sh", "dash"),
];

/// # Errors
/// Names what is missing, and how to get it.
pub(super) fn check() -> Result<()> {
    ensure!(host::is_root(), "the scenarios make network namespaces: run `cargo xtask scenarios` as root");
    let path = host::search_path();
    for (program, package) in PROGRAMS {
        ensure!(
            host::find_program(&path, program).is_some(),
            "the scenarios need `{program}`: install the package {package}"
        );
    }
    Ok(())
}
