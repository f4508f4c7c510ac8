//! The judgement on answers as the daemon gives them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Expected, Facts, Outcome, is_complete, judge};
use crate::scenarios::{finding::Finding, record::Record};

const LEAK: &str = "close-wait-leak";

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A scenario in namespace 7: process 40 leaks its descriptors 5 and 6 from second 10 on, and 41 is its client.
fn leak() -> Facts {
    Facts {
        netns: [7].into(),
        pids: [40, 41].into(),
        expected: vec![Expected {
            classes: vec![LEAK],
            owners: [40].into(),
            owner_may_be_unknown: false,
            needs_descriptors: true,
            has_to_warn: false,
            stood: at(10),
        }],
        descriptors: [(40, [5, 6].into())].into(),
        begun: at(5),
        begun_as_of: "2026-01-01T00:00:05.000Z".into(),
        ended: at(60),
        ..Facts::default()
    }
}

/// The same without the bug.
fn look_alike() -> Facts {
    Facts { expected: Vec::new(), ..leak() }
}

/// What the daemon says of it.
fn finding() -> Value {
    json!({
        "id": "close-wait-leak-1f3a9c02b4d5e6f7", "class": LEAK, "severity": "warning",
        "status": "open",
        "subject": {"pid": 40, "comm": "payments", "netns": 7, "peer": null, "processes": [{"pid": 40, "count": 2}]},
        "opened_at": "2026-01-01T00:00:12.000Z", "verdict": "payments[40] closed none",
        "sockets": [{"cookie": "1", "state": "CLOSE_WAIT", "pid": 40, "fd": 5},
                    {"cookie": "2", "state": "CLOSE_WAIT", "pid": null, "fd": null}],
    })
}

fn with(changes: &Value) -> Value {
    let mut finding = finding();
    for (pointer, value) in changes.as_object().unwrap() {
        *finding.pointer_mut(pointer).unwrap() = value.clone();
    }
    finding
}

fn outcome(facts: &Facts, polls: &[(u64, Vec<Value>)]) -> Outcome {
    judge(facts, &record(polls))
}

fn record(polls: &[(u64, Vec<Value>)]) -> Record {
    let mut record = Record::default();
    for (second, findings) in polls {
        let answer = json!({ "findings": findings });
        record.take(at(*second), "2026-01-01T00:00:00.000Z", Finding::all(&answer));
    }
    record
}

#[track_caller]
fn assert_wrong(outcome: &Outcome, part: &str) {
    assert_eq!(outcome.wrong.len(), 1, "{outcome:#?}");
    assert!(outcome.wrong[0].contains(part), "{outcome:#?}");
}

#[test]
fn the_right_verdict_in_time_is_on_the_diagonal() {
    let outcome = outcome(&leak(), &[(11, vec![]), (14, vec![finding()]), (15, vec![finding()])]);
    assert!(outcome.is_right(), "{outcome:#?}");
    assert_eq!(outcome.answers[0].seconds, Some(4.0));
    assert_eq!(outcome.answers[0].class, LEAK);
}

#[test]
fn a_verdict_before_the_signature_is_announced_took_no_time() {
    assert_eq!(outcome(&leak(), &[(8, vec![finding()])]).answers[0].seconds, Some(0.0));
}

#[test]
fn a_missing_verdict_is_wrong() {
    assert_wrong(&outcome(&leak(), &[(20, vec![])]), "no verdict close-wait-leak");
    assert!(!is_complete(&leak(), &record(&[(20, vec![])])));
    assert!(is_complete(&leak(), &record(&[(20, vec![finding()])])));
}

#[test]
fn a_late_verdict_is_wrong() {
    assert!(outcome(&leak(), &[(40, vec![finding()])]).is_right());
    assert_wrong(&outcome(&leak(), &[(41, vec![finding()])]), "took 31.0 s, more than 30 s");
}

#[test]
fn an_innocent_process_is_never_to_be_named() {
    let blamed = with(&json!({"/subject/pid": 41}));
    let outcome = outcome(&leak(), &[(12, vec![blamed]), (14, vec![finding()])]);
    assert_wrong(&outcome, "names 41, who is innocent");
    let joined = with(&json!({"/subject/processes": [{"pid": 40, "count": 1}, {"pid": 41, "count": 1}]}));
    assert_wrong(&self::outcome(&leak(), &[(12, vec![joined])]), "names 41, who is innocent");
    let mut facts = leak();
    facts.expected[0].needs_descriptors = false;
    let blamed = with(&json!({"/subject/pid": 41}));
    assert!(!is_complete(&facts, &record(&[(12, vec![blamed])])), "such a verdict is none");
}

