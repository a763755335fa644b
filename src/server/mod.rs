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
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use self::accept::{Accepting, Service};
use self::connection::Protocols;
use crate::desk::Desk;
use crate::grpc;
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

/// Most connections of the gRPC listener, each with up to 64 calls side by side; further clients wait.
pub const GRPC_CONNECTIONS: u32 = 256;

/// How long the admin listener's answers may take at the end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// A listening server that has not accepted anything yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin: Option<TcpListener>,
    grpc: Option<(TcpListener, Option<Arc<Tls>>)>,
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

impl Drained {
    /// How the shutdown of two listeners went together.
    fn and(self, other: Drained) -> Drained {
        let lost = |drained| match drained {
            Drained::Clean => 0,
            Drained::TimedOut { lost } => lost,
        };
        match (self, other) {
            (Drained::Clean, Drained::Clean) => Drained::Clean,
            _ => Drained::TimedOut {
                lost: lost(self) + lost(other),
            },
        }
    }
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
            grpc: None,
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

    /// Serves gRPC on `address`, with TLS if there is a certificate.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    pub fn with_grpc(self, address: SocketAddr, tls: Option<Arc<Tls>>) -> io::Result<Server> {
        Ok(Server {
            grpc: Some((listen(address)?, tls)),
            ..self
        })
    }

    /// The address of the gRPC listener, if there is one.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn grpc_address(&self) -> io::Result<Option<SocketAddr>> {
        let listener = self.grpc.as_ref().map(|(listener, _)| listener);
        listener.map(TcpListener::local_addr).transpose()
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
    pub async fn run(mut self, desk: Arc<Desk>, shutdown: impl Future<Output = ()>) -> Drained {
        file_limit::raise();
        self.keep_to_file_limit();
        let most = self.options.max_connections;
        desk.metrics().connections_max.set(most.into());
        let (router, admin_router) = match self.admin {
            Some(_) => (
                http::public_router(Arc::clone(&desk)),
                http::admin_router(Arc::clone(&desk)),
            ),
            None => (http::router(Arc::clone(&desk)), axum::Router::new()),
        };
        let connections = || Some(desk.metrics().connections.clone());
        let protocols = match self.options.http2 {
            true => Protocols::http1_and_http2(),
            false => Protocols::http1(),
        };
        let public = Service {
            router,
            tls: self.tls,
            protocols: protocols.clone(),
        };
        let mut public = Accepting::new(self.listener, public, &self.options, connections());
        let grpc_options = ServerOptions {
            max_connections: self.options.max_connections.min(GRPC_CONNECTIONS),
            ..self.options
        };
        let mut grpc = self.grpc.map(|(listener, tls)| {
            let service = Service {
                router: grpc::router(Arc::clone(&desk)),
                tls,
                protocols: Protocols::grpc(),
            };
            Accepting::new(listener, service, &grpc_options, connections())
        });
        let admin_options = ServerOptions {
            max_connections: ADMIN_CONNECTIONS,
            // The admin listener drains after the public one, and nobody loses more than a scrape.
            shutdown_timeout: self.options.shutdown_timeout.min(ADMIN_DRAIN),
            ..self.options
        };
        let mut admin = self.admin.map(|listener| {
            let service = Service {
                router: admin_router,
                tls: None,
                protocols,
            };
            Accepting::new(listener, service, &admin_options, None)
        });
        tokio::select! {
            () = public.accept_all() => {}
            () = accept_all(&mut grpc) => {}
            () = accept_all(&mut admin) => {}
            () = shutdown => {}
        }
        desk.set_draining();
        tracing::info!(
            delay_ms = self.options.shutdown_delay.as_secs_f64() * 1e3,
            "shutting down: no longer ready"
        );
        let drain = async {
            let delay = self.options.shutdown_delay;
            let both = async { tokio::join!(public.accept_all(), accept_all(&mut grpc)) };
            let _ = tokio::time::timeout(delay, both).await;
            let grpc = async {
                match grpc {
                    Some(grpc) => grpc.drain().await,
                    None => Drained::Clean,
                }
            };
            let (public, grpc) = tokio::join!(public.drain(), grpc);
            public.and(grpc)
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

    /// Takes no more connections than there can be files, so that none fails for want of one.
    fn keep_to_file_limit(&mut self) {
        let max_connections = self.options.max_connections;
        if let Some(allowed) = file_limit::connections_allowed(max_connections) {
            self.options.max_connections = u32::try_from(allowed).unwrap_or(u32::MAX);
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

/// Listens on an address; on every one of IPv6, those of IPv4 come with it, or alone where this machine has no IPv6.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_on(address) {
        Err(error) if is_missing_family(address, &error) => {
            tracing::warn!(%error, "this machine has no IPv6: listening on 0.0.0.0 in place of ::");
            listen_on(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        }
        result => result,
    }
}

/// Whether the addresses of all families were asked for, and those of IPv6 do not exist here.
fn is_missing_family(address: SocketAddr, error: &io::Error) -> bool {
    let no_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    let no_address = error.kind() == io::ErrorKind::AddrNotAvailable;
    address.is_ipv6()
        && address.ip().is_unspecified()
        && (no_address || error.raw_os_error() == Some(no_family))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Whatever the system's default is (net.ipv6.bindv6only).
        socket2::SockRef::from(&socket).set_only_v6(false)?;
    }
    // A restarted server must not wait for the connections of the one before it to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
