//! Connections and descriptors that are kept, rightly and wrongly.

use anyhow::Result;

use super::{Row, bug, look_alike};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    bug("established-leak", "a client for each request", leak),
    look_alike("established-leak", "a pool that grows with its load", pool),
    look_alike("established-leak", "a proxy for silent users", silent_users),
    bug("fd-exhaustion", "clients that never send a byte", |stage| no_descriptor(stage, "silent-clients")),
    bug("fd-exhaustion", "more clients than descriptors", |stage| no_descriptor(stage, "keeper")),
    bug("fd-exhaustion", "a client that keeps all it connects", no_descriptor_to_connect),
    look_alike("fd-exhaustion", "a server that has a few left", few_left),
];

/// Descriptors that a server needs for itself: input, output, errors, listener.
const OWN: u64 = 4;

fn leak(stage: &mut Stage) -> Result<()> {
    let every = format!("every={}", stage.dice.between(300, 700));
    let limit = format!("limit={}", stage.dice.between(200, 1_000));
    let (_, client) = stage.pair(("server", &[]), ("keeping-client", &[&every, &limit]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("established-leak", client, stood);
    stage.as_a_warning();
    Ok(())
}

fn pool(stage: &mut Stage) -> Result<()> {
    let size = format!("size={}", stage.dice.between(25, 50));
    let (_, client) = stage.pair(("server", &[]), ("growing-pool", &[&size]))?;
    stage.until_stands(client).map(drop)
}

/// Each of the proxy's connections to the server is used once, and belongs to a user who may ask again.
fn silent_users(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let server = stage.play(here, "server", &[])?;
    let proxy = stage.client(here, server, ("proxy", &[]))?;
    let mut programs = Vec::new();
    for _ in 0..stage.dice.between(3, 5) {
        let every = format!("every={}", stage.dice.between(1_000, 2_500));
        let size = format!("size={}", stage.dice.between(5, 9));
        programs.push(stage.client(here, proxy, ("silent-users", &[&every, &size]))?);
    }
    programs.into_iter().try_for_each(|users| stage.until_stands(users).map(drop))
}

fn no_descriptor(stage: &mut Stage, clients: &str) -> Result<()> {
    let most = stage.dice.between(12, 60);
    let (limit, size) = (format!("limit={most}"), format!("size={}", most + 30));
    let words = [size.as_str(), "every=3000", "within=6000"];
    let (server, _) = stage.pair(("crowded-server", &[&limit]), (clients, &words))?;
    let stood = stage.until_stands(server)?;
    stage.expect("fd-exhaustion", server, stood);
    stage.as_a_warning();
    Ok(())
}

/// It takes seconds only: it cannot be known yet that the connections are never used again.
fn no_descriptor_to_connect(stage: &mut Stage) -> Result<()> {
    let limit = format!("limit={}", stage.dice.between(16, 60));
    let (_, client) = stage.pair(("server", &[]), ("keeping-client", &["every=80", "fills=1", &limit]))?;
    let stood = stage.until_stands(client)?;
    stage.expect("fd-exhaustion", client, stood);
    stage.as_a_warning();
    // Once it is known.
    stage.permit("established-leak", client);
    Ok(())
}

fn few_left(stage: &mut Stage) -> Result<()> {
    let most = stage.dice.between(40, 90);
    let clients = most - OWN - stage.dice.between(5, 9);
    let (limit, size) = (format!("limit={most}"), format!("size={clients}"));
    let (_, clients) = stage.pair(("crowded-server", &[&limit]), ("keeper", &[&size, "every=2000"]))?;
    stage.until_stands(clients).map(drop)
}
