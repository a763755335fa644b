//! Who comes in: estimated waits, deadlines, and each client's share, with a fake network whose runs the test lets
//! through.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::fake::{FakeModel, Gate, plain_png};
use crate::harness::{Answer, Settings, TestServer, agent, eventually, read_answer};

fn start(settings: Settings) -> (TestServer, Arc<Gate>) {
    let (model, gate) = FakeModel::loaded("fake");
    let settings = Settings {
        workers: 1,
        max_batch_size: 1,
        ..settings
    };
    (TestServer::start(vec![model], &settings), gate)
}

fn post_with(server: &TestServer, header: (&str, &str), query: &str) -> Answer {
    let request = agent().post(server.url(&format!("/classify{query}")));
    Answer::of(request.header(header.0, header.1).send(&plain_png(1)[..]))
}

fn metric(server: &TestServer, line: &str) -> f64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let value = text.lines().find_map(|l| l.strip_prefix(line));
    value.map_or(0.0, |v| v.trim().parse().unwrap())
}

/// Images that have been accepted and are not running.
fn waiting(server: &TestServer) -> f64 {
    let depth = |stage: &str| {
        let line = format!("resnet_queue_depth{{model=\"fake\",stage=\"{stage}\"}}");
        metric(server, &line)
    };
    depth("decode") + depth("infer")
}

/// Teaches the server that a run takes about `time`, or a little longer.
fn teach(server: &TestServer, gate: &Gate, time: Duration) {
    gate.close();
    thread::scope(|scope| {
        let runs = gate.batches().len();
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(runs + 1);
        // how long a run takes, not a wait for something
        thread::sleep(time);
        gate.open();
        first.join().unwrap().ok();
    });
}

/// Sends a request from an address of its own and gives the status and the rest.
fn post_from(server: SocketAddr, from: &str) -> (u16, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let png = plain_png(1);
    let head = format!(
        "POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        png.len()
    );
    stream.write_all(&[head.as_bytes(), &png].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[test]
fn request_that_would_wait_too_long_is_refused_before_its_body_is_read() {
    let (server, gate) = start(Settings {
        max_queue_wait: Duration::from_millis(10),
        ..Settings::default()
    });
    teach(&server, &gate, Duration::from_millis(60));
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(2);
        let mut stream = TcpStream::connect(server.address).unwrap();
        // A body that is never sent.
        let head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\"code\":\"overloaded\""), "{answer}");

        let refused = server.post("/classify", &plain_png(2));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "overloaded")
        );
        let wait = refused.json()["estimated_wait_ms"].as_f64().unwrap();
        assert!(wait >= 10.0, "{wait}");
        let seconds: f64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1.0 && seconds <= (wait * 1.2 / 1e3).ceil().max(1.0));
        assert!(metric(&server, "resnet_estimated_wait_seconds{model=\"fake\"}") > 0.01);
        gate.open();
        first.join().unwrap().ok();
    });
    let rejected = metric(
        &server,
        "resnet_requests_rejected_total{model=\"fake\",reason=\"overloaded\"}",
    );
    assert_eq!(rejected, 2.0);
    server.post("/classify", &plain_png(3)).ok();
}

/// Sends on a connection that stays open and gives the head and the body of the answer.
fn ask(stream: &mut TcpStream, request: &[u8]) -> (String, String) {
    stream.write_all(request).unwrap();
    read_answer(stream)
}

/// Runs `test` while one image runs and one waits in a queue of one; runs have taken some 60 ms before.
fn while_full(test: impl FnOnce(&TestServer)) {
    let (server, gate) = start(Settings {
        queue_capacity: 1,
        ..Settings::default()
    });
    teach(&server, &gate, Duration::from_millis(60));
    gate.close();
    thread::scope(|scope| {
        let runs = gate.batches().len();
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(runs + 1);
        let second = scope.spawn(|| server.post("/classify", &plain_png(1)));
        eventually("it waits", || waiting(&server) == 1.0);
        test(&server);
        gate.open();
        first.join().unwrap().ok();
        second.join().unwrap().ok();
    });
}

