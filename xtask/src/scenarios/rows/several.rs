//! More than one bug at once: each has to be told, of whom it is true.

use anyhow::Result;

use super::{Row, several};
use crate::scenarios::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    several("close-wait-leak", "and rst-unread-data, in one server", two_classes),
    several("close-wait-leak", "in two servers", two_leaks),
    several("accept-stall", "and close-wait-idle-pool and rst-linger-zero, in one namespace", three_programs),
];

fn two_classes(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (server, _) = stage.pair_in(
        here,
        here,
        ("forgetful-server", &["careless=1"]),
        ("visitor", &["every=400", "bye=20", "threads=2"]),
    )?;
    stage.client(here, server, ("poster", &["every=350"]))?;
    let stood = stage.until_stands(server)?;
    stage.expect("close-wait-leak", server, stood);
    stage.expect_without_descriptor("rst-unread-data", server, stood);
    Ok(())
}

fn two_leaks(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let mut servers = Vec::new();
    for every in ["every=400", "every=700"] {
        let (server, _) = stage.pair_in(
            here,
            here,
            ("forgetful-server", &[]),
            ("visitor", &[every, "bye=10", "threads=2"]),
        )?;
        servers.push(server);
    }
    for server in servers {
        let stood = stage.until_stands(server)?;
        stage.expect("close-wait-leak", server, stood);
    }
    Ok(())
}

fn three_programs(stage: &mut Stage) -> Result<()> {
    let here = stage.place()?;
    let (stalled, visitor) = stage.pair_in(
        here,
        here,
        ("stalled-server", &[]),
        ("visitor", &["every=300", "patience=800", "threads=3", "gives-up=5"]),
    )?;
    let (_, pool) = stage.pair_in(here, here, ("server", &["idle=2000"]), ("hoarding-pool", &[]))?;
    let (_, aborter) = stage.pair_in(here, here, ("server", &[]), ("aborter", &[]))?;
    let stood = stage.until_stands(visitor)?;
    stage.expect_without_descriptor("accept-stall", stalled, stood);
    stage.permit("close-wait-never-read", stalled);
    let stood = stage.until_stands(pool)?;
    stage.expect("close-wait-idle-pool", pool, stood);
    let stood = stage.until_stands(aborter)?;
    stage.expect_without_descriptor("rst-linger-zero", aborter, stood);
    Ok(())
}
