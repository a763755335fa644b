//! A server on 127.0.0.1 for the download tests: plain or TLS, one request per connection, every request recorded.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// A connection, plain or TLS.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One request as the server saw it.
pub(crate) struct Request {
    /// Counted from 0 over all connections.
    pub(super) number: usize,
    pub(crate) head: String,
}

impl Request {
    /// Where the range begins that is asked for, 0 without one.
    pub(super) fn offset(&self) -> usize {
        offset(&self.head)
    }
}

/// A server on port 0 that answers one request per connection.
pub(crate) struct TestServer {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    pub(super) fn start(
        answer: impl Fn(&Request, &mut dyn Stream) + Send + Sync + 'static,
    ) -> TestServer {
        TestServer::start_with(|stream| Box::new(stream), answer)
    }

    /// As `start`, with `wrap` between the socket and the answers.
    pub(super) fn start_with(
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + Sync + 'static,
        answer: impl Fn(&Request, &mut dyn Stream) + Send + Sync + 'static,
    ) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (seen, wrap, answer) = (heads.clone(), Arc::new(wrap), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, wrap, answer) = (seen.clone(), wrap.clone(), answer.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(wrap(stream.unwrap()));
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if !matches!(reader.read_line(&mut head), Ok(1..)) {
                            return;
                        }
                    }
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(head.clone());
                        seen.len() - 1
                    };
                    answer(&Request { number, head }, reader.get_mut());
                });
            }
        });
        TestServer { port, heads }
    }

    /// Serves a file.
    pub(super) fn of_file(content: &[u8]) -> TestServer {
        TestServer::cut_once(content, usize::MAX)
    }

    /// Serves a file, and cuts the first answer after so many bytes.
    pub(super) fn cut_once(content: &[u8], first: usize) -> TestServer {
        let content = content.to_vec();
        TestServer::start(move |request, stream| {
            let most = if request.number == 0 {
                first
            } else {
                usize::MAX
            };
            respond_with_range(request, stream, &content, most);
        })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Where the range begins that a request asked for.
    pub(super) fn offset_of(&self, request: usize) -> usize {
        offset(&self.heads()[request])
    }
}

fn offset(head: &str) -> usize {
    let head = head.to_lowercase();
    let mut lines = head.lines();
    let range = lines.find_map(|line| line.strip_prefix("range: bytes="));
    range.map_or(0, |range| range.trim_end_matches('-').parse().unwrap())
}

/// Writes an answer. The client may have hung up already, which some tests are about.
pub(super) fn respond(stream: &mut dyn Stream, status: &str, headers: &str, body: &[u8]) {
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Connection: close\r\n\r\n"
    );
    let _ = stream.write_all(body);
    let _ = stream.flush();
}

/// Answers with all of `content`, or with its rest from the range on, but cuts the connection after `most` bytes.
pub(super) fn respond_with_range(
    request: &Request,
    stream: &mut dyn Stream,
    content: &[u8],
    most: usize,
) {
    let (offset, total) = (request.offset(), content.len());
    let rest = &content[offset..];
    let body = &rest[..most.min(rest.len())];
    let length = rest.len();
    if offset == 0 {
        respond(
            stream,
            "200 OK",
            &format!("Content-Length: {length}\r\n"),
            body,
        );
    } else {
        let range = format!(
            "Content-Range: bytes {offset}-{}/{total}\r\nContent-Length: {length}\r\n",
            total - 1
        );
        respond(stream, "206 Partial Content", &range, body);
    }
}

/// A certificate authority, and a TLS server of it for 127.0.0.1.
pub(crate) fn tls_server(
    dir: &Path,
    answer: impl Fn(&Request, &mut dyn Stream) + Send + Sync + 'static,
) -> (TestServer, PathBuf) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca_file = dir.join("ca.pem");
    fs::write(&ca_file, cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream| -> Box<dyn Stream> {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        Box::new(rustls::StreamOwned::new(connection, stream))
    };
    (TestServer::start_with(wrap, answer), ca_file)
}
