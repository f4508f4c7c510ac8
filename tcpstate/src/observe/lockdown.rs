//! Whether the kernel keeps itself from being read (`kernel_lockdown`(7)).

use std::fs;

/// The mode in which nobody may read the kernel's memory, eBPF programs neither (`LOCKDOWN_BPF_READ_KERNEL` in
/// `include/linux/security.h`).
const CONFIDENTIALITY: &str = "confidentiality";
/// What the verifier says of the helpers that this mode takes away, up to 7.2 and since 7.3.
const NO_HELPER: [&str; 2] = ["cannot use helper bpf_probe_read", "The helper bpf_probe_read"];

/// The mode in force; `None` where the kernel does not say it.
#[must_use]
pub fn mode() -> Option<String> {
    parse(&fs::read_to_string("/sys/kernel/security/lockdown").ok()?).map(str::to_owned)
}

/// Why eBPF programs that were refused with these words may not run, if the mode is the reason. Where the mode is not known
/// the words tell it.
#[must_use]
pub fn refusal(mode: Option<&str>, words: &str) -> Option<&'static str> {
    mode.map_or_else(|| NO_HELPER.iter().any(|no_helper| words.contains(no_helper)), |mode| mode == CONFIDENTIALITY).then_some(
        "this kernel is locked down (lockdown=confidentiality), so that no eBPF program may read its memory: lockdown=integrity would let them",
    )
}

/// The bracketed word.
fn parse(text: &str) -> Option<&str> {
    Some(text.split_once('[')?.1.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confidentiality_keeps_programs_from_reading() {
        let mode = |text| parse(text);
        assert_eq!(
            refusal(mode("none integrity [confidentiality]\n"), "Operation not permitted")
                .map(|why| why.split(':').next().unwrap_or(why)),
            Some(
                "this kernel is locked down (lockdown=confidentiality), so that no eBPF program may read its memory"
            )
        );
        for other in ["[none] integrity confidentiality\n", "none [integrity] confidentiality\n", "", "[none"]
        {
            assert_eq!(refusal(mode(other), "Operation not permitted"), None, "{other}");
        }
        let words = "Invalid argument (program of this type cannot use helper bpf_probe_read#4)";
        assert!(refusal(None, "(The helper bpf_probe_read#4 is not allowed: …)").is_some());
        assert!(refusal(None, words).is_some() && refusal(Some("integrity"), words).is_none());
    }
}
