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
mod pace;
mod recorder;
pub mod source;
mod walk;
mod watchers;

pub use memory::room_for_sockets;
pub use recorder::Written;

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use crate::{
    diagnose::Thresholds,
    observe::kernel::Sizes,
    serve,
    serve::{
        ask::Limits,
        http::{Bounds, Hosts, Listen, Listener},
    },
};

/// From the signal to the end of the process.
const SHUTDOWN_DEADLINE: Duration = Duration::from_millis(1500);

/// Places in the kernel side's table: 5 MiB.
const SLOTS: u32 = 1 << 17;

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
        Sizes { ring_bytes: self.limits.ring_bytes, slots: SLOTS }
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
    // Signals first: whoever asks to stop while programs are being loaded is heard.
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be caught")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
    let bounds = Bounds::within(descriptors::raise());
    let listeners = bind(&config.listen, &config.allowed_hosts)?;
    let source = source::open(config.source, config.sizes())?;
    let (stop, stopping) = watch::channel(false);
    let (questions, asked) = mpsc::channel(64);
    let (ready, mut is_ready) = watch::channel(false);
    let (publish, diagnosed) = watch::channel(Arc::default());
    let notices = diagnosis::start(&config.thresholds, questions.clone(), publish, None)?;
    let mut tasks = JoinSet::new();
    let engine = engine::Engine::new(source, config.limits, config.census_interval, ready, notices, None);
    tasks.spawn(engine.run(asked, stopping.clone()));
    let server = serve::server(serve::ask::Engine::new(questions, diagnosed), stopping.clone(), bounds);
    // It has nothing to end in order.
    tokio::spawn(memory::give_back_after_crowds(server.clone()));
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
        ended = tasks.join_next() => Err(ended),
        never = say_ready(&mut is_ready) => match never {},
    };
    let failure = match told {
        Ok(signal) => {
            info!("{signal}: stopping");
            None
        }
        Err(ended) => Some(match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => anyhow::anyhow!("a part of the daemon failed: {panic}"),
            _ => anyhow::anyhow!("a part of the daemon ended too early"),
        }),
    };
    notify(sd_notify::NotifyState::Stopping);
    let _ = stop.send(true);
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_DEADLINE, all_ended).await.is_err() {
        warn!("not everything ended in time; ending anyway");
    }
    failure.map_or(Ok(()), Err)
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
