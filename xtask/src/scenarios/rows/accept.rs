//! Listeners whose queue is not emptied, overflows, or is flooded.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    Row { early: true, ..look_alike("accept-overflow", "an overflow before the daemon's time", long_ago) },
    bug("accept-overflow", "a short backlog and a slow server", slow),
    look_alike("accept-overflow", "drops of another kind", other_drops),
    bug("accept-stall", "a server that stopped accepting", stall),
    look_alike("accept-stall", "a leisurely server", leisurely),
    bug("accept-overflow-rst", "a full queue that resets", overflow_rst),
    bug("syn-flood", "SYNs that nobody finishes", flood),
    look_alike("syn-flood", "clients that connect and say nothing", deferred),
];

fn long_ago(stage: &mut Stage) -> Result<()> {
    let here = stage.bare_place()?;
    let server = stage.play(here, "slow-acceptor", &["every=2"])?;
    let client = stage.client(here, server, ("crowd", &["size=60", "patience=2000"]))?;
    stage.until_stands(server)?;
    stage.end(client);
    // That they take leave would be nothing that this server waits for.
    stage.client(here, server, ("visitor", &["every=1500", "bye=0"]))?;
    Ok(())
}

fn slow(stage: &mut Stage) -> Result<()> {
    let backlog = format!("backlog={}", stage.dice.between(1, 4));
    let (server, _) = stage.pair(("slow-acceptor", &[&backlog]), ("crowd", &["size=14"]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_without_descriptor("accept-overflow", server, stood);
    Ok(())
}

/// A SYN to a broadcast address is dropped by the listener (`tcp_v4_conn_request` in `net/ipv4/tcp_ipv4.c`):
/// `ListenDrops` rises, and nothing has overflowed.
fn other_drops(stage: &mut Stage) -> Result<()> {
    let (near, far, link) = stage.two_places()?;
    let server = stage.play(near, "server", &["on=0.0.0.0"])?;
    let (network, own) = (link.network(), link.far());
    let broadcast = format!("{network}.255");
    stage.at(far).shell(&format!(
        "ip address del {own}/24 dev wire; ip address add {own}/32 dev wire; ip route add {network}.0/24 dev wire"
    ))?;
    let hardware = stage.at(near).address_of_wire()?;
    stage.at(far).shell(&format!("ip neigh replace {broadcast} lladdr {hardware} nud permanent dev wire"))?;
    let (from, to) = (format!("from={own}"), format!("broadcast={broadcast}"));
    let sender = stage.client(far, server, ("syn-sender", &[&from, &to, "every=150"]))?;
    stage.until_ready(sender)
}

fn stall(stage: &mut Stage) -> Result<()> {
    let (server, client) = stage.pair(
        ("stalled-server", &[]),
        ("visitor", &["every=300", "patience=800", "threads=3", "gives-up=5"]),
    )?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("accept-stall", server, stood);
    // The one that it accepted and could not pass on.
    stage.permit("close-wait-never-read", server);
    Ok(())
}

fn leisurely(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("leisurely-acceptor", &[]), ("visitor", &["every=1500", "threads=8"]))?;
    stage.until_stands(server).map(drop)
}

fn overflow_rst(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    stage.at(here).sysctl("ipv4/tcp_abort_on_overflow", "1")?;
    let server = stage.play(here, "deferring-server", &["backlog=1", "every=150"])?;
    stage.client(here, server, ("bursts", &[]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_without_descriptor("accept-overflow-rst", server, stood);
    // SYNs that come while the queue is full are dropped without a word.
    stage.permit("accept-overflow", server);
    Ok(())
}

fn flood(stage: &mut Stage) -> Result<()> {
    let (near, far, link) = stage.two_places()?;
    let server = stage.play(near, "flooded-server", &[&format!("on={}", link.near())])?;
    let from = format!("from={}", link.nobody());
    // The SYN+ACKs find a way, and an end.
    stage.at(near).shell(&format!(
        "for host in 77 78 79 80 81; do ip neigh replace {}.$host lladdr 02:00:00:00:00:98 nud permanent dev wire; done",
        link.network()
    ))?;
    stage.client(far, server, ("syn-sender", &[&from, "every=30"]))?;
    let stood = stage.until_stands(server)?;
    stage.expect_owner_or_nobody("syn-flood", server, stood);
    Ok(())
}

fn deferred(stage: &mut Stage) -> Result<()> {
    let (_, client) = stage.pair(("deferring-server", &[]), ("silent-clients", &[]))?;
    stage.until_stands(client).map(drop)
}
