//! HTTP/2 with `--http2`: understood, bounded, and not there without it. The floods are those that brought others down.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use resnet::server::ServerOptions;
use serde_json::Value;

use crate::harness::http2::{self as client, exchange};
use crate::harness::{Process, Settings, fixture_bytes, raw};
use crate::unharmed::Golden;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113 section 6: types of frames, and their flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `:method`, `:scheme http`, `:path`, `:authority x` in HPACK: indexed, or literal without a name of its own.
fn head(post: bool, path: &str) -> Vec<u8> {
    let mut head = vec![if post { 0x83 } else { 0x82 }, 0x86, 0x04];
    head.push(u8::try_from(path.len()).unwrap());
    head.extend(path.as_bytes());
    head.extend([0x01, 1, b'x']);
    head
}

/// What every client begins with: preface and settings.
pub(crate) fn start() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// The error of the GOAWAY among what a server said.
pub(crate) fn goaway(said: &[u8]) -> Option<u32> {
    let mut rest = said;
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == GOAWAY {
            let error = u32::from_be_bytes(rest[13..17].try_into().unwrap());
            return Some(error);
        }
        rest = rest.get(9 + length..).unwrap_or_default();
    }
    None
}

/// A raw connection, its preface and settings sent.
fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    stream.set_write_timeout(timeout).unwrap();
    stream.write_all(&start()).unwrap();
    stream
}

/// Sends as much as the server takes, while someone reads what it says; the error of its GOAWAY, if one arrived.
fn flood(mut stream: TcpStream, frames: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    let mut reader = stream.try_clone().unwrap();
    let said = std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut said = Vec::new();
            let _ = reader.read_to_end(&mut said); // a reset is an end too
            said
        });
        for frame in frames {
            if stream.write_all(&frame).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        reading.join().unwrap()
    });
    goaway(&said)
}

fn http2() -> Golden {
    Golden::start(&Settings {
        server: ServerOptions {
            http2: true,
            ..ServerOptions::default()
        },
        ..Settings::default()
    })
}

/// Status and body of a request by a real client.
async fn ask(address: SocketAddr, method: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let request = axum::http::Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(())
        .unwrap();
    let exchanged = exchange(client::connect(address).await, request, body).await;
    (exchanged.status, exchanged.body)
}

#[tokio::test]
async fn photo_gets_the_same_answer_over_either_protocol() {
    let golden = http2();
    let address = golden.server.address;
    let photo = fixture_bytes("photos/espresso.png");
    assert!(photo.len() > 64 << 10, "more than one window");
    let (status, body) = ask(address, "POST", "/classify", photo).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer, golden.answer);
    let (status, body) = ask(address, "POST", "/nowhere", vec![0; 3 << 20]).await;
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&body));
    golden.assert_unharmed("HTTP/2");
}

#[test]
fn without_the_switch_the_preface_is_refused() {
    let golden = Golden::start(&Settings::default());
    let answer = raw(golden.server.address, &start());
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    golden.assert_unharmed("an HTTP/2 preface");
}

