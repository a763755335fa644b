//! Connections over streams in memory, under a clock that moves when nothing else does.

mod http2;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::activity::{Activity, Timeouts};
use super::connection::{self, Protocols};
use super::requests::Requests;
use super::watched::Watched;
use crate::http::Peer;

const TIMEOUTS: Timeouts = Timeouts {
    head: Duration::from_secs(10),
    idle: Duration::from_secs(75),
    write: Duration::from_secs(30),
};

const LARGE: usize = 1 << 20;

fn router() -> Router {
    Router::new()
        .route("/quick", get(|| async { "quick" }))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_secs(1000)).await;
                "slow"
            }),
        )
        .route("/large", get(|| async { vec![b'x'; LARGE] }))
        .route("/refuse", post(|| async { StatusCode::NOT_FOUND }))
        .route(
            "/take",
            post(|body: Body| async {
                let body = to_bytes(body, usize::MAX).await.expect("a whole body");
                body.len().to_string()
            }),
        )
}

/// A client, and the server's end of its connection.
struct Connection {
    client: DuplexStream,
    serving: JoinHandle<()>,
    drain: watch::Sender<bool>,
    in_flight: Arc<AtomicUsize>,
    start: Instant,
}

/// Over HTTP/1.1; the transport holds so many bytes each way.
fn connect(transport: usize) -> Connection {
    connect_as(Protocols::http1(), transport)
}

fn connect_as(protocols: Protocols, transport: usize) -> Connection {
    let (client, server) = tokio::io::duplex(transport);
    let activity = Arc::new(Activity::new(TIMEOUTS));
    let in_flight = Arc::new(AtomicUsize::new(0));
    let requests = Requests {
        router: router(),
        peer: Peer {
            address: ([127, 0, 0, 1], 1).into(),
            scheme: "http",
        },
        activity: Arc::clone(&activity),
        in_flight: Arc::clone(&in_flight),
    };
    let drain = watch::Sender::new(false);
    let drained = drain.subscribe();
    let stream = Watched::new(server, activity);
    let serving = tokio::spawn(async move {
        connection::serve(stream, requests, &protocols, drained).await;
    });
    Connection {
        client,
        serving,
        drain,
        in_flight,
        start: Instant::now(),
    }
}

impl Connection {
    async fn send(&mut self, text: &str) {
        self.client
            .write_all(text.as_bytes())
            .await
            .expect("an open connection");
    }

