//! The findings as text: first what is wrong, the worst first, then what is only worth knowing. Every line can be
//! forwarded as it is.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::SystemTime,
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    cli::table::{Column, Table, age},
    clock,
    diagnose::{Class, Severity},
    printable::printable,
    recording::timeline,
    serve::api::{
        findings::{Finding, Findings, Sample, Subject},
        processes::LookedAt,
        sockets::AgeIs,
    },
};

/// Findings of a class at info that are shown.
const ALIKE: usize = 3;

/// What was found out.
pub(super) struct Report {
    pub(super) findings: Findings,
    pub(super) looked_at: LookedAt,
    /// Where and how it was looked, behind "looked at".
    pub(super) whence: String,
    /// When that was.
    pub(super) now: SystemTime,
    /// What happened to the findings until then, if it was a recording.
    pub(super) timeline: Option<Vec<Change>>,
}

/// What happened to a finding.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    /// When (RFC 3339).
    pub(super) at: String,
    /// How long after the recording began, ms.
    pub(super) after_ms: u64,
    #[serde(rename = "change")]
    pub(super) what: timeline::Change,
    pub(super) id: String,
    pub(super) class: Class,
    pub(super) severity: Severity,
    pub(super) verdict: String,
}

/// What `--json` prints: of a recording with its timeline.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    findings: &'a Findings,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeline: Option<&'a [Change]>,
}

impl Report {
    /// What is so now.
    pub(super) fn now(findings: Findings, looked_at: LookedAt, whence: String) -> Self {
        let now = clock::wall(clock::monotonic_ns());
        Self { findings, looked_at, whence, now, timeline: None }
    }

    /// Leaves out what is of no such class.
    pub(super) fn retain(&mut self, classes: &[Class]) {
        self.findings.findings.retain(|finding| classes.contains(&finding.class));
        if let Some(timeline) = &mut self.timeline {
            timeline.retain(|change| classes.contains(&change.class));
        }
    }

    pub(super) fn json(&self, out: &mut impl Write) -> io::Result<()> {
        let json = Json { findings: &self.findings, timeline: self.timeline.as_deref() };
        serde_json::to_writer_pretty(&mut *out, &json)?;
        writeln!(out)
    }

    /// Whether there is a finding of this severity or worse.
    pub(super) fn is_bad(&self, from: Severity) -> bool {
        self.findings.findings.iter().any(|finding| finding.severity >= from)
    }

    /// Whether something could not be looked at that may have findings.
    pub(super) fn is_partial(&self) -> bool {
        !self.findings.not_looked_at.is_empty()
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(as_of) = &self.findings.as_of else {
            return writeln!(out, "nothing is known yet: the daemon has not looked at all sockets so far");
        };
        if let Some(timeline) = self.timeline.as_ref().filter(|timeline| !timeline.is_empty()) {
            for change in timeline {
                writeln!(out, "{}", moved(change))?;
            }
            writeln!(out)?;
        }
        let (now, all) = (self.now, &self.findings.findings);
        let is_bad = |finding: &&Finding| finding.severity > Severity::Info;
        if !all.iter().any(|finding| is_bad(&finding)) {
            writeln!(out, "{}", self.clean())?;
            if !all.is_empty() {
                writeln!(out)?;
            }
        }
        for finding in all.iter().filter(is_bad) {
            bad(out, finding, now)?;
            writeln!(out)?;
        }
        section(out, "Worth knowing, no alarm:", all.iter().filter(|finding| !is_bad(finding)))?;
        if all.iter().any(|finding| is_bad(&finding)) {
            writeln!(out, "{} {}, {as_of}.", self.counted(), self.whence)?;
            lines(out, "", "Cannot see: ", &self.findings.cannot_see)?;
        }
        Ok(())
    }

    /// What is said when nothing is wrong.
    fn clean(&self) -> String {
        let mut text = format!(
            "nothing wrong found{}; {} looked at {}",
            if self.is_partial() { " in what could be looked at" } else { "" },
            looked_at(self.looked_at),
            self.whence
        );
        for (index, line) in self.findings.cannot_see.iter().enumerate() {
            text += if index == 0 { "; cannot see: " } else { "; " };
            text += &printable(line.trim_end_matches('.'));
        }
        text
    }

    fn counted(&self) -> String {
        let count = |severity| self.findings.findings.iter().filter(|of| of.severity == severity).count();
        let (critical, warning) = (count(Severity::Critical), count(Severity::Warning));
        let plural = if critical + warning == 1 { "" } else { "s" };
        format!(
            "{} finding{plural} ({critical} critical, {warning} warning); {} looked at",
            critical + warning,
            looked_at(self.looked_at)
        )
    }
}