#[test]
fn refused_client_keeps_its_connection_if_its_body_is_short_and_comes_at_once() {
    while_full(|server| {
        let connect = || TcpStream::connect(server.address).unwrap();
        let post = |announced: usize, sent: usize| {
            let head = format!(
                "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n"
            );
            [head.into_bytes(), vec![7; sent]].concat()
        };
        let mut kept = connect();
        for _ in 0..3 {
            let (head, body) = ask(&mut kept, &post(200_000, 200_000));
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}{body}");
            assert!(body.contains("\"code\":\"queue_full\""), "{body}");
            assert!(!head.contains("connection: close"), "{head}");
        }
        let (head, _) = ask(&mut kept, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");

        for (announced, sent) in [(200_000, 1000), (2_000_000, 1000), (3_000_000, 1000)] {
            let (head, _) = ask(&mut connect(), &post(announced, sent));
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            assert!(head.contains("connection: close"), "{announced}: {head}");
        }
    });
}

#[test]
fn client_that_asks_again_without_pause_is_refused_later() {
    while_full(|server| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let request = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
        let start = Instant::now();
        // Five in the 60 ms of an answer, and those of a second once: 83 at once, the others 12 ms apart.
        for _ in 0..150 {
            let (head, _) = ask(&mut stream, request);
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        }
        assert!(start.elapsed() >= Duration::from_millis(600));
    });
}

#[test]
fn estimated_wait_of_the_metrics_is_what_a_refused_client_is_told() {
    while_full(|server| {
        let refused = server.post("/classify", &plain_png(1));
        assert_eq!(refused.code(), "queue_full");
        let told = refused.json()["estimated_wait_ms"].as_f64().unwrap();
        let shown = metric(server, "resnet_estimated_wait_seconds{model=\"fake\"}") * 1e3;
        // Two images of some 60 ms; the answer has whole milliseconds.
        assert!(
            told >= 100.0 && (shown - told).abs() <= 0.5,
            "{shown} {told}"
        );
    });
}

#[test]
fn bodies_held_back_are_503_and_leave_room() {
    let (server, _gate) = start(Settings {
        body_memory_bytes: 1 << 20,
        max_queue_wait: Duration::from_millis(300),
        ..Settings::default()
    });
    let head = "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n";
    let half_sent = [head.as_bytes(), &[7; 199_000]].concat();
    let mut held: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(&half_sent).unwrap();
            stream
        })
        .collect();
    let rejected = "resnet_requests_rejected_total{model=\"fake\",reason=\"body_memory_full\"}";
    // At most three whole ones fit in the client's part, and one may exceed it.
    eventually("they are refused", || metric(&server, rejected) >= 4.0);
    let (status, answer) = post_from(server.address, "127.0.0.2");
    assert_eq!(status, 200, "{answer}");
    let refused = held.iter_mut().filter_map(|stream| {
        let limit = Some(Duration::from_millis(100));
        stream.set_read_timeout(limit).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer); // those that are still held have none
        (!answer.is_empty()).then_some(answer)
    });
    for answer in refused {
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.contains("\"code\":\"body_memory_full\""), "{answer}");
    }
}

#[test]
fn deadline_that_cannot_be_met_is_refused_and_one_that_was_missed_is_504() {
    let (server, gate) = start(Settings::default());
    teach(&server, &gate, Duration::from_millis(60));
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(2);
        for (header, query) in [
            (("X-Request-Timeout-Ms", "50"), ""),
            (("X-Unknown", "1"), "?timeout_ms=50"),
        ] {
            let refused = post_with(&server, header, query);
            let got = (refused.status, refused.code());
            assert_eq!(got, (503, "overloaded".to_owned()), "{refused:?}");
        }
        // Enough by the estimate, but the gate stays closed.
        let late = post_with(&server, ("X-Request-Timeout-Ms", "2000"), "");
        assert_eq!(
            (late.status, late.code().as_str()),
            (504, "deadline_exceeded")
        );
        gate.open();
        first.join().unwrap().ok();
    });
    let expired = || metric(&server, "resnet_requests_expired_total{stage=\"queue\"}");
    eventually("it is dropped", || expired() == 1.0);
    assert_eq!(gate.batches(), [1, 1], "and never run");
}

