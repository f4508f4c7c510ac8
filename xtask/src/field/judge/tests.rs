//! The judgement on findings as the daemon gives them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, judge};
use crate::field::{
    case::{Case, Want},
    finding::Record,
    processes::{Process, Roles},
};

const BUG: Case = Case::bug(
    "hung",
    "a proxy waits for a service",
    |_| Ok(()),
    &[Want::warning(&["unanswered-requests"], &["backend"]).names(&["proxy"]).says(&["lock|mutex", "36"])],
);

const HEALTHY: Case = Case::healthy("well", "nothing is wrong", |_| Ok(()), |_| Ok(()));

/// Process 40 is the backend, 50 and 51 are the proxy.
fn roles() -> Roles {
    let mut roles = Roles::of(1);
    roles.add_starter(4, "backend");
    roles.add_starter(5, "proxy");
    let process = |pid, parent| Process { pid, parent, comm: "x".into() };
    roles.look(&[process(40, 4), process(50, 5), process(51, 50)]);
    roles
}

fn finding() -> Value {
    json!({
        "id": "unanswered-1", "class": "unanswered-requests", "severity": "warning", "status": "open",
        "subject": {"pid": 40, "netns": 7, "process_count": 1, "processes": [{"pid": 40}]},
        "verdict": "backend[40] has not answered 36 requests of nginx[51]", "harm": {"text": "Clients wait."},
        "remedy": "Take a thread dump.", "evidence": ["36 requests wait for a lock"],
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut finding = finding();
    *finding.pointer_mut(pointer).unwrap() = value;
    finding
}

fn outcome(case: &Case, polls: &[(u64, Vec<Value>)]) -> Outcome {
    let mut record = Record::default();
    for (at, findings) in polls {
        record.take(Duration::from_secs(*at), &json!({ "findings": findings }), |_| true);
    }
    judge(case, &roles(), &record)
}

#[track_caller]
fn assert_wrong(findings: Vec<Value>, reason: &str) {
    let outcome = outcome(&BUG, &[(9, findings)]);
    assert!(outcome.wrong.iter().any(|wrong| wrong.contains(reason)), "{outcome:#?}");
}

#[test]
fn the_right_finding_is_right() {
    let outcome = outcome(&BUG, &[(9, vec![finding()])]);
    assert_eq!(outcome.label(), "right", "{outcome:#?}");
    assert!((outcome.answers[0].seconds - 9.0).abs() < 0.1);
}

#[test]
fn a_finding_that_is_missing_or_about_another_program_is_wrong() {
    assert_wrong(vec![], "no unanswered-requests at backend");
    assert_wrong(vec![with("/subject", json!({"pid": 51}))], "unanswered-requests at proxy, not at backend");
    assert_wrong(vec![with("/severity", json!("info"))], "is info, not warning");
}

#[test]
fn a_finding_has_to_say_what_a_reader_needs() {
    assert_wrong(vec![with("/evidence", json!(["36 requests were sent"]))], "does not mention lock or mutex");
    assert_wrong(vec![with("/verdict", json!("backend[40]: 36"))], "does not name the proxy");
    let both = json!({"pid": 40, "processes": [{"pid": 40}, {"pid": 50}]});
    assert_wrong(vec![with("/subject", both)], "counts the proxy among its subject");
}

#[test]
fn a_finding_lasts_as_long_as_its_cause() {
    let resolved = outcome(&BUG, &[(9, vec![finding()]), (60, vec![with("/status", json!("resolved"))])]);
    assert!(resolved.wrong[0].contains("became resolved although it lasts"), "{resolved:#?}");
    let milder = outcome(&BUG, &[(9, vec![finding()]), (60, vec![with("/severity", json!("info"))])]);
    assert!(milder.wrong[0].contains("became info although it lasts"), "{milder:#?}");
    let for_a_while =
        [(9, vec![finding()]), (40, vec![with("/severity", json!("info"))]), (60, vec![finding()])];
    let flaps = outcome(&BUG, &for_a_while);
    assert!(flaps.wrong[0].contains("became info although it lasts"), "{flaps:#?}");
}

#[test]
fn one_cause_has_one_finding() {
    assert_wrong(vec![finding(), with("/id", json!("unanswered-2"))], "a second finding of the same");
}

#[test]
fn a_warning_about_anything_else_is_a_false_alarm() {
    let stray = [with("/class", json!("proxy-pair")), with("/id", json!("pair-1"))];
    let mut stray = [finding(), stray[0].clone()];
    stray[1]["id"] = json!("pair-1");
    let alarmed = outcome(&BUG, &[(9, stray.to_vec())]);
    assert_eq!(alarmed.label(), "FALSE ALARM", "{alarmed:#?}");
    stray[1]["severity"] = json!("info");
    let mentioned = outcome(&BUG, &[(9, stray.to_vec())]);
    assert!(mentioned.is_right(), "{mentioned:#?}");
    assert_eq!(mentioned.mentioned.into_iter().collect::<Vec<_>>(), ["proxy-pair"]);
}

#[test]
fn a_healthy_case_has_no_warning_at_any_time() {
    assert!(outcome(&HEALTHY, &[]).is_right());
    let once = outcome(&HEALTHY, &[(3, vec![finding()]), (9, vec![with("/severity", json!("info"))])]);
    assert_eq!(once.label(), "FALSE ALARM");
}

#[test]
fn bad_sentences_are_told_apart_from_wrong_findings() {
    let bad = with("/harm/text", json!("1 connections wait."));
    assert_eq!(outcome(&BUG, &[(9, vec![bad])]).label(), "WORDING");
}
