//! The same deadlines for HTTP/2, where requests are side by side and bytes need no request.

use axum::http::Request;
use h2::client::{Builder, SendRequest};
use h2::{Ping, RecvStream};

use super::*;

/// A client's half of an HTTP/2 connection, its task, and the server's end.
struct Client {
    send: SendRequest<axum::body::Bytes>,
    pings: h2::PingPong,
    reading: JoinHandle<Result<(), h2::Error>>,
    serving: JoinHandle<()>,
    drain: watch::Sender<bool>,
    start: Instant,
}

async fn client(window: u32) -> Client {
    let connection = connect_as(Protocols::http1_and_http2(), 64 << 10);
    let handshake = Builder::new()
        .initial_window_size(window)
        .handshake(connection.client);
    let (send, mut reading) = handshake.await.expect("HTTP/2");
    Client {
        send,
        pings: reading.ping_pong().expect("the first one"),
        reading: tokio::spawn(reading),
        serving: connection.serving,
        drain: connection.drain,
        start: connection.start,
    }
}

impl Client {
    /// The answer's body, its head read.
    async fn get(&mut self, path: &str) -> RecvStream {
        let request = Request::get(format!("http://x{path}"));
        let request = request.body(()).expect("a request");
        let (response, _) = self.send.send_request(request, true).expect("open");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body()
    }

    async fn seconds(&mut self) -> u64 {
        (&mut self.serving).await.expect("no panic");
        self.start.elapsed().as_secs()
    }
}

const WINDOW: u32 = 64 << 10;

async fn read(mut body: RecvStream) -> usize {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("more");
        length += data.len();
        body.flow_control()
            .release_capacity(data.len())
            .expect("it was taken");
    }
    length
}

#[tokio::test(start_paused = true)]
async fn either_protocol_is_understood() {
    let mut http1 = connect_as(Protocols::http1_and_http2(), 1024);
    http1.send(QUICK).await;
    http1.expect("quick").await;
    let mut http2 = client(WINDOW).await;
    let body = http2.get("/quick").await;
    assert_eq!(read(body).await, 5);
    let body = http2.get("/large").await;
    assert_eq!(read(body).await, LARGE);
}

#[tokio::test(start_paused = true)]
async fn preface_without_a_request_is_idle_and_half_of_it_ends_after_the_header_timeout() {
    let mut client = client(WINDOW).await;
    assert_eq!(client.seconds().await, 75);
    // GOAWAY without an error, not a cut
    client
        .reading
        .await
        .expect("no panic")
        .expect("a clean end");
    for (sent, seconds) in [("", 75), ("PRI * HT", 10), ("GET / HT", 10)] {
        let mut connection = connect_as(Protocols::http1_and_http2(), 1024);
        connection.send(sent).await;
        assert_eq!(connection.seconds().await, seconds, "{sent:?}");
    }
}

/// The preface and empty settings.
const START: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(start_paused = true)]
async fn trickled_head_ends_after_the_header_timeout_of_its_first_byte() {
    // A frame of headers, and one that says that more of the head follows.
    let whole = [&b"\0\x40\0\x01\x05\0\0\0\x01"[..], &[0; 60]].concat();
    let goes_on = [&b"\0\0\x01\x01\x01\0\0\0\x01\x82"[..], &[0; 60]].concat();
    for (silence, head) in [(0, &whole), (60, &whole), (60, &goes_on)] {
        let mut connection = connect_as(Protocols::http1_and_http2(), 1024);
        connection.client.write_all(START).await.expect("open");
        sleep(Duration::from_secs(silence)).await;
        for byte in head {
            if connection.client.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert!(connection.serving.is_finished());
        let seconds = connection.start.elapsed().as_secs() - silence;
        assert!((10..=12).contains(&seconds), "{seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_opened_ahead_is_served_when_it_is_needed() {
    let mut client = client(WINDOW).await;
    sleep(Duration::from_secs(74)).await;
    let body = client.get("/quick").await;
    assert_eq!(read(body).await, 5);
    assert_eq!(client.seconds().await, 74 + 75);
}

#[tokio::test(start_paused = true)]
async fn pings_do_not_keep_an_idle_connection_open() {
    let mut client = client(WINDOW).await;
    let body = client.get("/quick").await;
    read(body).await;
    while client.pings.ping(Ping::opaque()).await.is_ok() {
        sleep(Duration::from_secs(2)).await;
    }
    let seconds = client.seconds().await; // seen by the next ping
    assert!((75..=77).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn frames_that_are_always_half_there_do_not_keep_an_idle_connection_open() {
    let ping = b"\0\0\x08\x06\0\0\0\0\x0012345678";
    // The rest of one, and the first byte of the next.
    let on = [&ping[1..], &ping[..1]].concat();
    let mut connection = connect_as(Protocols::http1_and_http2(), 64 << 10);
    connection.client.write_all(START).await.expect("open");
    connection.client.write_all(&ping[..1]).await.expect("open");
    while !connection.serving.is_finished() && connection.client.write_all(&on).await.is_ok() {
        sleep(Duration::from_secs(2)).await;
        assert!(connection.start.elapsed().as_secs() < 100, "still open");
    }
    let seconds = connection.seconds().await; // seen by the next write
    assert!((85..=87).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn end_of_an_idle_connection_is_announced() {
    let mut client = client(WINDOW).await;
    let body = client.get("/quick").await;
    read(body).await;
    assert_eq!(client.seconds().await, 75);
    // GOAWAY without an error, not a cut
    client
        .reading
        .await
        .expect("no panic")
        .expect("a clean end");
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_have_no_deadline_here() {
    let mut client = client(WINDOW).await;
    let body = client.get("/slow").await;
    read(body).await;
    assert_eq!(client.start.elapsed().as_secs(), 1000);
    assert_eq!(client.seconds().await, 1075);
}

#[tokio::test(start_paused = true)]
async fn window_of_one_byte_holds_an_answer_no_longer_than_the_write_timeout() {
    let mut client = client(1).await;
    let mut body = client.get("/large").await;
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        sleep(Duration::from_secs(1)).await;
    }
    let seconds = client.seconds().await; // seen by the next read
    assert!((30..=31).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn drain_ends_an_idle_connection_and_waits_for_requests() {
    let mut idle = client(WINDOW).await;
    let body = idle.get("/quick").await;
    read(body).await;
    let mut busy = client(WINDOW).await;
    let drain = busy.drain.clone();
    let (seconds, length) = tokio::join!(
        async {
            sleep(Duration::from_secs(5)).await;
            idle.drain.send_replace(true);
            drain.send_replace(true);
            idle.seconds().await
        },
        async {
            let body = busy.get("/slow").await;
            read(body).await
        }
    );
    assert_eq!((seconds, length), (5, 4));
    assert!(busy.seconds().await <= 1001);
}

#[tokio::test(start_paused = true)]
async fn drain_ends_a_silent_connection_and_not_one_in_its_first_word() {
    let mut silent = connect_as(Protocols::http1_and_http2(), 1024);
    let mut begun = connect_as(Protocols::http1_and_http2(), 1024);
    begun.send("P").await;
    sleep(Duration::from_secs(1)).await;
    silent.drain.send_replace(true);
    begun.drain.send_replace(true);
    assert_eq!(silent.seconds().await, 1);
    begun
        .send("UT /take HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        .await;
    begun.expect("HTTP/1.1 405 ").await;
}
