//! What the tests report, line by line.

/// Reasons to skip a test that are accepted in CI, by how they begin: kernels are made that way.
const ACCEPTED: [&str; 3] =
    ["this kernel has no BTF", "this kernel has no MPTCP", "this kernel destroys no sockets"];

/// What the tests reported.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Why tests were skipped.
    pub(super) skipped: Vec<String>,
    /// Tests that were tried once more, and why.
    pub(super) repeated: Vec<String>,
    pub(super) failures: Vec<String>,
}

impl Tally {
    /// Takes in one line of the tests' output.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            for part in result.split(['.', ';']) {
                match part.trim().split_once(' ') {
                    Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                    Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                    _ => {}
                }
            }
        } else if let Some(name) = line.trim_end().strip_suffix(" ... FAILED") {
            self.failures.push(name.trim_start_matches("test ").to_owned());
        } else if let Some((_, why)) = line.trim_end().split_once("SKIPPED: ") {
            self.skipped.push(why.to_owned());
        } else if let Some((_, what)) = line.trim_end().split_once("REPEATED: ") {
            self.repeated.push(what.to_owned());
        }
    }

    /// Why tests were skipped that have to run in CI.
    pub(super) fn skipped_without_need(&self) -> impl Iterator<Item = &String> {
        self.skipped.iter().filter(|why| !ACCEPTED.iter().any(|accepted| why.starts_with(accepted)))
    }

    pub(super) fn summary(&self, code: u8) -> String {
        let Self { passed, failed, .. } = self;
        let some = |count: usize, what: &str| match count {
            0 => String::new(),
            count => format!(", {count} {what}"),
        };
        let skipped = some(self.skipped.len(), "skipped");
        let repeated = some(self.repeated.len(), "repeated");
        // Something other than a test went wrong, such as a test program that crashed.
        let ended =
            if code != 0 && *failed == 0 { format!("; cargo test ended with {code}") } else { String::new() };
        format!("{passed} passed, {failed} failed{skipped}{repeated}{ended}")
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn a_failure_without_a_failed_test_is_told() {
        assert_eq!(Tally::default().summary(101), "0 passed, 0 failed; cargo test ended with 101");
        assert_eq!(Tally::default().summary(0), "0 passed, 0 failed");
    }

    #[test]
    fn what_was_skipped_or_repeated_is_in_the_summary() {
        let tally =
            tally(&["SKIPPED: it needs root\n", "REPEATED: that, during which\n", "REPEATED: that\n"]);
        assert_eq!(tally.summary(0), "0 passed, 0 failed, 1 skipped, 2 repeated");
        assert_eq!(tally.repeated[0], "that, during which");
    }

    #[test]
    fn only_what_a_kernel_cannot_do_may_be_skipped_in_ci() {
        let tally = tally(&[
            "SKIPPED: this kernel has no MPTCP (Protocol not supported)\n",
            "SKIPPED: it needs root\n",
        ]);
        assert_eq!(tally.skipped_without_need().collect::<Vec<_>>(), ["it needs root"]);
    }
}
