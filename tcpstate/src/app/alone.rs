//! A diagnosis, or a recording of its evidence, without a daemon: the same engine for a while, which listens nowhere.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    Config, diagnosis, engine,
    recorder::{Recorder, Written},
    source::{self, Source},
    supervisor::Supervisor,
};
use crate::{
    clock,
    diagnose::Thresholds,
    observe::{kernel::Kernel, release},
    recording::{Header, VERSION},
    serve::ask::Diagnosed,
};

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
    let result = runtime.block_on(async {
        let source = source::open(config.source, config.sizes())?;
        let tier_reason = source.reason.clone();
        let diagnosed = look(config, source, time, tokio::time::sleep(time), None).await?;
        Ok(Found { diagnosed, tier_reason })
    });
    runtime.shutdown_background();
    result
}

/// Records for so long, or until SIGINT or SIGTERM, what enters a diagnosis. `begun` is called when it has begun.
///
/// # Errors
/// If the wanted source cannot be had, not everything could be looked at even once, or `out` cannot be written.
pub fn record(
    config: &Config,
    time: Duration,
    out: impl Write + Send + 'static,
    begun: impl FnOnce(),
) -> Result<Written> {
    let runtime = super::runtime()?;
    let result = runtime.block_on(async {
        let source = source::open(config.source, config.sizes())?;
        let (recorder, thread) = Recorder::start(out, &header(&source))?;
        begun();
        look(config, source, time, over(time)?, Some(recorder)).await?;
        let written = tokio::task::spawn_blocking(|| thread.join()).await?;
        written.map_err(|_| anyhow!("a part of tcpstate failed"))?
    });
    runtime.shutdown_background();
    result
}

fn header(source: &Source) -> Header {
    let at_ns = clock::monotonic_ns();
    let reset_reasons = source.kernel.as_ref().map(|kernel: &Kernel| kernel.layout().reset_reasons.clone());
    Header {
        recording: VERSION,
        tcpstate: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: release::running(),
        at_ns,
        wall_ns: clock::wall_ns(at_ns),
        reset_reasons: reset_reasons.unwrap_or_default(),
    }
}

/// Growth is judged over most of the time that there is.
fn thresholds(usual: &Thresholds, time: Duration) -> Thresholds {
    let most = u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 10 * 6;
    Thresholds { trend_ms: usual.trend_ms.min(most), ..*usual }
}

/// Returns when the time is over, or the user has had enough.
fn over(time: Duration) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    Ok(async move {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Diagnoses until it is `over`, which is after about this time.
async fn look(
    config: &Config,
    source: Source,
    time: Duration,
    over: impl Future<Output = ()>,
    recorder: Option<Recorder>,
) -> Result<Arc<Diagnosed>> {
    let (stop, stopping) = watch::channel(false);
    let (questions, asked) = mpsc::channel(64);
    let (ready, _) = watch::channel(false);
    let (publish, mut diagnosed) = watch::channel(Arc::<Diagnosed>::default());
    let thresholds = thresholds(&config.thresholds, time);
    let (supervisor, mut ends) = Supervisor::new();
    let notices =
        diagnosis::start(&supervisor, &thresholds, questions, publish, recorder.clone(), source.losses())?;
    let engine = engine::Engine::new(source, config.limits, config.census_interval, ready, notices, recorder);
    let mut engine = tokio::spawn(engine.run(asked, stopping, supervisor));
    let enough = async {
        over.await;
        timeout(PATIENCE, diagnosed.wait_for(|diagnosed| diagnosed.at_ns.is_some())).await.is_ok()
    };
    let in_time = tokio::select! {
        in_time = enough => in_time,
        Some(reason) = ends.recv() => bail!(reason),
        ended = &mut engine => {
            ended.context("a part of tcpstate failed")??;
            bail!("a part of tcpstate ended too early");
        }
    };
    let diagnosed = Arc::clone(&diagnosed.borrow());
    let _ = stop.send(true);
    let _ = engine.await;
    if !in_time || diagnosed.at_ns.is_none() {
        bail!("not all sockets could be looked at within {} s", (time + PATIENCE).as_secs());
    }
    Ok(diagnosed)
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
            allowed_hosts: Vec::new(),
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
