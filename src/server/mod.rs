//! Sockets and the order of start and stop.
//!
//! Called by `cli` with a `Desk` and a shutdown signal; hands every request to `http`.

mod accept;
mod activity;
mod connection;
mod file_limit;
mod frames;
mod preface;
mod requests;
#[cfg(test)]
mod tests;
mod tls;
mod watched;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use self::accept::Accepting;
use crate::desk::Desk;
use crate::http;

pub use self::file_limit::OpenFiles;
pub use self::tls::{PemFile, Tls, TlsError};

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Most connections at a time, up to [`MAX_CONNECTIONS`]; further clients wait in the kernel's backlog.
    pub max_connections: u32,
    /// How long a client may take to send a request's head, from its first byte; of the first one a TLS handshake, which
    /// has as long, comes before it.
    pub header_timeout: Duration,
    /// How long a connection may stay open before its first byte, and between two requests.
    pub idle_timeout: Duration,
    /// How long a client may take to take an answer.
    pub write_timeout: Duration,
    /// Whether clients may speak HTTP/2, without asking first (h2c with prior knowledge).
    pub http2: bool,
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
            http2: false,
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

/// Most connections of the admin listener: a scraper, probes, and a person or two.
const ADMIN_CONNECTIONS: u32 = 64;

/// How long the admin listener's answers may take at the end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// A listening server that has not accepted anything yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<TcpListener>,
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
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Server> {
        Ok(Server {
            listener: listen(address)?,
            admin: None,
            options,
            tls: None,
        })
    }

    /// Speaks TLS with this certificate, and nothing else; the admin listener stays plain.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<Tls>>) -> Server {
        self.tls = tls;
        self
    }

    /// Serves metrics and health on `address`, and metrics nowhere else.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    pub fn with_admin(self, address: SocketAddr) -> io::Result<Server> {
        Ok(Server {
            admin: Some(listen(address)?),
            ..self
        })
    }

    /// The address it listens on; tells the port if 0 was asked for.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address of the admin listener, if there is one.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn admin_address(&self) -> io::Result<Option<SocketAddr>> {
        self.admin.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// Serves until `shutdown` resolves, then drains: not ready, delay, stop accepting, finish what runs. Metrics are
    /// told to the end if they have their own listener.
    pub async fn run(self, desk: Arc<Desk>, shutdown: impl Future<Output = ()>) -> Drained {
        file_limit::raise();
        self.warn_of_file_limit();
        let wanted = self.options.max_connections;
        let most = file_limit::connections_allowed(wanted).unwrap_or(wanted.into());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        desk.metrics().connections_max.set(most);
        let (router, admin_router) = match self.admin {
            Some(_) => (
                http::public_router(Arc::clone(&desk)),
                http::admin_router(Arc::clone(&desk)),
            ),
            None => (http::router(Arc::clone(&desk)), axum::Router::new()),
        };
        let connections = desk.metrics().connections.clone();
        let mut public = Accepting::new(
            self.listener,
            router,
            self.tls,
            &self.options,
            Some(connections),
        );
        let admin_options = ServerOptions {
            max_connections: ADMIN_CONNECTIONS,
            // It drains after the public one, and nobody loses more than a scrape.
            shutdown_timeout: self.options.shutdown_timeout.min(ADMIN_DRAIN),
            ..self.options
        };
        let mut admin = self
            .admin
            .map(|listener| Accepting::new(listener, admin_router, None, &admin_options, None));
        tokio::select! {
            () = public.accept_all() => {}
            () = accept_all(&mut admin) => {}
            () = shutdown => {}
        }
        desk.set_draining();
        tracing::info!(
            delay_ms = self.options.shutdown_delay.as_secs_f64() * 1e3,
            "shutting down: no longer ready"
        );
        let drain = async {
            let _ = tokio::time::timeout(self.options.shutdown_delay, public.accept_all()).await;
            public.drain().await
        };
        let drained = tokio::select! {
            drained = drain => drained,
            () = accept_all(&mut admin) => Drained::Clean,
        };
        if let Some(admin) = admin {
            admin.drain().await;
        }
        drained
    }

    fn warn_of_file_limit(&self) {
        let max_connections = self.options.max_connections;
        if let Some(allowed) = file_limit::connections_allowed(max_connections) {
            tracing::warn!(
                max_connections,
                allowed,
                "the limit of open files (ulimit -n) allows fewer connections than --max-connections"
            );
        }
    }
}

/// Accepts on a listener that there may be, for ever.
async fn accept_all(accepting: &mut Option<Accepting>) {
    match accepting {
        Some(accepting) => accepting.accept_all().await,
        None => std::future::pending().await,
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted server must not wait for the connections of the one before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
