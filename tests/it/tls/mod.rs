//! `--tls-cert` and `--tls-key`: who gets a connection and its answers, and who does not.

mod certificates;
mod deadlines;
mod healthcheck;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version,
};

use crate::harness::{Process, eventually, fixture_bytes, read_answer};

/// A certificate of its own authority for 127.0.0.1, and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    pem: String,
    key_pem: String,
}

impl Identity {
    pub(crate) fn new() -> Identity {
        Identity::until(2099)
    }

    /// Valid until this year.
    fn until(year: i32) -> Identity {
        let mut parameters = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// Where a server finds its certificate and key.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn with(identity: &Identity) -> Files {
        let files = Files {
            dir: tempfile::tempdir().unwrap(),
        };
        files.put(&identity.pem, &identity.key_pem);
        files
    }

    fn put(&self, certificate: &str, key: &str) {
        fs::write(self.certificate(), certificate).unwrap();
        fs::write(self.key(), key).unwrap();
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    pub(crate) fn serve(&self, flags: &[&str]) -> Process {
        let (certificate, key) = (self.certificate(), self.key());
        let mut args = vec!["--tls-cert", text(&certificate), "--tls-key", text(&key)];
        args.extend(flags);
        Process::start(&args)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A client that trusts these.
fn client(trusted: &[&Identity]) -> Arc<ClientConfig> {
    Arc::new(client_of(trusted, &[&version::TLS12, &version::TLS13]))
}

pub(crate) fn client_of(
    trusted: &[&Identity],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for identity in trusted {
        roots.add(identity.certificate.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose handshake is done.
fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    shake_hands(TcpStream::connect(address)?, config)
}

/// The same on a connection that is open.
fn shake_hands(mut socket: TcpStream, config: &Arc<ClientConfig>) -> std::io::Result<Stream> {
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::from(socket.peer_addr()?.ip());
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// Status and body of the answer to a request on a connection that stays open.
fn ask(stream: &mut Stream, method: &str, path: &str, body: &[u8]) -> (u16, String) {
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    stream.flush().unwrap();
    let (head, body) = read_answer(stream);
    (head[9..12].parse().unwrap(), body)
}

/// Everything that comes until the server closes.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("it does not close"),
        _ => bytes, // a reset after the alert is an end too
    }
}

#[test]
fn photo_is_classified_by_tls_1_2_and_1_3() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&[]);
    let photo = fixture_bytes("photos/espresso.png");
    for version in [&version::TLS12, &version::TLS13] {
        let config = Arc::new(client_of(&[&identity], &[version]));
        let mut stream = connect(server.address, &config).unwrap();
        for _ in 0..2 {
            let (status, body) = ask(&mut stream, "POST", "/classify", &photo);
            assert!(status == 200 && body.contains("espresso"), "{body}");
        }
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
    }
    let ready = server.log.message("ready");
    let address = ready["address"].as_str().unwrap();
    assert!(address.starts_with("https://"), "{ready}");
}

#[test]
fn refusal_reaches_a_client_that_writes_all_of_its_body_first() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&["--max-body-bytes", "1KiB"]);
    let mut stream = connect(server.address, &client(&[&identity])).unwrap();
    let (status, body) = ask(&mut stream, "POST", "/classify", &vec![0xFF; 21 << 20]);
    assert!(status == 413 && body.contains("body_too_large"), "{body}");
}

#[test]
fn http_1_1_is_agreed_on_and_nothing_else() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&[]);
    let offering = |protocols: &[&str]| {
        let mut config = client_of(&[&identity], &[&version::TLS13]);
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        connect(server.address, &Arc::new(config))
            .map(|stream| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(
        offering(&["h2", "http/1.1"]).unwrap(),
        Some(b"http/1.1".to_vec())
    );
    assert_eq!(offering(&[]).unwrap(), None);
    let refused = offering(&["h2"]).unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

/// A `ClientHello` of TLS 1.2 or older, which names its version in its first two bytes only (RFC 5246, 7.4.1.2).
fn hello(version: [u8; 2]) -> Vec<u8> {
    let extensions = [
        [0, 10, 0, 4, 0, 2, 0, 23],   // supported_groups: secp256r1
        [0, 13, 0, 4, 0, 2, 4, 3],    // signature_algorithms: ecdsa_secp256r1_sha256
        [0, 23, 0, 0, 0xFF, 1, 0, 1], // extended_master_secret; renegotiation_info, of which the last byte follows
    ];
    let mut hello = version.to_vec();
    hello.extend([7; 32]); // random
    hello.extend([0]); // no session
    hello.extend([0, 2, 0xC0, 0x2B]); // ECDHE-ECDSA-AES128-GCM-SHA256
    hello.extend([1, 0]); // no compression
    hello.extend([0, 25]);
    hello.extend(extensions.concat());
    hello.extend([0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut record = vec![0x16, 0x03, 0x01, 0, length + 4, 0x01, 0, 0, length];
    record.extend(hello);
    record
}

#[test]
fn what_is_no_tls_1_2_or_1_3_gets_an_alert_and_no_answer() {
    let identity = Identity::new();
    let server = Files::with(&identity).serve(&[]);
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let mut first = [0];
    send(&hello([3, 3])).read_exact(&mut first).unwrap();
    assert_eq!(first, [22], "1.2 gets a ServerHello");
    // Alert records, RFC 5246 and 8446: type 21, version, length 2, fatal, description.
    for old in [[3, 2], [3, 1], [3, 0], [2, 0]] {
        let alert = rest(&mut send(&hello(old)));
        assert_eq!(
            (alert[0], &alert[3..]),
            (21, &[0, 2, 2, 70][..]),
            "protocol_version"
        );
    }
    for plain in [
        &b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0; 64],
        &[0xFF; 64],
    ] {
        let answer = rest(&mut send(plain));
        assert!(
            answer.first().is_none_or(|first| *first == 21),
            "{answer:?}"
        );
        assert!(answer.len() <= 7, "{answer:?}");
    }
    let mut stream = connect(server.address, &client(&[&identity])).unwrap();
    assert_eq!(ask(&mut stream, "GET", "/livez", b"").0, 200);
}

#[test]
fn sigterm_drains_connections_with_tls() {
    let identity = Identity::new();
    let photo = fixture_bytes("photos/espresso.png");
    let mut server = Files::with(&identity).serve(&[]);
    let mut idle = connect(server.address, &client(&[&identity])).unwrap();
    assert_eq!(ask(&mut idle, "GET", "/livez", b"").0, 200);
    let mut busy = connect(server.address, &client(&[&identity])).unwrap();
    write!(
        busy,
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        photo.len()
    )
    .unwrap();
    busy.write_all(&photo[..1000]).unwrap();
    let mut probe = connect(server.address, &client(&[&identity])).unwrap();
    eventually("it is being handled", || {
        let (_, metrics) = ask(&mut probe, "GET", "/metrics", b"");
        metrics.contains("resnet_requests_in_flight 2")
    });
    drop(probe);
    server.signal("TERM");
    // A proper end: the client is told that nothing was cut off.
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    busy.write_all(&photo[1000..]).unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}
