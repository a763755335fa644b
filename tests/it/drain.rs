//! SIGTERM and SIGINT on the real binary: no accepted request is lost, and a second signal ends at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Process, agent, eventually, fixture_bytes, resnet};

#[test]
fn sigterm_under_load_loses_no_accepted_request() {
    let photo = fixture_bytes("photos/espresso.png");
    for _ in 0..3 {
        let mut server = Process::start(&[]);
        let url = format!("http://{}/classify", server.address);
        let (answered, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let agent = agent();
                    while !stopped.load(Ordering::Relaxed) {
                        match agent.post(&url).send(&photo[..]) {
                            Ok(response) => {
                                assert_eq!(
                                    response.status(),
                                    200,
                                    "an accepted request is answered"
                                );
                                let body =
                                    response.into_body().read_to_vec().expect("a whole answer");
                                assert!(body.ends_with(b"}"));
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            // refused, not accepted: nobody listens any more
                            Err(ureq::Error::Io(e))
                                if e.kind() == std::io::ErrorKind::ConnectionRefused =>
                            {
                                return;
                            }
                            Err(ureq::Error::ConnectionFailed) => return,
                            Err(e) => panic!("an accepted request was lost: {e:?}"),
                        }
                    }
                });
            }
            // Half of the clients come with a new connection each time.
            for _ in 0..8 {
                scope.spawn(|| {
                    while !stopped.load(Ordering::Relaxed) {
                        let Ok(mut stream) = TcpStream::connect(server.address) else {
                            return; // nobody listens any more
                        };
                        stream
                            .write_all(
                                b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                            )
                            .unwrap();
                        let mut answer = String::new();
                        let read = stream.read_to_string(&mut answer);
                        assert!(
                            answer.starts_with("HTTP/1.1 200 "),
                            "lost: {read:?} {answer:?}"
                        );
                    }
                });
            }
            eventually("requests flow", || answered.load(Ordering::Relaxed) > 20);
            server.signal("TERM");
            let status = server.child.wait().unwrap();
            stopped.store(true, Ordering::Relaxed);
            assert_eq!(status.code(), Some(0), "{:?}", server.log.whole());
        });
    }
}

/// A request for a photo of which the first bytes are sent.
fn half_sent(address: SocketAddr, photo: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = photo.len();
    write!(
        stream,
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&photo[..1000]).unwrap();
    stream
}

/// Sends the rest, which is answered, and the connection's last.
fn is_answered(mut stream: TcpStream, photo: &[u8]) {
    stream.write_all(&photo[1000..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn half_sent_request_is_waited_for() {
    let photo = fixture_bytes("photos/espresso.png");
    let mut server = Process::start(&[]);
    let stream = half_sent(server.address, &photo);
    let health = format!("http://{}/readyz", server.address);
    eventually("it is being handled", || {
        let metrics = Answer::of(agent().get(health.replace("readyz", "metrics")).call());
        String::from_utf8(metrics.body)
            .unwrap()
            .contains("resnet_requests_in_flight 2")
    });
    server.signal("TERM");
    eventually("nobody listens any more", || {
        TcpStream::connect(server.address).is_err()
    });
    is_answered(stream, &photo);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn readiness_drops_while_requests_are_still_taken() {
    let mut server = Process::start(&["--shutdown-delay", "2s"]);
    let url = |path: &str| format!("http://{}{path}", server.address);
    assert_eq!(Answer::of(agent().get(url("/readyz")).call()).status, 200);
    server.signal("INT");
    eventually("it is no longer ready", || {
        Answer::of(agent().get(url("/readyz")).call()).status == 503
    });
    assert_eq!(
        Answer::of(agent().get(url("/readyz")).call()).code(),
        "shutting_down"
    );
    assert_eq!(Answer::of(agent().get(url("/livez")).call()).status, 200);
    let photo = fixture_bytes("photos/espresso.png");
    let answer = Answer::of(agent().post(url("/classify")).send(&photo[..]));
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn second_signal_ends_at_once() {
    let mut server = Process::start(&["--shutdown-delay", "60s"]);
    let start = Instant::now();
    server.signal("TERM");
    server.log.message("stopping");
    // Signals within a moment of the first are the same one; a later one ends it.
    eventually("it ends", || {
        let ended = server.child.try_wait().unwrap().is_some();
        if !ended {
            server.signal("TERM");
        }
        ended
    });
    assert_eq!(server.child.wait().unwrap().code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn deadline_ends_a_request_that_does_not_finish_and_says_so() {
    let mut server = Process::start(&["--shutdown-delay", "0s", "--shutdown-timeout", "300ms"]);
    let mut stream = TcpStream::connect(server.address).unwrap();
    write!(
        stream,
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    )
    .unwrap();
    let metrics = format!("http://{}/metrics", server.address);
    eventually("it is being handled", || {
        String::from_utf8(Answer::of(agent().get(&metrics).call()).body)
            .unwrap()
            .contains("in_flight 2")
    });
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
    server.log.line("what was lost", |line| {
        line.to_string().contains("requests lost: 1")
    });
}

#[test]
fn idle_connections_are_closed_at_once_and_half_sent_requests_waited_for() {
    let photo = fixture_bytes("photos/espresso.png");
    let mut server = Process::start(&["--shutdown-delay", "0s"]);
    let mut idle: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            write!(stream, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = [0; 512];
            let n = stream.read(&mut answer).unwrap();
            assert!(answer[..n].starts_with(b"HTTP/1.1 200 "));
            stream
        })
        .collect();
    let half: Vec<_> = (0..10).map(|_| half_sent(server.address, &photo)).collect();
    let metrics = format!("http://{}/metrics", server.address);
    eventually("they are being handled", || {
        String::from_utf8(Answer::of(agent().get(&metrics).call()).body)
            .unwrap()
            .contains("in_flight 11")
    });
    server.signal("TERM");
    for stream in &mut idle {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
    }
    assert_eq!(
        server.child.try_wait().unwrap(),
        None,
        "others are waited for"
    );
    for stream in half {
        is_answered(stream, &photo);
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn second_server_on_the_port_fails_with_a_clear_word() {
    let server = Process::start(&[]);
    let port = server.address.port().to_string();
    let output = resnet().args(["serve", "--port", &port]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(&format!("cannot listen on 127.0.0.1:{port}")) && last.contains("--port"),
        "{text}"
    );
}
