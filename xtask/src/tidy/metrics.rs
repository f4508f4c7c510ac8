//! Dashboards and alert rules name only metrics that exist: those in the table of the metrics' page, which a
//! test of the daemon compares with a live one.

use std::collections::BTreeSet;

use super::{Finding, tree::Tree};

const PAGE: &str = "tcpstate/docs/metrics.md";
const PREFIX: &str = "tcpstate_";
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let uses: Vec<_> = [".json", ".yml", ".yaml"]
        .iter()
        .flat_map(|ending| tree.ending(ending))
        .filter(|(name, _)| name.starts_with("dashboards/"))
        .collect();
    if uses.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<_> = tree.text(PAGE).unwrap_or_default().lines().filter_map(name_of_row).collect();
    if known.is_empty() {
        return vec![Finding::new(
            PAGE,
            1,
            format!("there is no row \"| `{PREFIX}\"; list the metrics in it"),
        )];
    }
    let exists = |name: &str| {
        let series = HISTOGRAM.iter().filter_map(|suffix| name.strip_suffix(suffix));
        known.contains(name) || series.into_iter().any(|base| known.contains(base))
    };
    let mut findings = Vec::new();
    for (file, text) in uses {
        for (index, line) in text.lines().enumerate() {
            for name in names_in(line).filter(|name| !exists(name)) {
                findings.push(Finding::new(
                    file,
                    index + 1,
                    format!("no metric {name} in {PAGE}; name one that is"),
                ));
            }
        }
    }
    findings
}

/// The metric of one row of the table.
fn name_of_row(line: &str) -> Option<&str> {
    let name = line.strip_prefix("| `")?;
    let name = &name[..name.find(|c| !is_of_name(c))?];
    name.starts_with(PREFIX).then_some(name)
}

/// The metrics' names in one line; the names of recording rules, which hold a colon, are left out.
fn names_in(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c| !is_of_name(c) && c != ':');
    words.filter(|word| word.len() > PREFIX.len() && word.starts_with(PREFIX) && !word.contains(':'))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{Tree, check};

    const TABLE: &str = "| name | what |\n| --- | --- |\n| `tcpstate_sockets{state}` | how many |\n\
                         | `tcpstate_state_duration_seconds` | how long |\n";

    #[track_caller]
    fn assert_found(file: &str, text: &str, expected: &[&str]) {
        let found = check(&Tree::of(&[("tcpstate/docs/metrics.md", TABLE), (file, text)]));
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn metrics_of_the_table_may_be_used() {
        let text = r#"{"expr": "sum(rate(tcpstate_sockets{state=\"CLOSE_WAIT\"}[5m]))"}"#;
        assert_found("dashboards/overview.json", text, &[]);
        assert_found("dashboards/rules.yml", "expr: tcpstate_state_duration_seconds_bucket", &[]);
    }

    #[test]
    fn a_metric_that_does_not_exist_is_told_with_its_line() {
        assert_found(
            "dashboards/rules.yml",
            "groups:\n  expr: tcpstate_socks > 0",
            &[
                "dashboards/rules.yml:2: no metric tcpstate_socks in tcpstate/docs/metrics.md; name one that is",
            ],
        );
    }

    #[test]
    fn recording_rules_and_other_words_are_left_alone() {
        assert_found("dashboards/rules.yml", "record: tcpstate_socks:rate5m\nname: my_tcpstate_thing", &[]);
        assert_found("dashboards/rules.yml", "record: job:tcpstate_socks:rate5m", &[]);
        assert_found("elsewhere/rules.yml", "tcpstate_socks", &[]);
    }

    #[test]
    fn a_page_without_a_table_is_told() {
        let found = check(&Tree::of(&[("dashboards/a.json", "{}")]));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].path, "tcpstate/docs/metrics.md");
    }
}
