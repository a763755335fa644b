//! Sockets and the order of start and stop.
//!
//! Called by `cli` with an `App` and a shutdown signal; hands every request to `http`.

mod accept;
mod activity;
mod connection;
mod file_limit;
mod requests;
#[cfg(test)]
mod tests;
mod tls;
mod watched;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use crate::http::{self, App};

pub use self::tls::{PemFile, Tls, TlsError};

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Most connections at a time, up to [`MAX_CONNECTIONS`]; further clients wait in the kernel's backlog.
    pub max_connections: u32,
    /// How long a client may take to send a request's head: from the connection's start for the first request, from the
    /// first byte for a further one.
    pub header_timeout: Duration,
    /// How long a connection may stay open between two requests.
    pub idle_timeout: Duration,
    /// How long a client may take to take an answer.
    pub write_timeout: Duration,
    /// How long to go on accepting after the shutdown signal, while not ready.
    pub shutdown_delay: Duration,
    /// How long running requests may take after that.
    pub shutdown_timeout: Duration,
}

impl Default for ServerOptions {
    /// The defaults of `resnet serve`, without its delay.
    fn default() -> ServerOptions {
        ServerOptions {
            max_connections: 10_240,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(25),
        }
    }
}

/// The largest [`max_connections`](ServerOptions::max_connections): as many files as Linux lets a process open
/// (`fs.nr_open`).
pub const MAX_CONNECTIONS: u32 = 1 << 20;

/// Connections that the kernel holds until they are accepted; it takes less if `net.core.somaxconn` is less.
const BACKLOG: u32 = 4096;

/// A listening server that has not accepted anything yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    options: ServerOptions,
    tls: Option<Arc<Tls>>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every accepted request was answered.
    Clean,
    /// The deadline passed before every request was answered.
    TimedOut {
        /// Requests without a whole answer.
        lost: usize,
    },
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// If the address is in use, not this machine's, or needs privileges.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> std::io::Result<Server> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restarted server must not wait for the connections of the one before it to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Server {
            listener,
            options,
            tls: None,
        })
    }

    /// Speaks TLS with this certificate, and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>) -> Server {
        self.tls = tls;
        self
    }

    /// The address it listens on; tells the port if 0 was asked for.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` resolves, then drains: not ready, delay, stop accepting, finish what runs.
    pub async fn run(self, app: Arc<App>, shutdown: impl Future<Output = ()>) -> Drained {
        let max_connections = self.options.max_connections;
        if let Some(allowed) = file_limit::connections_allowed(max_connections) {
            tracing::warn!(
                max_connections,
                allowed,
                "the limit of open files (ulimit -n) allows fewer connections than --max-connections"
            );
        }
        let mut accepting = accept::Accepting::new(
            self.listener,
            http::router(Arc::clone(&app)),
            self.tls,
            &self.options,
            app.metrics().connections.clone(),
        );
        tokio::select! {
            () = accepting.accept_all() => {}
            () = shutdown => {}
        }
        app.set_draining();
        tracing::info!(
            delay_ms = self.options.shutdown_delay.as_millis(),
            "shutting down: no longer ready"
        );
        let _ = tokio::time::timeout(self.options.shutdown_delay, accepting.accept_all()).await;
        accepting.drain().await
    }
}
