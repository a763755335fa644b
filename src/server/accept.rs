//! The accept loop: as many connections as allowed, and the order in which they end on shutdown.
//!
//! Owned by `Server::run`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::activity::{Activity, Timeouts};
use super::connection::{self, Protocols};
use super::requests::Requests;
use super::watched::Watched;
use super::{BACKLOG, Drained, ServerOptions, Tls};
use crate::http::Peer;

/// Pause after an accept error such as "too many open files", so that the loop does not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Time for the last handshakes to complete, and then for the last accepted connections to be read, before those that
/// sent nothing are closed.
const SETTLE: Duration = Duration::from_millis(100);

/// How often the log says that clients wait for a connection.
const FULL_REPORT: Duration = Duration::from_secs(60);

/// The routes and protocols of a listener.
pub(super) struct Service {
    pub(super) router: Router,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) protocols: Protocols,
}

pub(super) struct Accepting {
    listener: TcpListener,
    router: Router,
    protocols: Arc<Protocols>,
    tls: Option<Arc<Tls>>,
    timeouts: Timeouts,
    shutdown_timeout: Duration,
    slots: Arc<Semaphore>,
    max_connections: u32,
    full_reported: Option<Instant>,
    connections: Option<IntGauge>,
    in_flight: Arc<AtomicUsize>,
    drain: watch::Sender<bool>,
}

impl Accepting {
    /// Accepts at most `options.max_connections` at a time; `connections` tells their number if they are counted.
    pub(super) fn new(
        listener: TcpListener,
        service: Service,
        options: &ServerOptions,
        connections: Option<IntGauge>,
    ) -> Accepting {
        let Service {
            router,
            tls,
            protocols,
        } = service;
        Accepting {
            listener,
            router,
            protocols: Arc::new(protocols),
            tls,
            timeouts: Timeouts {
                head: options.header_timeout,
                idle: options.idle_timeout,
                write: options.write_timeout,
            },
            shutdown_timeout: options.shutdown_timeout,
            slots: Arc::new(Semaphore::new(options.max_connections as usize)),
            max_connections: options.max_connections,
            full_reported: None,
            connections,
            in_flight: Arc::default(),
            drain: watch::Sender::new(false),
        }
    }

