//! The accept loop and the life of a connection: HTTP/1.1 with a deadline for the head, drained on shutdown.
//!
//! Owned by `Server::run`.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::{Drained, ServerOptions};

/// Pause after an accept error such as "too many open files", so that the loop does not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for the last accepted connections to be read, before those that sent nothing are closed.
const SETTLE: Duration = Duration::from_millis(100);

pub(super) struct Accepting {
    listener: TcpListener,
    service: TowerToHyperService<Router>,
    http: http1::Builder,
    connections: GracefulShutdown,
    options: ServerOptions,
}

impl Accepting {
    pub(super) fn new(listener: TcpListener, router: Router, options: ServerOptions) -> Accepting {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout);
        let service = TowerToHyperService::new(router);
        Accepting {
            listener,
            service,
            http,
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
        let connection = self
            .http
            .serve_connection(TokioIo::new(stream), self.service.clone());
        let connection = self.connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }

    /// Takes what the kernel has accepted for us, stops listening, and waits for the running requests.
    pub(super) async fn drain(self) -> Drained {
        // A client whose connection is established in the backlog has been accepted, as far as it can see.
        while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, self.listener.accept()).await
        {
            if let Ok((stream, _)) = accepted {
                self.serve(stream);
            }
        }
        drop(self.listener);
        // hyper closes a connection on which it has read nothing yet, even if a request lies in the socket already.
        tokio::time::sleep(SETTLE.min(self.options.shutdown_timeout)).await;
        match tokio::time::timeout(self.options.shutdown_timeout, self.connections.shutdown()).await
        {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::TimedOut,
        }
    }
}

fn is_connection_error(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
