//! The systemd unit is one that systemd understands, and that keeps the daemon in its place.

#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{fs, path::Path, process::Command};

/// Exposure that `systemd-analyze security` may find at most, in tenths of its 0 to 10. What is left is mostly the
/// capabilities that the features need.
const EXPOSURE: &str = "30";

fn systemd_analyze(test: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(arguments).output() else {
        support::skip(&format!("{test} needs systemd-analyze"));
        return None;
    };
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

/// The unit as it is installed, with the program where it was built.
fn unit(name: &str) -> String {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/tcpstate.service"))
        .expect("the unit");
    let text = text.replace("/usr/local/bin/tcpstate", env!("CARGO_BIN_EXE_tcpstate"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("tcpstate.service");
    fs::write(&file, text).expect("the unit is written");
    file.to_str().expect("a path").to_owned()
}

#[test]
fn unit_is_understood() {
    let unit = unit("verify");
    let Some((right, text)) = systemd_analyze("unit_is_understood", &["verify", "--man=no", &unit]) else {
        return;
    };
    let ours: Vec<_> = text.lines().filter(|line| line.contains("tcpstate")).collect();
    assert!(right && ours.is_empty(), "{text}");
}

#[test]
fn unit_is_hardened() {
    let unit = unit("security");
    let threshold = format!("--threshold={EXPOSURE}");
    let arguments = ["security", "--no-pager", "--offline=true", &threshold, &unit];
    let Some((right, text)) = systemd_analyze("unit_is_hardened", &arguments) else { return };
    assert!(right, "{text}");
}
