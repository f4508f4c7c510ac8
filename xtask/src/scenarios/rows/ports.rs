//! Clients that use up their ports, or meet themselves.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("port-exhaustion", "all ports wait", |stage| exhausted(stage, &[])),
    bug("port-exhaustion", "all ports are held", |stage| exhausted(stage, &["keeps=1"])),
    look_alike("port-exhaustion", "many connections to many servers", many_destinations),
    bug("time-wait-churn", "a connection for each request", churn),
    look_alike("time-wait-churn", "a server that closes first", server_side),
    bug("time-wait-overflow", "more than may wait", overflow),
    bug("self-connect", "a server that is down, in the range", self_connect),
];

fn exhausted(stage: &mut Stage, words: &[&str]) -> Result<()> {
    let here = stage.bare_place()?;
    let server = stage.play(here, "server", &[])?;
    stage.to(server)?;
    let (low, width) = (stage.dice.between(33_000, 50_000), stage.dice.between(9, 90));
    stage.at(here).sysctl("ipv4/ip_local_port_range", &format!("{low} {}", low + width))?;
    stage.at(here).sysctl("ipv4/tcp_tw_reuse", "0")?;
    let client = stage.client(here, server, ("exhauster", words))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("port-exhaustion", client, stood);
    Ok(())
}

fn many_destinations(stage: &mut Stage) -> Result<()> {
    let here = stage.bare_place()?;
    let server = stage.play(here, "server", &["on=0.0.0.0"])?;
    stage.to(server)?;
    let low = stage.dice.between(33_000, 50_000);
    let range = format!("{low} {}", low + stage.dice.between(180, 240));
    stage.at(here).sysctl("ipv4/ip_local_port_range", &range)?;
    let client = stage.client(here, server, ("many-destinations", &[]))?;
    stage.until_stands(client).map(drop)
}

fn churn(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    stage.at(here).sysctl("ipv4/tcp_tw_reuse", "0")?;
    let burst = format!("burst={}", stage.dice.between(300, 400));
    let (_, client) = stage.pair_in(here, here, ("server", &[]), ("churner", &[&burst, "every=40"]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("time-wait-churn", client, stood);
    Ok(())
}

fn server_side(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("server", &["first=1"]), ("churner", &["burst=200", "every=60"]))?;
    stage.until_stands(client).map(drop)
}

fn overflow(stage: &mut Stage) -> Result<()> {
    let here = stage.bare_place()?;
    let most = stage.dice.between(5, 20);
    stage.at(here).sysctl("ipv4/tcp_max_tw_buckets", &most.to_string())?;
    stage.at(here).sysctl("ipv4/tcp_tw_reuse", "0")?;
    let (_, client) = stage.pair_in(here, here, ("server", &[]), ("overflowing-churner", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect_owner_or_nobody("time-wait-overflow", client, stood);
    Ok(())
}

fn self_connect(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let low = 2 * stage.dice.between(16_500, 25_000);
    let high = low + stage.dice.between(800, 2_000);
    stage.at(here).sysctl("ipv4/ip_local_port_range", &format!("{low} {high}"))?;
    let client = stage.play(here, "self-connector", &[])?;
    let stood = stage.until_stands(client)?;
    stage.expect("self-connect", client, stood);
    // That is how it came about.
    stage.permit("connection-refused", client);
    Ok(())
}
