//! Wires the rooms together: binds, chooses a source, starts the engine and the server, says when it is
//! ready, and ends everything in order under one deadline.

pub mod alone;
mod census;
mod descriptors;
mod diagnosis;
mod drain;
mod engine;
mod lookup;
mod memory;
mod missed;
mod pace;
mod recorder;
pub mod source;
mod supervisor;
mod walk;
mod watchers;

pub use memory::room_for_sockets;
pub use recorder::Written;

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{error, info, warn};

use supervisor::Supervisor;

use crate::{
    diagnose::Thresholds,
    observe::{kernel::Sizes, slots},
    pulse::Worker,
    serve,
    serve::{
        ask::Limits,
        http::{Bounds, Hosts, Listen, Listener},
    },
};

/// From the signal to the end of the process.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(1500);

/// Everything that the user may decide.
#[derive(Clone, Debug)]
pub struct Config {
    pub listen: Vec<Listen>,
    /// By which names the addresses that only this host reaches may be called.
    pub allowed_hosts: Vec<String>,
    pub source: source::Wanted,
    pub limits: Limits,
    /// The shortest time from one census to the next.
    pub census_interval: Duration,
    /// At which numbers findings begin.
    pub thresholds: Thresholds,
}

impl Config {
    fn sizes(&self) -> Sizes {
        Sizes { ring_bytes: self.limits.ring_bytes, slots: slots::places_here() }
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// If an address cannot be bound, or the wanted source cannot be had.
pub fn run(config: &Config) -> Result<()> {
    memory::keep_nothing_large();
    let runtime = runtime()?;
    let result = runtime.block_on(serve_until_told(config));
    // Whatever still runs (a look-up in /proc, say) ends with the process.
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("the runtime cannot be started")
}

async fn serve_until_told(config: &Config) -> Result<()> {
    // Signals first: loading the programs takes seconds, and may be interrupted.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let bounds = Bounds::within(descriptors::raise());
    let listeners = bind(&config.listen, &config.allowed_hosts)?;
    let (wanted, sizes) = (config.source, config.sizes());
    let signal = tokio::select! {
        source = tokio::task::spawn_blocking(move || source::open(wanted, sizes)) => Err(source),
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    };
    let source = match signal {
        Err(source) => source.context("a part of the daemon failed")??,
        Ok(signal) => {
            info!("{signal}: stopping");
            return Ok(());
        }
    };
    let (stop, stopping) = watch::channel(false);
    let (questions, asked) = mpsc::channel(64);
    let (ready, mut is_ready) = watch::channel(false);
    let (publish, diagnosed) = watch::channel(Arc::default());
    let (supervisor, mut ends) = Supervisor::new();
    let notices =
        diagnosis::start(&supervisor, &config.thresholds, questions.clone(), publish, None, source.losses())?;
    let engine = engine::Engine::new(source, config.limits, config.census_interval, ready, notices, None);
    let engine_ended = start_engine(engine, asked, stopping.clone(), &supervisor)?;
    let pulses = supervisor.pulses.clone();
    let engine = serve::ask::Engine::new(questions, diagnosed);
    let server = serve::server(engine, pulses, stopping.clone(), bounds);
    let _watched = supervisor.watch()?;
    // It ends with the runtime.
    tokio::spawn(memory::give_back_after_crowds(server.clone()));
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let answers = server.clone().run(listener);
        tasks.spawn(async {
            answers.await;
            Ok(())
        });
    }
    let told = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        Some(reason) = ends.recv() => Err(anyhow::anyhow!(reason)),
        ended = tasks.join_next() => Err(failure(ended)),
        never = say_ready(&mut is_ready) => match never {},
    };
    match &told {
        Ok(signal) => info!("{signal}: stopping"),
        Err(error) => error!("stopping: {error:#}"),
    }
    notify(sd_notify::NotifyState::Stopping);
    let _ = stop.send(true);
    let all_ended = async {
        while tasks.join_next().await.is_some() {}
        // It takes the programs away.
        let _ = engine_ended.await;
    };
    if tokio::time::timeout(SHUTDOWN_DEADLINE, all_ended).await.is_err() {
        warn!("not everything ended in time; ending anyway");
    }
    told.map(drop)
}

/// Starts the engine on a thread of its own, so that it waits for no answer that is being written. What this returns ends
/// when the engine has.
fn start_engine(
    engine: engine::Engine,
    asked: mpsc::Receiver<serve::ask::Question>,
    stopping: watch::Receiver<bool>,
    supervisor: &Supervisor,
) -> Result<oneshot::Receiver<()>> {
    let (ended, engine_ended) = oneshot::channel();
    let supervisor_of_it = supervisor.clone();
    supervisor.start(Worker::Engine, move |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(engine.run(asked, stopping, supervisor_of_it));
        // Whatever still runs (a look-up in /proc, say) ends with the process.
        runtime.shutdown_background();
        drop(ended);
        result
    })?;
    Ok(engine_ended)
}

/// Why a server ended.
fn failure(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => anyhow::anyhow!("a part of the daemon failed: {panic}"),
        _ => anyhow::anyhow!("a part of the daemon ended too early"),
    }
}

/// Tells systemd when the first census is done; never returns.
async fn say_ready(is_ready: &mut watch::Receiver<bool>) -> Infallible {
    if is_ready.wait_for(|ready| *ready).await.is_ok() {
        info!("ready");
        notify(sd_notify::NotifyState::Ready);
    }
    std::future::pending().await
}

fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("systemd cannot be told: {error}");
    }
}

fn bind(addresses: &[Listen], allowed_hosts: &[String]) -> Result<Vec<Listener>> {
    let hosts = Arc::new(Hosts { allowed: allowed_hosts.to_vec() });
    let mut listeners = Vec::new();
    for address in addresses {
        if let Listen::Tcp(ip) = address
            && !ip.ip().to_canonical().is_loopback()
        {
            warn!("{address} is not loopback: whoever reaches it can read everything tcpstate knows");
        }
        match Listener::bind(address, Arc::clone(&hosts)) {
            Ok(listener) => {
                info!("listening on {}", listener.url());
                listeners.push(listener);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
                "{address} is in use, perhaps by another tcpstate: stop that, or choose another address with --web.listen-address"
            ),
            Err(error) => bail!(
                "cannot listen on {address}: {error}; choose an address of this host with --web.listen-address"
            ),
        }
    }
    Ok(listeners)
}