#[test]
fn nobody_named_is_not_enough_where_the_owner_can_be_known() {
    let unnamed = with(&json!({"/subject/pid": null}));
    assert_wrong(&outcome(&leak(), &[(12, vec![unnamed.clone()])]), "never named the right owner");
    let mut facts = leak();
    facts.expected[0].owner_may_be_unknown = true;
    facts.expected[0].needs_descriptors = false;
    assert!(outcome(&facts, &[(12, vec![unnamed])]).is_right());
}

#[test]
fn what_has_to_be_a_warning_is_not_there_before_it_is_one() {
    let mut facts = leak();
    facts.expected[0].has_to_warn = true;
    let mention = with(&json!({"/severity": "info"}));
    assert_wrong(&outcome(&facts, &[(12, vec![mention.clone()])]), "right owner in a warning");
    let found = outcome(&facts, &[(12, vec![mention]), (30, vec![finding()])]);
    assert!(found.is_right(), "{found:#?}");
    assert_eq!(found.answers[0].seconds, Some(20.0));
}

#[test]
fn the_descriptors_have_to_be_those_that_leak() {
    let innocent = with(&json!({"/sockets/0/fd": 9}));
    let found = outcome(&leak(), &[(12, vec![innocent]), (13, vec![finding()])]);
    assert_wrong(&found, "names descriptor 9 of 40");
    let none = with(&json!({"/sockets": []}));
    assert_wrong(&outcome(&leak(), &[(12, vec![none])]), "never named the right owner");
}

#[test]
fn another_class_may_be_mentioned_but_not_alert() {
    let changes = json!({"/class": "half-open", "/id": "half-open-1", "/subject/pid": 41});
    let alert = with(&changes);
    let found = outcome(&leak(), &[(12, vec![finding(), alert.clone()])]);
    assert_wrong(&found, "half-open (warning) is not true");
    let mut mention = alert.clone();
    mention["severity"] = "info".into();
    let found = outcome(&leak(), &[(12, vec![finding(), mention])]);
    assert!(found.is_right() && found.mentioned.contains("half-open"), "{found:#?}");
    let mut facts = leak();
    facts.permitted.push(("half-open", Some(41)));
    assert!(outcome(&facts, &[(12, vec![finding(), alert])]).is_right());
}

#[test]
fn a_look_alike_may_not_alert_by_namespace_or_by_process() {
    assert!(outcome(&look_alike(), &[(12, vec![])]).is_right());
    assert_wrong(&outcome(&look_alike(), &[(12, vec![finding()])]), "is not true");
    let elsewhere = with(&json!({"/subject/netns": 8}));
    assert_wrong(&outcome(&look_alike(), &[(12, vec![elsewhere])]), "is not true");
    let by_place = with(&json!({"/subject/pid": null}));
    assert_wrong(&outcome(&look_alike(), &[(12, vec![by_place])]), "is not true");
    let mention = with(&json!({"/severity": "info"}));
    assert!(outcome(&look_alike(), &[(12, vec![mention])]).is_right());
}

#[test]
fn what_belongs_to_others_or_to_another_time_does_not_count() {
    let other = with(&json!({"/subject/netns": 8, "/subject/pid": 90}));
    let older = with(&json!({"/opened_at": "2026-01-01T00:00:04.000Z"}));
    for polls in [(12, vec![other]), (12, vec![older]), (4, vec![finding()]), (61, vec![finding()])] {
        assert!(outcome(&look_alike(), &[polls]).is_right());
    }
}

#[test]
fn one_trouble_is_told_once() {
    let again = with(&json!({"/id": "close-wait-leak-2"}));
    assert_wrong(&outcome(&leak(), &[(12, vec![finding(), again])]), "told 2 times");
}

#[test]
fn two_processes_with_the_same_bug_are_two_findings() {
    let mut facts = leak();
    facts.expected.push(Expected { owners: [41].into(), ..facts.expected[0].clone() });
    facts.descriptors.insert(41, [8].into());
    let second = with(
        &json!({"/id": "close-wait-leak-2", "/subject/pid": 41, "/sockets/0/pid": 41, "/sockets/0/fd": 8}),
    );
    assert!(outcome(&facts, &[(12, vec![finding(), second])]).is_right());
    assert_wrong(&outcome(&facts, &[(12, vec![finding()])]), "never named the right owner");
}