    /// Reads until the text has come.
    async fn expect(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&read).contains(text) {
            let n = self
                .client
                .read(&mut chunk)
                .await
                .expect("an open connection");
            assert!(n > 0, "{text:?} in {:?}", String::from_utf8_lossy(&read));
            read.extend(&chunk[..n]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Reads to the end.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let _ = self.client.read_to_end(&mut read).await; // a broken pipe is an end too
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Seconds from the start until the server has let the connection go.
    async fn seconds(&mut self) -> u64 {
        (&mut self.serving).await.expect("no panic");
        self.start.elapsed().as_secs()
    }
}

const QUICK: &str = "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn silence_before_the_first_byte_ends_after_the_idle_timeout() {
    let mut connection = connect(1024);
    assert_eq!(connection.seconds().await, 75);
    assert_eq!(connection.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_opened_ahead_is_served_when_it_is_needed() {
    let mut connection = connect(1024);
    sleep(Duration::from_secs(74)).await;
    connection.send(QUICK).await;
    connection.expect("quick").await;
    assert_eq!(connection.seconds().await, 74 + 75);
}

#[tokio::test(start_paused = true)]
async fn trickled_head_ends_after_the_header_timeout_of_its_first_byte() {
    for silence in [0, 60] {
        let mut connection = connect(1024);
        sleep(Duration::from_secs(silence)).await;
        for byte in QUICK.bytes() {
            if connection.client.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(3)).await;
        }
        assert!(connection.serving.is_finished());
        assert_eq!(connection.start.elapsed().as_secs(), silence + 12);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connection_stays_open_for_the_idle_timeout_of_each_answer() {
    let mut connection = connect(1024);
    for _ in 0..3 {
        connection.send(QUICK).await;
        connection.expect("quick").await;
        sleep(Duration::from_secs(74)).await;
    }
    assert_eq!(connection.seconds().await, 74 + 74 + 75);
}

#[tokio::test(start_paused = true)]
async fn further_head_has_the_header_timeout_from_its_first_byte() {
    let mut connection = connect(1024);
    connection.send(QUICK).await;
    connection.expect("quick").await;
    sleep(Duration::from_secs(60)).await;
    for _ in 0..4 {
        connection.send("G").await;
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(connection.seconds().await, 70);
}

#[tokio::test(start_paused = true)]
async fn handler_and_body_may_take_longer_than_the_connections_deadlines() {
    let mut connection = connect(1024);
    connection
        .send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    connection.expect("slow").await;
    assert_eq!(connection.start.elapsed().as_secs(), 1000);
    connection
        .send("POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
        .await;
    for byte in ["a", "b", "c"] {
        sleep(Duration::from_secs(100)).await;
        connection.send(byte).await;
    }
    connection.expect("\r\n\r\n3").await;
    assert_eq!(connection.seconds().await, 1000 + 300 + 75);
}

#[tokio::test(start_paused = true)]
async fn reader_who_trickles_loses_the_connection_after_the_write_timeout() {
    let mut connection = connect(1024);
    connection
        .send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut byte = [0; 512];
    while !connection.serving.is_finished() {
        connection
            .client
            .read_exact(&mut byte)
            .await
            .expect("some bytes more");
        sleep(Duration::from_secs(1)).await;
    }
    let seconds = connection.start.elapsed().as_secs();
    assert!((30..=32).contains(&seconds), "{seconds}");
    assert_eq!(connection.in_flight.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn reader_who_is_slow_but_done_in_time_gets_all() {
    let mut connection = connect(64 << 10);
    connection
        .send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut chunk = vec![0; 64 << 10];
    let mut got = 0;
    while got < LARGE {
        got += connection
            .client
            .read(&mut chunk)
            .await
            .expect("an open connection");
        sleep(Duration::from_secs(1)).await;
    }
    connection.send(QUICK).await;
    connection.expect("quick").await;
}

#[tokio::test(start_paused = true)]
async fn client_that_writes_on_after_its_refusal_reads_it_at_the_end() {
    for head in [
        "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
        "PUT /quick HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n",
        "GARBAGE\r\n\r\n",
    ] {
        let mut connection = connect(1024);
        connection.send(head).await;
        connection.send(&"x".repeat(3_000_000)).await;
        let answer = connection.rest().await;
        assert!(answer.starts_with("HTTP/1.1 40"), "{head} {answer}");
        assert!(answer.contains("connection: close"), "{head} {answer}");
        drop(connection.client);
        connection.serving.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_never_stops_writing_is_left_after_5_seconds_or_320_mebibytes() {
    let head = "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000000\r\n\r\n";
    let mut connection = connect(1024);
    connection.send(head).await;
    while connection.client.write_all(b"x").await.is_ok() {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(connection.seconds().await, 5);

    let mut connection = connect(1 << 20);
    connection.send(head).await;
    let megabyte = vec![0; 1 << 20];
    let mut sent = 0;
    while connection.client.write_all(&megabyte).await.is_ok() {
        sent += 1;
    }
    assert!((320..=322).contains(&sent), "{sent}");
    assert_eq!(connection.seconds().await, 0);
}

#[tokio::test(start_paused = true)]
async fn refused_request_whose_body_has_come_keeps_its_connection() {
    let mut connection = connect(64 << 10);
    for _ in 0..3 {
        connection
            .send(&format!(
                "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n{}",
                "x".repeat(4000)
            ))
            .await;
        let answer = connection.expect("\r\n\r\n").await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    connection.send(QUICK).await;
    connection.expect("quick").await;
}

#[tokio::test(start_paused = true)]
async fn drain_ends_idle_connections_at_once_and_others_after_their_answer() {
    let mut idle = connect(1024);
    idle.send(QUICK).await;
    idle.expect("quick").await;
    let mut silent = connect(1024);
    let mut busy = connect(1024);
    busy.send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    for connection in [&idle, &silent, &busy] {
        connection.drain.send_replace(true);
    }
    assert_eq!((idle.seconds().await, silent.seconds().await), (1, 1));
    assert_eq!(busy.in_flight.load(Ordering::Relaxed), 1);
    assert!(busy.rest().await.contains("connection: close"));
    drop(busy.client);
    busy.serving.await.expect("no panic");
    assert_eq!(busy.in_flight.load(Ordering::Relaxed), 0);
}

#[test]
fn every_address_is_those_of_ipv4_where_there_is_no_ipv6_and_no_other_address_is() {
    let missing = io::Error::from_raw_os_error(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    let absent = io::Error::from(io::ErrorKind::AddrNotAvailable);
    let taken = io::Error::from(io::ErrorKind::AddrInUse);
    let falls_back = |address: &str, error: &io::Error| {
        super::is_missing_family(address.parse().expect("an address"), error)
    };
    assert!(falls_back("[::]:80", &missing) && falls_back("[::]:80", &absent));
    assert!(!falls_back("[::]:80", &taken));
    for other in ["[::1]:80", "[2001:db8::1]:80", "0.0.0.0:80"] {
        assert!(!falls_back(other, &absent), "{other}");
    }
}