#[test]
fn accepted_but_late_is_504_by_the_servers_own_limit() {
    let (server, gate) = start(Settings {
        request_timeout: Duration::from_millis(300),
        ..Settings::default()
    });
    gate.close();
    let late = server.post("/classify", &plain_png(1));
    assert_eq!(
        (late.status, late.code().as_str()),
        (504, "deadline_exceeded")
    );
    // A client cannot ask for more than the server gives.
    let patient = post_with(&server, ("X-Request-Timeout-Ms", "1000000000000"), "");
    assert!([503, 504].contains(&patient.status), "{patient:?}");
    gate.open();
    server.post("/classify", &plain_png(1)).ok();
}

#[test]
fn timeout_that_is_no_time_is_400() {
    let (server, _gate) = start(Settings::default());
    for value in ["0", "-1", "1.5", "soon", ""] {
        let refused = post_with(&server, ("X-Request-Timeout-Ms", value), "");
        let got = (refused.status, refused.code());
        assert_eq!(got, (400, "bad_timeout".to_owned()), "{value}");
    }
    let refused = post_with(&server, ("X-Unknown", "1"), "?timeout_ms=0");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("timeout_ms is \"0\", allowed are whole numbers from 1"),
        "{detail}"
    );
    post_with(&server, ("X-Request-Timeout-Ms", "1000000000000"), "").ok();
}

#[test]
fn flood_of_one_address_waits_behind_itself() {
    flood_waits_behind_itself(Settings::default(), Some);
}

/// Clients come to the address that `door` makes of the server's; without one nothing is tried.
pub(crate) fn flood_waits_behind_itself(
    settings: Settings,
    door: impl FnOnce(SocketAddr) -> Option<SocketAddr>,
) {
    let (server, gate) = start(Settings {
        queue_capacity: 45,
        max_queue_wait: Duration::from_secs(3600),
        ..settings
    });
    let Some(address) = door(server.address) else {
        return;
    };
    gate.close();
    thread::scope(|scope| {
        let flood = move || post_from(address, "127.0.0.2");
        let mut accepted = vec![scope.spawn(flood)];
        gate.wait_for(1);
        // One runs, 40 wait: eight times the 5 places that are left.
        while waiting(&server) < 40.0 {
            let held = waiting(&server);
            accepted.push(scope.spawn(flood));
            eventually("it waits", || waiting(&server) == held + 1.0);
        }
        let (status, answer) = post_from(address, "127.0.0.2");
        assert_eq!(status, 503);
        assert!(
            answer.contains("\"code\":\"client_queue_full\""),
            "{answer}"
        );

        // No more of the flood is decoded than eight images ahead, and the other is decoded beside them.
        let decoded = || {
            metric(
                &server,
                "resnet_queue_depth{model=\"fake\",stage=\"infer\"}",
            )
        };
        eventually("eight are decoded", || decoded() == 8.0);
        let other = scope.spawn(move || post_from(address, "127.0.0.3"));
        eventually("the other is decoded", || decoded() == 9.0);
        // The one at the gate, one more of the flood, and the other.
        gate.let_through(3);
        assert_eq!(other.join().unwrap().0, 200);
        assert!(waiting(&server) >= 38.0, "{}", waiting(&server));
        gate.open();
        for thread in accepted {
            assert_eq!(thread.join().unwrap().0, 200);
        }
    });
}