    /// Accepts connections for ever. One that finds no slot waits in the kernel's backlog and costs nothing here.
    pub(super) async fn accept_all(&mut self) {
        let mut failing = false;
        loop {
            let slot = self.slot().await;
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    failing = false;
                    self.serve(stream, peer, slot);
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

    async fn slot(&mut self) -> Slot {
        let slots = Arc::clone(&self.slots);
        let permit = match Arc::clone(&slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.report_full();
                slots
                    .acquire_owned()
                    .await
                    .expect("the semaphore is never closed")
            }
        };
        Slot {
            _permit: permit,
            connections: None,
        }
    }

    fn report_full(&mut self) {
        if self
            .full_reported
            .is_none_or(|at| at.elapsed() >= FULL_REPORT)
        {
            self.full_reported = Some(Instant::now());
            tracing::warn!(
                max_connections = self.max_connections,
                "every connection is in use; further clients wait until one ends"
            );
        }
    }

    fn serve(&self, stream: TcpStream, address: SocketAddr, mut slot: Slot) {
        slot.count(self.connections.clone());
        // Answers are small and complete: nothing is gained by holding them back.
        let _ = stream.set_nodelay(true);
        let activity = Arc::new(Activity::new(self.timeouts));
        let requests = Requests {
            router: self.router.clone(),
            peer: Peer {
                address,
                scheme: if self.tls.is_some() { "https" } else { "http" },
            },
            activity: Arc::clone(&activity),
            in_flight: Arc::clone(&self.in_flight),
        };
        let (protocols, mut drain) = (Arc::clone(&self.protocols), self.drain.subscribe());
        let tls = self.tls.clone();
        tokio::spawn(async move {
            if has_spoken(&stream, &activity, &mut drain).await {
                let stream = Watched::new(stream, activity);
                let served = async {
                    match tls {
                        None => connection::serve(stream, requests, &protocols, drain).await,
                        Some(tls) => {
                            connection::serve_tls(stream, &tls, requests, &protocols, drain).await;
                        }
                    }
                };
                // Some kilobytes with the buffers in it, which a connection without a byte should not hold.
                Box::pin(served).await;
            }
            drop(slot);
        });
    }

    /// Lets no new client in, takes those that the kernel has accepted for us, and waits for the running requests.
    pub(super) async fn drain(mut self) -> Drained {
        // Closing the listener resets connections in its backlog, whose clients have been accepted as far as they see.
        // So first no new ones may come in, then the backlog is emptied, and only then the listener is closed.
        if let Err(error) = refuse_handshakes(&self.listener) {
            tracing::debug!(%error, "new connections cannot be held off before the listener closes");
        }
        self.slots.add_permits(BACKLOG as usize);
        let settle = SETTLE.min(self.shutdown_timeout);
        let _ = tokio::time::timeout(settle, self.accept_all()).await;
        drop(self.listener);
        // hyper closes a connection on which it has read nothing yet, even if a request lies in the socket already.
        tokio::time::sleep(settle).await;
        self.drain.send_replace(true);
        let all_slots = self.slots.acquire_many(self.max_connections + BACKLOG);
        let _ = tokio::time::timeout(self.shutdown_timeout, all_slots).await;
        match self.in_flight.load(Ordering::Relaxed) {
            0 => Drained::Clean,
            lost => Drained::TimedOut { lost },
        }
    }
}

/// Waits for the first byte; `false` if none comes in time or before the server drains.
async fn has_spoken(
    stream: &TcpStream,
    activity: &Activity,
    drain: &mut watch::Receiver<bool>,
) -> bool {
    let mut first = [0];
    tokio::select! {
        biased;
        // Not `readable`, which may be true of a new stream before anything has come.
        peeked = stream.peek(&mut first) => peeked.is_ok_and(|bytes| bytes > 0),
        _ = drain.wait_for(|drain| *drain) => false,
        expired = activity.expired() => {
            tracing::debug!(?expired, "connection closed");
            false
        }
    }
}

/// A place for one connection, given back when dropped.
struct Slot {
    _permit: OwnedSemaphorePermit,
    connections: Option<IntGauge>,
}

impl Slot {
    /// Counts the connection that has taken the place.
    fn count(&mut self, connections: Option<IntGauge>) {
        if let Some(connections) = &connections {
            connections.inc();
        }
        self.connections = connections;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(connections) = &self.connections {
            connections.dec();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    /// A connection, its activity, and a drain that does not come.
    struct Accepted {
        client: TcpStream,
        stream: TcpStream,
        activity: Activity,
        drain: watch::Sender<bool>,
    }

    impl Accepted {
        async fn new() -> Accepted {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let minute = Duration::from_secs(60);
            Accepted {
                client: TcpStream::connect(address).await.expect("a connection"),
                stream: listener.accept().await.expect("a client").0,
                activity: Activity::new(Timeouts {
                    head: minute,
                    idle: minute,
                    write: minute,
                }),
                drain: watch::Sender::new(false),
            }
        }

        async fn has_spoken(&self) -> bool {
            has_spoken(&self.stream, &self.activity, &mut self.drain.subscribe()).await
        }
    }

    #[tokio::test]
    async fn client_has_spoken_when_it_has_sent_a_byte_and_not_before() {
        let mut accepted = Accepted::new().await;
        let waits = tokio::time::timeout(Duration::from_millis(50), accepted.has_spoken()).await;
        assert!(waits.is_err());
        accepted.client.write_all(b"G").await.expect("it is open");
        assert!(accepted.has_spoken().await);
    }

    #[tokio::test]
    async fn client_that_leaves_without_a_word_has_not_spoken() {
        let mut accepted = Accepted::new().await;
        accepted.client.shutdown().await.expect("it is open");
        assert!(!accepted.has_spoken().await);
    }
}
