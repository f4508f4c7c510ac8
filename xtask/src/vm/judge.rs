//! What should have been seen, and whether it was.

use serde_json::Value;

use super::kernels::{Kernel, Source};

/// What is checked in each VM, in this order. The churn comes last: what it leaves in `TIME_WAIT` stays for a minute.
pub(super) const CHECKS: [&str; 7] =
    ["source", "socket", "reset", "time-wait", "ownership", "late-closer", "churn"];
/// What socket dumps alone can tell.
const WITHOUT_EVENTS: [&str; 3] = ["source", "socket", "ownership"];

/// How a check came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Right,
    /// What is wrong: one thing at least.
    Wrong(Vec<Fault>),
    /// The kernel cannot do it.
    NotHere,
}

/// One thing that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// For the table.
    pub(super) figure: String,
    /// A sentence.
    pub(super) why: String,
}

impl Outcome {
    /// One thing is wrong.
    pub(super) fn wrong(figure: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Wrong(vec![Fault { figure: figure.into(), why: why.into() }])
    }
}

/// Says whether a kernel can do what a check looks at.
pub(super) fn applies(kernel: &Kernel, check: &str) -> bool {
    kernel.source == Source::Events || WITHOUT_EVENTS.contains(&check)
}

/// Judges the answer to a check, if there was one.
pub(super) fn judge(kernel: &Kernel, check: &str, answer: Option<&Value>) -> Outcome {
    if !applies(kernel, check) {
        return Outcome::NotHere;
    }
    let Some(answer) = answer else {
        return Outcome::wrong("no answer", "the VM ended before it came to this");
    };
    if let Some(error) = answer["error"].as_str() {
        return Outcome::wrong("error", error);
    }
    let facts = &answer["facts"];
    let judged = match check {
        "source" => vec![source(kernel, facts)],
        "socket" => vec![socket(facts)],
        "reset" => reset(kernel, facts),
        "ownership" => vec![ownership(facts)],
        "time-wait" | "late-closer" => closers(facts, number(&facts["made"]), number(&facts["made"])),
        _ => churn(facts),
    };
    let faults: Vec<_> = judged.into_iter().filter_map(Result::err).collect();
    if faults.is_empty() { Outcome::Right } else { Outcome::Wrong(faults) }
}

type Judgement = Result<(), Fault>;

