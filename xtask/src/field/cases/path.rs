//! The way to another machine swallows packets.

use std::{thread, time::Duration};

use anyhow::Result;

use super::super::{
    case::{Case, Want},
    program::{FLEET_PY, HEADQUARTERS_PY, REPORT_PL},
    room::{FAR, Machine, NEAR, NOBODY},
    stage::Stage,
};

pub(super) const CASES: &[Case] = &[
    Case::bug(
        "path-dies-with-silent-siblings",
        "the way to a server dies; of six connections two send heartbeats, and four are silent and notice nothing",
        siblings,
        // The silent ones hang as well, and have to be counted.
        &[Want::warning(&["half-open"], &["fleet"])
            .says(&[FAR, "4 silent|4 idle|4 more|4 other|other 4|4 of them|4 connections|6 connections"])
            .within(50)],
    )
    // An answer of the server that was on its way is never acknowledged either.
    .permits(&[("half-open", "headquarters")])
    .proof(|stage| stage.ensure_sockets("state established dport = :7500", 6)),
    Case::bug(
        "perl-blackhole",
        "four Perl processes connect to an address that drops their SYNs, without a timeout",
        blackhole,
        &[Want::warning(&["syn-blackhole"], &["reporters"]).says(&[NOBODY, "timeout"]).processes(4).within(40)],
    )
    .proof(|stage| stage.ensure_sockets("state syn-sent", 4)),
];

fn siblings(stage: &mut Stage) -> Result<()> {
    stage.add_machine()?;
    let server = stage.install(HEADQUARTERS_PY)?;
    stage.start_on(Machine::Far, "headquarters", &format!("{server} {FAR} 7500"))?;
    stage.until_listening_on(Machine::Far, 7500)?;
    stage.play("fleet", FLEET_PY, &format!("{FAR} 7500 2 4"))?;
    stage.until_said("fleet", "connected 6")?;
    thread::sleep(Duration::from_secs(9));
    stage.lose_packets(Machine::Near, FAR)?;
    stage.lose_packets(Machine::Far, NEAR)
}

fn blackhole(stage: &mut Stage) -> Result<()> {
    stage.add_machine()?;
    stage.lose_packets(Machine::Near, NOBODY)?;
    stage.play("reporters", REPORT_PL, &format!("{NOBODY} 9514"))?;
    stage.until_sockets("state syn-sent", 4)
}
