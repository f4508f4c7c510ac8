//! The server under the routes: listeners and their connections, in bounds that hold whatever clients do.
//!
//! A client that opens connections, or does not read its answers, can take no more than [`Bounds`]. Beyond them the
//! connection that has made no progress for the longest time is closed, so that a new client that behaves, such as a
//! scraper, always gets through: it is never the one that has waited longest.

pub(super) mod accept;
mod bounds;
pub(super) mod connections;
pub(super) mod gate;
pub(super) mod hosts;
mod listen;
mod timed;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response, serve};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::sync::watch;
use tower_service::Service;

pub use self::{
    bounds::Bounds,
    hosts::Hosts,
    listen::{Listen, Listener, UNIX},
};
use self::{
    connections::{Closed, Connection, Connections},
    timed::Timed,
};
use super::api::feed::stopped;

/// Bytes of a request's head, and of an answer that waits in a connection's own buffer.
const BUFFER_BYTES: usize = 16 << 10;
/// How long answers under way may take once the daemon ends.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The routes, and the bounds in which they are served.
#[derive(Clone)]
pub struct Server {
    pub router: Router,
    pub(super) connections: Arc<Connections>,
    /// Becomes true, or loses its sender, when the daemon ends.
    pub(super) stop: watch::Receiver<bool>,
}

impl Server {
    /// Answers on one listener until the daemon ends; then it takes no new connections, and returns when the answers
    /// under way are given, or after a second.
    pub async fn run(self, listener: Listener) {
        let hosts = listener.hosts();
        match listener {
            Listener::Tcp { listener, .. } => self.accept(listen::prompt(listener), hosts).await,
            // The file goes when the listener does.
            Listener::Unix { listener, file: _file } => self.accept(listener, hosts).await,
        }
    }

    /// Waits until few connections are left after there were too many: they have left memory behind.
    pub async fn calmed(&self) {
        self.connections.calmed().await;
    }

    async fn accept(mut self, mut listener: impl serve::Listener, hosts: Option<Arc<Hosts>>) {
        let graceful = GracefulShutdown::new();
        loop {
            let stream = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => break,
                (stream, _) = listener.accept() => stream,
            };
            let connection = self.connections.open().await;
            let io = TokioIo::new(Timed::new(stream, Arc::clone(&connection)));
            let answers = Answers { router: self.router.clone(), connection, hosts: hosts.clone() };
            tokio::spawn(converse(io, answers, graceful.watcher()));
        }
        drop(listener);
        if tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
            tracing::debug!("some clients have not read their answers");
        }
    }
}

/// One connection, from its begin to its end.
async fn converse<S>(io: TokioIo<Timed<S>>, answers: Answers, watcher: Watcher)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let connection = Arc::clone(&answers.connection);
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(connection.bounds().head)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(io, service_fn(|request| answers.answer(request)));
    let ended = tokio::select! {
        () = connection.ended() => return,
        ended = watcher.watch(conversation) => ended,
    };
    if let Err(error) = ended {
        if error.is_timeout() {
            connection.count(Closed::Idle);
        }
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What a connection's requests are answered with.
struct Answers {
    router: Router,
    connection: Arc<Connection>,
    hosts: Option<Arc<Hosts>>,
}

impl Answers {
    async fn answer(&self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let mut request: Request = request.map(Body::new);
        if let Some(hosts) = &self.hosts {
            request.extensions_mut().insert(Arc::clone(hosts));
        }
        let _busy = self.connection.busy();
        let response = self.router.clone().call(request).await?;
        Ok(self.connection.keep(response).await)
    }
}