fn ensure(right: bool, figure: impl Into<String>, why: impl FnOnce() -> String) -> Judgement {
    if right { Ok(()) } else { Err(Fault { figure: figure.into(), why: why() }) }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn source(kernel: &Kernel, facts: &Value) -> Judgement {
    let (tier, reason) = (&facts["tier"], &facts["reason"]);
    let expected = match kernel.source {
        Source::Events => "events",
        Source::DumpsOnly => "dumps only",
    };
    ensure(tier == expected, format!("tier {tier}"), || format!("{expected} were expected; reason: {reason}"))
}

fn socket(facts: &Value) -> Judgement {
    let (ours, kernel) = (&facts["ours"], &facts["kernel"]);
    ensure(facts["equal"] == true, "differs", || format!("the gauges are {ours}, the kernel counts {kernel}"))
}

fn reset(kernel: &Kernel, facts: &Value) -> Vec<Judgement> {
    let (unread, refused) = (number(&facts["unread"]), number(&facts["refused"]));
    let sent = |reason: &str| number(&facts["sent"][reason]);
    let reasons: &[(&str, i64)] = if kernel.has_reset_reasons {
        &[("TCP_ABORT_ON_CLOSE", unread), ("NO_SOCKET", refused)]
    } else {
        // Before 6.10 those for a closed port are not reported.
        &[("NOT_RECORDED", unread)]
    };
    let reasons = reasons.iter().map(|(reason, expected)| {
        ensure(sent(reason) == *expected, format!("{} of {expected}", sent(reason)), || {
            format!("{expected} RSTs were sent for {reason}, and counted were {}", facts["sent"])
        })
    });
    let failed = number(&facts["failed"]["ECONNREFUSED"]);
    let failures = ensure(failed == refused, format!("{failed} of {refused}"), || {
        format!("{refused} connects were refused, and counted were {}", facts["failed"])
    });
    reasons.chain([failures]).collect()
}

fn ownership(facts: &Value) -> Judgement {
    ensure(facts["found"] == true, "not found", || {
        format!("no finding names the process and the descriptor; there are {}", facts["findings"])
    })
}

/// `listed` connections must be there, and the closer of `known` of them known; of no connection may a wrong one be.
fn closers(facts: &Value, listed: i64, known: i64) -> Vec<Judgement> {
    let fact = |name: &str| number(&facts[name]);
    let (is_listed, is_known, wrong) = (fact("listed"), fact("known"), fact("wrong"));
    vec![
        ensure(wrong == 0, format!("{wrong} wrong"), || {
            format!("of {wrong} connections another process is named as the one that closed them")
        }),
        ensure(is_listed >= listed, format!("{is_listed} of {listed}"), || {
            format!("{listed} connections are in TIME_WAIT, and {is_listed} are listed")
        }),
        ensure(is_known >= known, format!("{is_known} of {is_listed}"), || {
            format!("who closed is known of {is_known} connections in TIME_WAIT, of {is_listed} listed")
        }),
    ]
}

fn churn(facts: &Value) -> Vec<Judgement> {
    let missed = number(&facts["lost"]["missed"]);
    let (expected, counted) = (number(&facts["expected_events"]), number(&facts["counted_events"]));
    let unexplained = expected - counted - missed;
    let off = facts["off"].as_object().cloned().unwrap_or_default();
    let sockets: u64 = off.values().map(|it| number(it).unsigned_abs()).sum();
    let dishonest = facts["dishonest"].as_array().map_or(0, Vec::len);
    let listed = number(&facts["closers"]["listed"]);
    let mut judged = vec![
        ensure(unexplained <= 0, format!("{unexplained} unknown"), || {
            format!(
                "of {expected} events {counted} were counted and {missed} told as missed: {unexplained} are unexplained"
            )
        }),
        // An event that was missed leaves two states off by one.
        ensure(sockets <= 2 * missed.unsigned_abs(), format!("off by {sockets}"), || {
            let off = &facts["off"];
            format!("entered less left is not what is there, by {off}; {missed} events were told as missed")
        }),
        ensure(dishonest == 0, "not exact", || {
            let first = &facts["dishonest"][0];
            format!(
                "{dishonest} times tcpstate_sockets_exact was 1 and the gauges were not (ours, the kernel's): {first}"
            )
        }),
    ];
    // 99.9 % of those whose events were not missed.
    judged.extend(closers(&facts["closers"], 1, listed - listed / 1000 - missed));
    judged
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Outcome, judge};
    use crate::vm::kernels::{KERNELS, Kernel};

    fn kernel(version: &str) -> &'static Kernel {
        KERNELS.iter().find(|kernel| kernel.version.starts_with(version)).unwrap()
    }

    /// The figures of a check that came out wrong; empty when it is right.
    fn figure(version: &str, check: &str, facts: &Value) -> String {
        match judge(kernel(version), check, Some(&json!({ "check": check, "facts": facts }))) {
            Outcome::Right => String::new(),
            Outcome::Wrong(faults) => faults.into_iter().map(|it| it.figure).collect::<Vec<_>>().join(", "),
            Outcome::NotHere => "-".into(),
        }
    }

    fn churn() -> Value {
        json!({
            "expected_events": 200_000, "counted_events": 200_004, "lost": {}, "off": {}, "dishonest": [],
            "closers": { "listed": 20_000, "known": 19_980, "wrong": 0 },
        })
    }

    fn churn_with(change: impl Fn(&mut Value)) -> String {
        let mut facts = churn();
        change(&mut facts);
        figure("7.3", "churn", &facts)
    }

    #[test]
    fn an_old_kernel_has_no_events_and_is_not_asked_for_them() {
        assert_eq!(figure("5.10", "churn", &churn()), "-");
        assert_eq!(figure("5.10", "source", &json!({ "tier": "dumps only" })), "");
        assert_eq!(figure("6.1.", "source", &json!({ "tier": "dumps only" })), "tier \"dumps only\"");
    }

    #[test]
    fn a_vm_that_ended_early_is_no_success() {
        let outcome = judge(kernel("6.12"), "socket", None);
        assert!(matches!(outcome, Outcome::Wrong(..)), "{outcome:?}");
    }

    #[test]
    fn resets_have_reasons_where_the_kernel_gives_them() {
        let told = |sent: Value| json!({ "unread": 20, "refused": 20, "sent": sent, "failed": { "ECONNREFUSED": 20 } });
        let reasons = json!({ "TCP_ABORT_ON_CLOSE": 20, "NO_SOCKET": 20 });
        assert_eq!(figure("6.12", "reset", &told(reasons)), "");
        assert_eq!(figure("6.12", "reset", &told(json!({ "NOT_RECORDED": 20 }))), "0 of 20, 0 of 20");
        assert_eq!(figure("6.1.", "reset", &told(json!({ "NOT_RECORDED": 20 }))), "");
    }

    #[test]
    fn gauges_may_be_off_only_by_what_was_told_as_missed() {
        let off_by = |missed: i64| {
            churn_with(|it| {
                it["off"] = json!({"CLOSE_WAIT": -3, "ESTABLISHED": 1});
                it["lost"]["missed"] = missed.into();
            })
        };
        assert_eq!((off_by(2), off_by(1)), (String::new(), "off by 4".to_owned()));
    }

    #[test]
    fn an_event_may_be_missed_only_if_that_is_told() {
        assert_eq!(churn_with(|_| {}), "");
        assert_eq!(churn_with(|it| it["counted_events"] = 199_990.into()), "10 unknown");
        assert_eq!(
            churn_with(|it| {
                it["counted_events"] = 199_990.into();
                it["lost"]["missed"] = 10.into();
            }),
            ""
        );
    }

    #[test]
    fn churn_is_wrong_where_numbers_do_not_balance_or_closers_are_unknown() {
        assert_eq!(churn_with(|it| it["off"] = json!({ "LISTEN": -2, "FIN_WAIT1": 3 })), "off by 5");
        assert_eq!(churn_with(|it| it["dishonest"] = json!([{ "ESTABLISHED": [1, 2] }])), "not exact");
        assert_eq!(churn_with(|it| it["closers"]["known"] = 19_979.into()), "19979 of 20000");
        assert_eq!(churn_with(|it| it["closers"]["wrong"] = 1.into()), "1 wrong");
        assert_eq!(churn_with(|it| it["closers"] = json!({})), "0 of 1");
    }
}
