//! `resnet healthcheck`, of a server and of what is none.

use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::run;
use crate::harness::Process;

#[test]
fn healthcheck_follows_the_server() {
    let server = Process::start(&[]);
    let port = server.address.port().to_string();
    let (code, stdout, _) = run(&["healthcheck", "--port", &port]);
    assert_eq!((code, stdout.as_str()), (0, "ready\n"));
    let (code, _, _) = run(&["healthcheck", "--host", "0.0.0.0", "--port", &port]);
    assert_eq!(code, 0);
    drop(server);
    let (code, _, stderr) = run(&["healthcheck", "--port", &port]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no answer from"), "{stderr}");
}

#[test]
fn healthcheck_waits_no_longer_than_it_is_told_whatever_trickles_in() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // A byte every 200 ms: each read succeeds, all twelve take longer than the timeout.
    let trickle = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut sent = 0;
        for byte in b"HTTP/1.1 200 OK\r\n" {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
            sent += 1;
            thread::sleep(Duration::from_millis(200));
        }
        sent
    });
    let (code, _, stderr) = run(&["healthcheck", "--port", &port, "--timeout", "500ms"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("no answer from"), "{stderr}");
    assert!(trickle.join().unwrap() < 17, "it did not wait for the end");
}
