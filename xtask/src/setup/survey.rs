//! Looks at what is there and what is missing, and changes nothing.
//!
//! Input: `Places`. Output: one `Survey`, from which everything that setup does follows.

use std::path::PathBuf;

use super::{
    Needs, apt,
    compiler::{self, Compiler, Refused},
    linker,
    places::Places,
    promtool, redocly, schemathesis,
};

/// The programs that tests start beside promtool, each with the Debian package that brings it.
const TEST_PROGRAMS: [(&str, &str); 5] = [
    ("ss", "iproute2"),
    ("ip", "iproute2"),
    ("nstat", "iproute2"),
    ("systemd-analyze", "systemd"),
    ("bpftool", "bpftool"),
];

/// What one look at the machine found.
pub(super) struct Survey {
    needs: Needs,
    pub(super) compiler: Result<Compiler, Refused>,
    /// The folder of the bpf-linker that fits the compiler.
    pub(super) linker: Option<PathBuf>,
    /// Whether a linker for ordinary programs is there.
    pub(super) cc: bool,
    /// The test programs that are missing, with their packages.
    pub(super) missing: Vec<(&'static str, &'static str)>,
    pub(super) promtool: Option<PathBuf>,
    pub(super) schemathesis: Option<PathBuf>,
    pub(super) redocly: Option<PathBuf>,
}

/// One line of `setup --check`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) there: bool,
    pub(super) text: String,
}

impl Survey {
    pub(super) fn take(places: &Places, needs: Needs) -> Self {
        let compiler = compiler::choose(places);
        let linker = compiler.as_ref().ok().and_then(|compiler| linker::find(places, compiler));
        let cc = ["cc", "gcc", "clang"].iter().any(|name| places.program(name).is_some());
        let for_tests = needs == Needs::Test;
        let missing = TEST_PROGRAMS.into_iter().filter(|(program, _)| places.program(program).is_none());
        let find = |find: fn(&Places) -> Option<PathBuf>| for_tests.then(|| find(places)).flatten();
        Self {
            needs,
            compiler,
            linker,
            cc,
            missing: if for_tests { missing.collect() } else { Vec::new() },
            promtool: find(promtool::find),
            schemathesis: find(schemathesis::find),
            redocly: find(redocly::find),
        }
    }

    /// Says whether all that was asked for is there.
    pub(super) fn is_complete(&self) -> bool {
        self.lines().iter().all(|line| line.there)
    }

    /// The packages without which nothing can be built.
    pub(super) fn packages_to_build(&self) -> Vec<&'static str> {
        let compiler = self.compiler.is_err().then_some(apt::COMPILER);
        let cc = (!self.cc).then_some(apt::CC);
        [compiler, cc].into_iter().flatten().flatten().collect()
    }

    /// The packages without which some tests are skipped.
    pub(super) fn packages_to_test(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.missing.iter().map(|(_, package)| *package).collect();
        packages.dedup();
        packages
    }

    /// What is there and what is missing, one line for each thing.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut lines = vec![match &self.compiler {
            Ok(compiler) => Line { there: true, text: format!("eBPF compiler: {compiler}") },
            Err(Refused { nightly, system }) => {
                Line { there: false, text: format!("eBPF compiler: {nightly}; {system}") }
            }
        }];
        lines.push(found("bpf-linker", self.linker.as_ref(), "built by `cargo xtask setup`"));
        lines.push(Line { there: self.cc, text: "cc, a linker for ordinary programs".into() });
        if self.needs == Needs::Test {
            for (program, package) in TEST_PROGRAMS {
                let there = !self.missing.contains(&(program, package));
                lines.push(Line { there, text: format!("{program}, for tests (package {package})") });
            }
            let fetched = [
                ("promtool, for tests", &self.promtool),
                ("schemathesis, for tests", &self.schemathesis),
                ("redocly, for tests", &self.redocly),
            ];
            for (what, place) in fetched {
                lines.push(found(what, place.as_ref(), "fetched by `cargo xtask setup`"));
            }
        }
        lines
    }
}

fn found(what: &str, place: Option<&PathBuf>, how: &str) -> Line {
    let detail = place.map_or_else(|| how.to_owned(), |it| it.display().to_string());
    Line { there: place.is_some(), text: format!("{what}: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::Survey;
    use crate::{
        scratch::Scratch,
        setup::{Needs, places::Places},
    };

    fn empty_machine(scratch: &Scratch) -> Places {
        let nowhere = scratch.path().join("nowhere");
        Places {
            path: vec![scratch.path().join("bin")],
            toolchains: nowhere.clone(),
            system_rustc: nowhere.clone(),
            libraries: vec![],
            cache: nowhere,
            ask: Box::new(|_, _| None),
        }
    }

    #[test]
    fn an_empty_machine_needs_a_compiler_and_a_linker() {
        let scratch = Scratch::new();
        let survey = Survey::take(&empty_machine(&scratch), Needs::Build);
        let wanted = ["rustc-web", "libstd-rust-web-dev-bpf", "gcc", "libc6-dev"];
        assert_eq!(survey.packages_to_build(), wanted);
        assert!(survey.packages_to_test().is_empty(), "building needs no test programs");
        assert!(!survey.is_complete());
    }

    #[test]
    fn each_package_is_asked_for_once_and_only_when_a_program_of_it_is_missing() {
        let scratch = Scratch::new();
        scratch.program("bin/systemd-analyze");
        scratch.program("bin/ss");
        scratch.program("bin/cc");
        let survey = Survey::take(&empty_machine(&scratch), Needs::Test);
        assert_eq!(survey.packages_to_test(), ["iproute2", "bpftool"]);
        assert_eq!(survey.packages_to_build(), ["rustc-web", "libstd-rust-web-dev-bpf"]);
        let missing: Vec<_> = survey.lines().into_iter().filter(|it| !it.there).map(|it| it.text).collect();
        assert_eq!(missing.len(), 8, "{missing:#?}");
    }

    #[test]
    fn a_file_that_nobody_may_execute_is_no_program() {
        let scratch = Scratch::new();
        scratch.file("bin/cc", "");
        assert!(!Survey::take(&empty_machine(&scratch), Needs::Build).cc);
    }
}
