//! Sockets and the order of start and stop.
//!
//! Called by `cli` with an `App` and a shutdown signal; hands every request to `http`.

mod accept;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::http::{self, App};

pub use self::tls::{PemFile, Tls, TlsError};

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// How long a client may take to send its request's head.
    pub header_timeout: Duration,
    /// How long to go on accepting after the shutdown signal, while not ready.
    pub shutdown_delay: Duration,
    /// How long running requests may take after that.
    pub shutdown_timeout: Duration,
}

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
    /// The deadline passed with connections still busy; their requests are lost.
    TimedOut,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// If the address is in use, not this machine's, or needs privileges.
    pub async fn bind(address: SocketAddr, options: ServerOptions) -> std::io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
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
        let mut accepting = accept::Accepting::new(
            self.listener,
            http::router(Arc::clone(&app)),
            self.tls,
            self.options,
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
