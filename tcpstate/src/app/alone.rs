//! A diagnosis without a daemon: the same engine for a while, which listens nowhere.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Config, diagnosis, engine, source};
use crate::{diagnose::Thresholds, serve::ask::Diagnosed};

/// So much longer than it was told to may it take until it has looked at everything once.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was found.
#[derive(Debug)]
pub struct Found {
    pub diagnosed: Arc<Diagnosed>,
    /// Why it did without eBPF, if it did.
    pub tier_reason: Option<String>,
}

/// Diagnoses for so long. Nothing is served: the addresses in `config` do not matter.
///
/// # Errors
/// If the wanted source cannot be had, or not everything could be looked at even once.
pub fn diagnose(config: &Config, time: Duration) -> Result<Found> {
    let runtime = super::runtime()?;
    let result = runtime.block_on(look(config, time));
    runtime.shutdown_background();
    result
}

/// Growth is judged over most of the time that there is.
fn thresholds(usual: &Thresholds, time: Duration) -> Thresholds {
    let most = u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 10 * 6;
    Thresholds { trend_ms: usual.trend_ms.min(most), ..*usual }
}

async fn look(config: &Config, time: Duration) -> Result<Found> {
    let source = source::open(config.source, config.sizes())?;
    let tier_reason = source.reason.clone();
    let (stop, stopping) = watch::channel(false);
    let (questions, asked) = mpsc::channel(64);
    let (ready, _) = watch::channel(false);
    let (publish, mut diagnosed) = watch::channel(Arc::<Diagnosed>::default());
    let notices = diagnosis::start(&thresholds(&config.thresholds, time), questions, publish)?;
    let engine = engine::Engine::new(source, config.limits, config.census_interval, ready, notices);
    let mut engine = tokio::spawn(engine.run(asked, stopping));
    let enough = async {
        tokio::time::sleep(time).await;
        timeout(PATIENCE, diagnosed.wait_for(|diagnosed| diagnosed.at_ns.is_some())).await.is_ok()
    };
    let in_time = tokio::select! {
        in_time = enough => in_time,
        ended = &mut engine => {
            ended.context("a part of tcpstate failed")??;
            bail!("a part of tcpstate ended too early");
        }
    };
    let diagnosed = Arc::clone(&diagnosed.borrow());
    let _ = stop.send(true);
    if !in_time || diagnosed.at_ns.is_none() {
        bail!("not all sockets could be looked at within {} s", (time + PATIENCE).as_secs());
    }
    Ok(Found { diagnosed, tier_reason })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{app::source::Wanted, serve::ask::Limits};

    #[test]
    fn a_short_look_judges_growth_over_a_shorter_time() {
        let usual = Thresholds { several: 7, ..Thresholds::default() };
        let short = thresholds(&usual, Duration::from_secs(15));
        assert_eq!(short, Thresholds { trend_ms: 9_000, ..usual });
        assert_eq!(thresholds(&usual, Duration::from_mins(5)), usual);
    }

    #[test]
    fn without_a_daemon_and_without_ebpf_what_exists_is_looked_at() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let limits = Limits {
            max_memory: 256 << 20,
            max_sockets: 100_000,
            max_resets: 10,
            ring_bytes: 4096,
            top_owners: 1,
        };
        let census_interval = Duration::from_secs(1);
        let config = Config {
            listen: Vec::new(),
            source: Wanted::Sockdiag,
            limits,
            census_interval,
            thresholds: Thresholds::default(),
        };
        let found = diagnose(&config, Duration::from_millis(100)).expect("looked");
        assert!(found.tier_reason.is_some());
        assert!(found.diagnosed.tracked > 0);
        let listeners = &found.diagnosed.listeners;
        assert!(listeners.iter().any(|(socket, _)| socket.tuple.local == address), "{listeners:?}");
    }
}