/// "+3.2s  opened    warning   close-wait-leak: …".
fn moved(change: &Change) -> String {
    let Change { after_ms, what, class, severity, verdict, .. } = change;
    let after = format!("+{}.{}s", after_ms / 1000, after_ms / 100 % 10);
    let (what, severity) = (what.name(), severity.name());
    format!("{after:>8}  {what:<8}  {severity:<8}  {}: {}", class.name(), printable(verdict))
}

fn looked_at(looked_at: LookedAt) -> String {
    let count =
        |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let sockets = count(looked_at.sockets, "socket", "sockets");
    format!("{sockets} of {}", count(looked_at.processes, "process", "processes"))
}

/// The whole of a finding: the verdict, what it stands on, and what to do.
fn bad(out: &mut impl Write, finding: &Finding, now: SystemTime) -> io::Result<()> {
    writeln!(out, "{}", printable(&finding.verdict))?;
    let class = finding.class.name();
    writeln!(out, "  {}: {class}, since {}", finding.severity.name(), since(&finding.since, now))?;
    writeln!(out, "  Harm: {}", printable(&finding.harm.text))?;
    let who = who(&finding.subject);
    if !who.is_empty() {
        writeln!(out, "  {}", printable(&who))?;
    }
    lines(out, "  ", "- ", &finding.evidence)?;
    samples(out, finding)?;
    writeln!(out, "  What to do: {}", printable(&finding.remedy))?;
    lines(out, "  ", "Not seen: ", &finding.cannot_see)?;
    writeln!(out, "  More: tcpstate explain {class}")
}

/// What is no alarm: the verdicts, class by class, and where more is said.
fn section<'a>(
    out: &mut impl Write,
    heading: &str,
    findings: impl Iterator<Item = &'a Finding>,
) -> io::Result<()> {
    let mut classes = BTreeMap::<Class, Vec<&Finding>>::new();
    for finding in findings {
        classes.entry(finding.class).or_default().push(finding);
    }
    if classes.is_empty() {
        return Ok(());
    }
    writeln!(out, "{heading}")?;
    for (class, findings) in classes {
        let class = class.name();
        for finding in findings.iter().take(ALIKE) {
            writeln!(out, "  {}", printable(&finding.verdict))?;
        }
        if let Some(more) = findings.len().checked_sub(ALIKE).filter(|more| *more > 0) {
            writeln!(out, "  and {more} more like that: tcpstate diagnose --class {class} --json")?;
        }
        writeln!(out, "    More: tcpstate explain {class}")?;
    }
    writeln!(out)
}

fn lines(out: &mut impl Write, indent: &str, begin: &str, lines: &[String]) -> io::Result<()> {
    lines.iter().try_for_each(|line| writeln!(out, "{indent}{begin}{}", printable(line)))
}

/// What more is known of whom it is about than the verdict says.
fn who(subject: &Subject) -> String {
    let mut parts = Vec::new();
    let mut add =
        |what: &str, value: Option<String>| parts.extend(value.map(|value| format!("{what} {value}")));
    add("process", subject.pid.map(|pid| pid.to_string()));
    add("program", subject.exe.clone());
    add("unit", subject.unit.clone());
    add("container", subject.container.clone());
    add("pod", subject.pod.clone());
    add("listener", subject.listener.clone());
    add("peer", subject.peer.clone());
    add("network namespace", subject.netns.map(|netns| netns.to_string()));
    parts.join(", ")
}

