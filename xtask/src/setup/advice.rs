//! The words for a user: what is about to be installed, and what to run by hand where we may not install.

use super::{apt, compiler::Refused};

/// Says what is about to be installed, with its rough size.
pub(super) fn about_to_install(packages: &[&str]) -> String {
    let size = if packages.contains(&apt::COMPILER[0]) {
        "about 120 MB to download, 550 MB on disk, a minute or two"
    } else if packages.contains(&apt::CC[0]) {
        "about 40 MB to download"
    } else if packages.contains(&"qemu-system-x86") {
        "about 20 MB to download, 75 MB on disk"
    } else {
        "a few MB"
    };
    format!("installing with apt-get: {} ({size})", packages.join(" "))
}

/// Why nothing can be installed from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    NotRoot,
    NoAptGet,
    /// apt-get was tried and this is what came of it.
    AptFailed(String),
}

/// The whole text for a user who has to do by hand what building needs.
pub(super) fn by_hand(packages: &[&str], refused: Option<&Refused>, obstacle: &Obstacle) -> String {
    let mut lines: Vec<String> = Vec::new();
    if let Some(Refused { nightly, system }) = refused {
        lines.push("the eBPF half of tcpstate needs a compiler of its own, and I found none:".into());
        lines.push(format!("  rustup's nightly: {nightly}"));
        lines.push(format!("  Debian's packages: {system}"));
    } else {
        lines.push("a linker for ordinary programs (cc) is missing".into());
    }
    lines.push(match obstacle {
        Obstacle::NotRoot => {
            "I am not root and sudo would ask for a password, so please run this yourself:".into()
        }
        Obstacle::NoAptGet => "This machine has no apt-get, so please do this yourself:".into(),
        Obstacle::AptFailed(why) => format!("{why}. What is left:"),
    });
    let apt = format!("    sudo apt-get install --no-install-recommends {}", packages.join(" "));
    if matches!(obstacle, Obstacle::AptFailed(_)) {
        lines.extend([
            String::new(),
            "By hand, where you decide if apt-get wants to remove something:".into(),
        ]);
        lines.push(apt);
    } else if *obstacle == Obstacle::NotRoot {
        lines.extend([String::new(), "With Debian's packages:".into()]);
        lines.extend(["    sudo apt-get update".into(), apt]);
    }
    if refused.is_some() {
        let or = if *obstacle == Obstacle::NoAptGet { "With rustup" } else { "Or with rustup" };
        lines.extend([String::new(), format!("{or} (https://rustup.rs), which needs no root:")]);
        lines.push("    rustup toolchain install nightly --profile minimal --component rust-src".into());
    }
    if *obstacle == Obstacle::NoAptGet && packages.contains(&apt::CC[0]) {
        lines.extend([
            String::new(),
            "With your system's package manager: a C compiler that is called cc.".into(),
        ]);
    }
    lines.extend([String::new(), "Then run `cargo xtask setup` again.".into()]);
    lines.join("\n")
}

/// The line for a user who has to install test programs by hand.
pub(super) fn tests_by_hand(packages: &[&str]) -> String {
    format!(
        "tests that need these will say SKIPPED; to have them: sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::{Obstacle, about_to_install, by_hand};
    use crate::setup::compiler::Refused;

    fn refused() -> Refused {
        Refused { nightly: "rustup has no nightly toolchain".into(), system: "there is no rustc".into() }
    }

    #[test]
    fn a_user_without_root_gets_the_exact_commands_of_both_ways() {
        let packages = ["rustc-web", "libstd-rust-web-dev-bpf"];
        let text = by_hand(&packages, Some(&refused()), &Obstacle::NotRoot);
        let expected = "\
the eBPF half of tcpstate needs a compiler of its own, and I found none:
  rustup's nightly: rustup has no nightly toolchain
  Debian's packages: there is no rustc
I am not root and sudo would ask for a password, so please run this yourself:

With Debian's packages:
    sudo apt-get update
    sudo apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf

Or with rustup (https://rustup.rs), which needs no root:
    rustup toolchain install nightly --profile minimal --component rust-src

Then run `cargo xtask setup` again.";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_machine_without_apt_get_is_told_the_way_that_is_left() {
        let text = by_hand(&["rustc-web"], Some(&refused()), &Obstacle::NoAptGet);
        assert!(!text.contains("sudo apt-get"), "{text}");
        assert!(text.contains("\nWith rustup (https://rustup.rs)"), "{text}");
    }

    #[test]
    fn a_failed_apt_get_leaves_both_ways() {
        let failed = Obstacle::AptFailed("apt-get knows no package".into());
        let text = by_hand(&["rustc-web"], Some(&refused()), &failed);
        assert!(text.contains("apt-get knows no package. What is left:\n\nBy hand, "), "{text}");
        assert!(text.contains("\n    sudo apt-get install --no-install-recommends rustc-web\n"), "{text}");
        assert!(text.contains("rustup toolchain install nightly"), "{text}");
    }

    #[test]
    fn only_a_linker_missing_does_not_speak_of_compilers() {
        let text = by_hand(&["gcc", "libc6-dev"], None, &Obstacle::NotRoot);
        assert!(!text.contains("rustup"), "{text}");
        assert!(text.contains("    sudo apt-get install --no-install-recommends gcc libc6-dev\n"), "{text}");
    }

    #[test]
    fn the_size_is_told_before_the_compiler_is_installed() {
        assert!(about_to_install(&["rustc-web"]).contains("550 MB"));
        assert!(about_to_install(&["qemu-system-x86"]).contains("75 MB"));
        assert!(about_to_install(&["iproute2"]).contains("a few MB"));
    }
}