#[test]
fn floods_end_their_connection_in_bounded_memory() {
    let server = Process::start(&["--http2"]);
    let before = server.peak_memory_kb();
    let streams = || (0..50_000).map(|i| 2 * i + 1);

    let rapid_reset = streams().map(|id| {
        let get = head(false, "/livez");
        let mut both = frame(HEADERS, END_STREAM | END_HEADERS, id, &get);
        both.extend(frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()));
        both
    });
    let error = flood(connect(server.address), rapid_reset);
    assert_eq!(error, Some(ENHANCE_YOUR_CALM));

    let post = frame(HEADERS, END_HEADERS, 1, &head(true, "/classify"));
    let empty_data = std::iter::once(post).chain((0..1_000_000).map(|_| frame(DATA, 0, 1, &[])));
    let error = flood(connect(server.address), empty_data);
    assert_eq!(error, Some(ENHANCE_YOUR_CALM));

    // a literal field without indexing: name "a", a value of 16 KB
    let mut field = vec![0x00, 1, b'a', 0x7f, 0x81, 0x7f];
    field.resize(field.len() + 16_384, b'x');
    let continuation = std::iter::once(frame(HEADERS, 0, 1, &head(false, "/livez")))
        .chain((0..10_000).map(|_| frame(CONTINUATION, 0, 1, &field[..16_000])));
    let error = flood(connect(server.address), continuation);
    // the rest of the flood can reset the connection before its end is read
    assert_ne!(error, Some(0));

    // an HPACK bomb: a large field in the table once, and then named again and again by a byte
    let mut bomb = head(false, "/livez");
    bomb.extend([0x40, 1, b'a', 0x7f, 0xe1, 0x1e]);
    bomb.resize(bomb.len() + 4000, b'x');
    bomb.extend(vec![0xbe; 12_000]);
    let bombs = streams()
        .take(1000)
        .map(|id| frame(HEADERS, END_STREAM | END_HEADERS, id, &bomb));
    flood(connect(server.address), bombs);

    // what has to be answered is answered no faster than the client reads
    for kind in [PING, SETTINGS] {
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        let frames = (0..200_000).map(|_| frame(kind, 0, 0, payload));
        flood(connect(server.address), frames);
    }

    let grown = server.peak_memory_kb().saturating_sub(before);
    println!("after the floods: {grown} kB more");
    assert!(grown < 16 << 10, "{grown} kB");
    let answer = raw(
        server.address,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

// The client's task goes on while the test waits for sockets.
#[tokio::test(flavor = "multi_thread")]
async fn connection_opened_ahead_is_served_and_gets_its_goaway_when_idle() {
    let golden = Golden::start(&Settings {
        server: ServerOptions {
            http2: true,
            header_timeout: Duration::from_millis(300),
            idle_timeout: Duration::from_secs(5),
            ..ServerOptions::default()
        },
        ..Settings::default()
    });
    let address = golden.server.address;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    let reading = tokio::spawn(connection);
    let rest = |mut stream: TcpStream| {
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said); // a reset is an end too
        goaway(&said)
    };
    let (never_used, mut begun) = (connect(address), connect(address));
    let get = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head(false, "/livez"));
    begun.write_all(&get[..get.len() - 1]).unwrap();
    let start = std::time::Instant::now();
    assert_eq!(rest(begun), None, "half a head is cut");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "as head, not as idle"
    );
    let request = axum::http::Request::get("http://x/livez").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(rest(never_used), Some(0), "NO_ERROR");
    reading.await.unwrap().expect("a clean end");
    golden.assert_unharmed("idle HTTP/2 connections");
}

#[tokio::test]
async fn headers_over_16_kibibytes_are_431_and_the_next_request_is_answered() {
    let golden = http2();
    let stream = tokio::net::TcpStream::connect(golden.server.address)
        .await
        .unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    for (size, status) in [(20_000, 431), (1_000, 200)] {
        let request = axum::http::Request::get("http://x/livez")
            .header("a", "x".repeat(size))
            .body(())
            .unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        assert_eq!(response.await.unwrap().status(), status);
    }
    golden.assert_unharmed("large headers");
}

/// RFC 9113 section 8.1.1: a request that is malformed, as by a path that no URI has, is a stream's error.
#[test]
fn path_that_is_none_costs_its_stream_alone() {
    let golden = http2();
    let mut stream = connect(golden.server.address);
    for (id, path) in [
        (1, "/a.B/<x>"),
        (3, "/a b"),
        (5, "a"),
        (7, "/a\u{7f}"),
        (9, "/livez"),
    ] {
        let get = frame(HEADERS, END_STREAM | END_HEADERS, id, &head(false, path));
        stream.write_all(&get).unwrap();
    }
    let mut reset = Vec::new();
    loop {
        let mut header = [0; 9];
        stream.read_exact(&mut header).unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        let id = u32::from_be_bytes(header[5..].try_into().unwrap());
        match header[3] {
            RST_STREAM => reset.push((id, u32::from_be_bytes(payload.try_into().unwrap()))),
            HEADERS => {
                assert_eq!(id, 9);
                break;
            }
            kind => assert_ne!(kind, GOAWAY),
        }
    }
    const PROTOCOL_ERROR: u32 = 1;
    assert_eq!(reset, [1, 3, 5, 7].map(|id| (id, PROTOCOL_ERROR)));
    golden.assert_unharmed("malformed paths");
}

#[tokio::test]
async fn server_tells_how_many_requests_it_takes_at_a_time() {
    let golden = http2();
    let stream = tokio::net::TcpStream::connect(golden.server.address)
        .await
        .unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    // its settings come with the first answer at the latest
    let request = axum::http::Request::get("http://x/livez").body(()).unwrap();
    let (response, _) = send.send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(send.current_max_send_streams(), 64);
}