/// "2026-01-02T03:04:05Z, 5m07s ago".
fn since(stamp: &str, now: SystemTime) -> String {
    let Ok(at) = stamp.parse::<Timestamp>() else { return printable(stamp) };
    let ago = now.duration_since(SystemTime::from(at)).unwrap_or_default();
    format!("{at:.0}, {} ago", age(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

fn samples(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    if finding.sockets.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        Column::text("STATE"),
        Column::number("AGE"),
        Column::number("PID"),
        Column::number("FD"),
        Column::text("LOCAL"),
        Column::text("REMOTE"),
        Column::number("RECV-Q"),
        Column::number("SEND-Q"),
    ]);
    let mut text = Vec::new();
    table.print(&mut text, &finding.sockets.iter().map(row).collect::<Vec<_>>())?;
    for line in String::from_utf8_lossy(&text).lines() {
        writeln!(out, "    {line}")?;
    }
    let (shown, all) = (finding.sockets.len() as u64, finding.count);
    if shown < all { writeln!(out, "    ({shown} of {all})") } else { Ok(()) }
}

fn row(sample: &Sample) -> [String; 8] {
    let at_least = if sample.age_is == AgeIs::AtLeast { "≥" } else { "" };
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    [
        sample.state.clone(),
        format!("{at_least}{}", age(sample.age_ms)),
        number(sample.pid),
        number(sample.fd),
        sample.local.clone(),
        sample.remote.clone(),
        sample.rqueue.to_string(),
        sample.wqueue.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::{
        ask::Diagnosed,
        stamp::Stamps,
        tests::{diagnosed, scene},
    };

    /// The findings of the made-up host that are open, told as of 2026-01-02T03:04:05Z.
    fn report(change: impl FnOnce(&mut Diagnosed)) -> Report {
        let mut diagnosed = diagnosed::diagnosed();
        diagnosed.findings.truncate(2);
        change(&mut diagnosed);
        let findings = Findings::of(&diagnosed, &Stamps::at(scene::NOW_NS, 1_767_323_045_000_000_000));
        Report::now(findings, LookedAt::of(&diagnosed), "on web-1".to_owned())
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.print(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        // How long ago that was is another time at each run.
        text.lines()
            .map(|line| line.split_once("Z, ").map_or(line, |(begin, _)| begin).to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_verdict_comes_first_and_what_is_no_alarm_last() {
        let expected = "\
payments[4121] in payments.service read EOF from 10.0.0.7:443 on 812 sockets and closed none; +4/min; its fd limit is reached in 47 min.
  critical: close-wait-leak, since 2026-01-02T03:02:35
  Harm: 836 of 1024 file descriptors are in use, all of them in 47 min; more and more are taken, and none is given back.
  process 4121, program /usr/bin/payments, unit payments.service, peer 10.0.0.7:443, network namespace 4026531840
  - 812 sockets in CLOSE_WAIT, nothing unread
    STATE         AGE   PID  FD  LOCAL          REMOTE        RECV-Q  SEND-Q
    CLOSE_WAIT  1m30s  4121  17  10.0.0.1:8080  10.0.0.7:443       0       0
    (1 of 812)
  What to do: Close the socket on every path after read() returns 0.
  Not seen: who opened them
  More: tcpstate explain close-wait-leak

Worth knowing, no alarm:
  10 stale pooled connections to 10.0.0.9:6379; no harm seen.
    More: tcpstate explain close-wait-idle-pool

1 finding (1 critical, 0 warning); 900 sockets of 2 processes looked at on web-1, 2026-01-02T03:04:05.000Z.
Cannot see: The kernel tells reset reasons since Linux 6.10.
";
        assert_eq!(text(&report(|_| ())), expected);
    }

    #[test]
    fn a_clean_host_is_told_with_what_could_not_be_seen() {
        let clean = report(|diagnosed| {
            diagnosed.findings.clear();
            diagnosed.cannot_see.push("One more.".into());
        });
        assert_eq!(
            text(&clean),
            "nothing wrong found; 900 sockets of 2 processes looked at on web-1; cannot see: The kernel tells reset \
             reasons since Linux 6.10; One more\n"
        );
    }

    #[test]
    fn host_that_was_not_looked_at_as_a_whole_is_not_called_clean() {
        let partial = report(|diagnosed| {
            diagnosed.findings.clear();
            diagnosed.cannot_see = vec!["The sockets of a network namespace.".into()];
            diagnosed.not_looked_at.clone_from(&diagnosed.cannot_see);
        });
        let text = text(&partial);
        assert!(text.starts_with("nothing wrong found in what could be looked at; 900 "), "{text}");
        assert!(text.ends_with("; cannot see: The sockets of a network namespace\n"), "{text}");
    }

    #[test]
    fn what_is_no_alarm_does_not_look_like_one() {
        let text = text(&report(|diagnosed| drop(diagnosed.findings.remove(0))));
        assert!(text.starts_with("nothing wrong found; "), "{text}");
        assert!(text.contains("\n\nWorth knowing, no alarm:\n  10 stale pooled"), "{text}");
        assert!(!text.contains("finding"), "{text}");
    }

    #[test]
    fn of_what_is_no_alarm_only_some_are_shown() {
        let text = text(&report(|diagnosed| {
            let pool = diagnosed.findings.remove(1);
            diagnosed.findings.extend(vec![pool; 64]);
        }));
        assert_eq!(text.matches("  10 stale pooled").count(), 3, "{text}");
        assert_eq!(text.matches("explain close-wait-idle-pool").count(), 1, "{text}");
        assert!(
            text.contains("\n  and 61 more like that: tcpstate diagnose --class close-wait-idle-pool"),
            "{text}"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let text = text(&report(|diagnosed| {
            let finding = &mut diagnosed.findings[0];
            finding.verdict = "\u{1b}[2Jx read EOF.".into();
            finding.subject.exe = Some("/tmp/\u{1b}[31m".into());
            finding.evidence = vec!["a\u{9b}b".into()];
        }));
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
    }
}
