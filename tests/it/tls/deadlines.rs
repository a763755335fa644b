//! Connections that do not finish their handshake, or nothing behind it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::version;

use super::{Files, Identity, ask, client, client_of, connect, rest, shake_hands};
use crate::harness::Process;
use crate::http2;

/// The start of a record that never comes whole.
fn half_a_handshake(server: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let start = [0x16, 0x03, 0x01, 0x01, 0x00, 0x01];
    stream.write_all(&start).unwrap();
    stream
}

#[test]
fn connection_opened_ahead_outlives_the_header_timeout() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&["--header-timeout", "4s"]);
    for version in [&version::TLS12, &version::TLS13] {
        let config = Arc::new(client_of(&[&identity], &[version]));
        let bare = TcpStream::connect(server.address).unwrap();
        let mut shaken = connect(server.address, &config).unwrap();
        let mut begun = connect(server.address, &config).unwrap();
        // These come later, and begin to speak.
        let mut half = half_a_handshake(&server);
        begun.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
        begun.flush().unwrap();
        rest(&mut half);
        rest(&mut begun.sock);
        let mut bare = shake_hands(bare, &config).unwrap();
        for stream in [&mut bare, &mut shaken] {
            assert_eq!(ask(stream, "GET", "/livez", b"").0, 200);
        }
    }
}

#[test]
fn idle_http_2_connection_gets_its_goaway() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&["--http2", "--idle-timeout", "2s"]);
    let mut config = client_of(&[&identity], &[&version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = connect(server.address, &Arc::new(config)).unwrap();
    stream.write_all(&http2::start()).unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said); // the end of TLS need not be told
    assert_eq!(http2::goaway(&said), Some(0), "{said:?}");
}

#[test]
fn half_handshakes_end_at_the_deadline_and_keep_nobody_out() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&["--header-timeout", "4s"]);
    let mut halves: Vec<TcpStream> = (0..200).map(|_| half_a_handshake(&server)).collect();
    let mut stream = connect(server.address, &client(&[&identity])).unwrap();
    assert_eq!(ask(&mut stream, "GET", "/readyz", b"").0, 200);
    for stream in &mut halves {
        rest(stream);
    }
    let mut stream = connect(server.address, &client(&[&identity])).unwrap();
    assert_eq!(ask(&mut stream, "GET", "/readyz", b"").0, 200);
}
