//! Packets that get lost: everything with a cut cable.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::{
    place::Link,
    stage::{Stage, Where, Who},
};

pub(super) const ROWS: &[Row] = &[
    bug("orphan-stuck", "closed last, path cut", last_ack),
    bug("orphan-stuck", "closed first with data, path cut", fin_wait1),
    bug("orphan-stuck", "closed first with data, peer does not read", not_reading),
    look_alike("orphan-stuck", "much to send at the close", bursts),
    bug("half-open", "a peer that is gone while it is sent to", half_open),
    look_alike("half-open", "a path that loses everything for a moment", loss),
    look_alike("half-open", "a terminal that nobody types in", idle),
    bug("keepalive-timeout", "a peer that is gone", keepalive),
    look_alike("keepalive-timeout", "a peer that sleeps for a moment", sleeping_peer),
    bug("syn-blackhole", "a path that swallows SYNs", blackhole),
    bug("syn-blackhole", "an address that nobody has", unreachable),
    look_alike("syn-blackhole", "a scanner", scanner),
];

/// A server here, its client at the other end of a cable.
fn apart(stage: &mut Stage, server: (&str, &[&str]), client: (&str, &[&str])) -> Result<Apart> {
    let (near, far, link) = stage.two_places()?;
    let on = format!("on={}", link.near());
    let words: Vec<&str> = [on.as_str()].into_iter().chain(server.1.iter().copied()).collect();
    let (server, client) = stage.pair_in(near, far, (server.0, &words), client)?;
    Ok(Apart { near, far, link, server, client })
}

struct Apart {
    near: Where,
    far: Where,
    link: Link,
    server: Who,
    client: Who,
}

impl Apart {
    /// From now on packets vanish both ways.
    fn cut(&self, stage: &Stage) -> Result<()> {
        stage.at(self.near).shell(&self.link.cut_line(2))?;
        stage.at(self.far).shell(&self.link.cut_line(1))
    }

    /// From now on packets vanish for a while, again and again.
    fn flap(&self, stage: &mut Stage, good_s: &str, bad_s: &str) -> Result<()> {
        let line =
            format!("sleep {good_s}; {}; sleep {bad_s}; {}", self.link.cut_line(2), self.link.heal_line(2));
        stage.keep_doing(self.near, &line)
    }
}

fn last_ack(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("closer", &["ended=1"]), ("asker", &["closes=1"]))?;
    stage.until_ready(apart.server)?;
    apart.cut(stage)?;
    stage.go_on(apart.server)?;
    let stood = stage.until_stands(apart.server)?;
    stage.expect_owner_or_nobody("orphan-stuck", apart.server, stood);
    Ok(())
}

fn fin_wait1(stage: &mut Stage) -> Result<()> {
    let last = format!("last={}", stage.dice.between(500, 200_000));
    let apart = apart(stage, ("closer", &[&last]), ("asker", &[]))?;
    stage.until_ready(apart.server)?;
    stage.until_ready(apart.client)?;
    apart.cut(stage)?;
    stage.go_on(apart.server)?;
    let stood = stage.until_stands(apart.server)?;
    stage.expect_owner_or_nobody("orphan-stuck", apart.server, stood);
    Ok(())
}

fn not_reading(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("closer", &["last=9000000"]), ("asker", &[]))?;
    stage.until_ready(apart.server)?;
    stage.until_ready(apart.client)?;
    stage.go_on(apart.server)?;
    let stood = stage.until_stands(apart.server)?;
    // It is the reader's fault, and the reader is on this machine.
    stage.expect_either(&["orphan-stuck", "unread-body"], &[apart.server, apart.client], stood);
    Ok(())
}

fn bursts(stage: &mut Stage) -> Result<()> {
    let (server, _) = stage.pair(("burst-closer", &[]), ("slow-takers", &["size=12"]))?;
    stage.until_stands(server).map(drop)
}

fn half_open(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("heartbeat", &[]), ("listener-client", &[]))?;
    stage.until_ready(apart.client)?;
    apart.cut(stage)?;
    let stood = stage.until_stands(apart.server)?;
    stage.expect("half-open", apart.server, stood);
    Ok(())
}

fn loss(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("heartbeat", &["every=150"]), ("listener-client", &[]))?;
    stage.until_ready(apart.client)?;
    apart.flap(stage, "3", "1.5")
}

fn idle(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("server", &[]), ("sleeper", &["size=3"]))?;
    stage.until_stands(apart.client).map(drop)
}

fn keepalive(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("keepalive-server", &[]), ("listener-client", &["size=4"]))?;
    stage.until_ready(apart.client)?;
    apart.cut(stage)?;
    let stood = stage.until_stands(apart.server)?;
    stage.expect_without_descriptor("keepalive-timeout", apart.server, stood);
    Ok(())
}

fn sleeping_peer(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("keepalive-server", &["quiet=1"]), ("listener-client", &["size=4"]))?;
    stage.until_ready(apart.client)?;
    apart.flap(stage, "4", "4")
}

fn blackhole(stage: &mut Stage) -> Result<()> {
    let apart = apart(stage, ("server", &[]), ("sleeper", &[]))?;
    stage.until_stands(apart.client)?;
    apart.cut(stage)?;
    let client = stage.client(apart.far, apart.server, ("connector", &[]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("syn-blackhole", client, stood);
    Ok(())
}

fn unreachable(stage: &mut Stage) -> Result<()> {
    let (near, _, link) = stage.two_places()?;
    let to = format!("to={}:{}", link.nobody(), stage.dice.between(1_024, 65_000));
    let client = stage.play(near, "connector", &[&to, "unreachable=3"])?;
    let stood = stage.until_stands(client)?;
    stage.expect_without_descriptor("syn-blackhole", client, stood);
    Ok(())
}

fn scanner(stage: &mut Stage) -> Result<()> {
    let (near, _, link) = stage.two_places()?;
    stage.at(near).shell(&format!(
        "for host in $(seq 10 250); do ip neigh replace {}.$host lladdr 02:00:00:00:00:99 nud permanent dev wire; done",
        link.network()
    ))?;
    let to = format!("to={}:{}", link.nobody(), stage.dice.between(1_024, 65_000));
    let client = stage.play(near, "scanner", &[&to, "patience=5000"])?;
    stage.until_stands(client).map(drop)
}
