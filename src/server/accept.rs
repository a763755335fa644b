//! The accept loop and the life of a connection: HTTP/1.1 with a deadline for the head, drained on shutdown.
//!
//! Owned by `Server::run`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::{Drained, ServerOptions, Tls};

/// Pause after an accept error such as "too many open files", so that the loop does not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for the last handshakes to complete, and then for the last accepted connections to be read, before those that
/// sent nothing are closed.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) struct Accepting {
    listener: TcpListener,
    service: TowerToHyperService<Router>,
    http: http1::Builder,
    tls: Option<Arc<Tls>>,
    connections: GracefulShutdown,
    options: ServerOptions,
}

impl Accepting {
    pub(super) fn new(
        listener: TcpListener,
        router: Router,
        tls: Option<Arc<Tls>>,
        options: ServerOptions,
    ) -> Accepting {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout);
        let service = TowerToHyperService::new(router);
        Accepting {
            listener,
            service,
            http,
            tls,
            connections: GracefulShutdown::new(),
            options,
        }
    }

    /// Accepts connections for ever.
    pub(super) async fn accept_all(&mut self) {
        let mut failing = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    failing = false;
                    self.serve(stream);
                }
                Err(e) if is_connection_error(&e) => {} // that client is gone already
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "cannot accept connections; trying on");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        // Answers are small and complete: nothing is gained by holding them back.
        let _ = stream.set_nodelay(true);
        let (http, service) = (self.http.clone(), self.service.clone());
        let watcher = self.connections.watcher();
        let Some(tls) = self.tls.clone() else {
            let connection = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move { report(connection.await) });
            return;
        };
        let timeout = self.options.header_timeout;
        tokio::spawn(async move {
            match tokio::time::timeout(timeout, tls.handshake(stream)).await {
                Ok(Ok(stream)) => {
                    let connection = http.serve_connection(TokioIo::new(stream), service);
                    report(watcher.watch(connection).await);
                }
                Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
                Err(_) => tracing::debug!("no TLS handshake in time"),
            }
        });
    }

    /// Lets no new client in, takes those that the kernel has accepted for us, and waits for the running requests.
    pub(super) async fn drain(mut self) -> Drained {
        // Closing the listener resets connections in its backlog, whose clients have been accepted as far as they see.
        // So first no new ones may come in, then the backlog is emptied, and only then the listener is closed.
        if let Err(error) = refuse_handshakes(&self.listener) {
            tracing::debug!(%error, "new connections cannot be held off before the listener closes");
        }
        let settle = SETTLE.min(self.options.shutdown_timeout);
        let _ = tokio::time::timeout(settle, self.accept_all()).await;
        drop(self.listener);
        // hyper closes a connection on which it has read nothing yet, even if a request lies in the socket already.
        tokio::time::sleep(settle).await;
        match tokio::time::timeout(self.options.shutdown_timeout, self.connections.shutdown()).await
        {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::TimedOut,
        }
    }
}

fn report(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// Has the kernel drop the first packet of new connections; handshakes under way still complete. Clients send that
/// packet again after a second, and find another server or none.
#[cfg(target_os = "linux")]
fn refuse_handshakes(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // Classic BPF over the TCP header, as in linux/filter.h: drop if byte 13 (the flags) has SYN (0x02) set.
    let drop_syn = [
        SockFilter::new(0x30, 0, 0, 13),       // A = flags
        SockFilter::new(0x45, 0, 1, 0x02),     // if A & SYN
        SockFilter::new(0x06, 0, 0, 0),        // drop
        SockFilter::new(0x06, 0, 0, u32::MAX), // keep
    ];
    SockRef::from(listener).attach_filter(&drop_syn)
}

/// Other systems have no such filter; there `--shutdown-delay` alone keeps new clients away.
#[cfg(not(target_os = "linux"))]
fn refuse_handshakes(_listener: &TcpListener) -> io::Result<()> {
    Ok(())
}

fn is_connection_error(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
