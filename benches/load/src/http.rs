//! An HTTP/1.1 client that costs little: requests are prepared bytes, connections are kept, nothing is parsed that no
//! scenario asks for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A request, ready to be written.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    head: Arc<[u8]>,
    body: Arc<[u8]>,
}

impl Request {
    /// A GET on a connection that is kept.
    pub(crate) fn get(path: &str) -> Request {
        Request {
            head: format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n")
                .into_bytes()
                .into(),
            body: Arc::from([]),
        }
    }

    /// A POST of these bytes, with further header lines, each ended by CRLF.
    pub(crate) fn post(path: &str, headers: &str, body: impl Into<Arc<[u8]>>) -> Request {
        let body = body.into();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: load\r\n{headers}Content-Length: {length}\r\n\r\n"
        );
        Request {
            head: head.into_bytes().into(),
            body,
        }
    }

    /// The request's line and header fields.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// What follows them.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Its status code.
    pub(crate) status: u16,
    /// Status line and header fields.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header field's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// The code of a problem document, empty for other answers.
    pub(crate) fn code(&self) -> &str {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        let found = text.split_once("\"code\":\"").map(|(_, rest)| rest);
        match found {
            Some(rest) if self.status >= 400 => rest.split('"').next().unwrap_or_default(),
            _ => "",
        }
    }

    fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().skip(1).filter_map(|l| l.split_once(':'));
    let mut fields = fields.filter(|(n, _)| n.eq_ignore_ascii_case(name));
    fields.next().map(|(_, v)| v.trim())
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection came to be.
    Connect(io::Error),
    /// The connection ended before the first byte of an answer.
    Unanswered(io::Error),
    /// The connection ended within an answer.
    Cut(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Connect(e) => write!(f, "no connection: {e}"),
            Failure::Unanswered(e) => write!(f, "no answer: {e}"),
            Failure::Cut(what) => write!(f, "cut answer: {what}"),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes read and not yet taken.
    read: Vec<u8>,
    reused: bool,
}

impl Connection {
    /// Connects, from this address if one is given.
    ///
    /// # Errors
    /// [`Failure::Connect`].
    pub(crate) async fn open(to: SocketAddr, from: Option<IpAddr>) -> Result<Connection, Failure> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(from) = from {
                socket.bind(SocketAddr::new(from, 0))?;
            }
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = connect.await.map_err(Failure::Connect)?;
        Ok(Connection {
            stream,
            read: Vec::new(),
            reused: false,
        })
    }

    /// The socket, for what no well-behaved client does.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Writes a request and reads its answer, also one that comes before the body is written. Second is whether the
    /// connection may be used again.
    ///
    /// # Errors
    /// [`Failure::Unanswered`] or [`Failure::Cut`].
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<(Answer, bool), Failure> {
        let Connection { stream, read, .. } = self;
        let (mut reader, mut writer) = stream.split();
        let (mut ended, mut written) = (false, false);
        let write = async {
            writer.write_all(&request.head).await?;
            writer.write_all(&request.body).await
        };
        let answering = answer(&mut reader, read);
        tokio::pin!(write, answering);
        loop {
            tokio::select! {
                biased;
                // A failure to write is no end: an early answer may lie in the socket.
                result = &mut write, if !ended => {
                    ended = true;
                    written = result.is_ok();
                }
                answer = &mut answering => {
                    let answer = answer?;
                    // Half a request on a connection cannot be taken back: what is not written now never will be.
                    let keep = !answer.closes() && written;
                    return Ok((answer, keep));
                }
            }
        }
    }
}

async fn answer(
    stream: &mut (impl AsyncReadExt + Unpin),
    read: &mut Vec<u8>,
) -> Result<Answer, Failure> {
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            more(stream, read).await?;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        read.drain(..end);
        let cut = || Failure::Cut(head.clone());
        let status = head.get(9..12).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or_else(cut)?;
        if status < 200 {
            continue;
        }
        let length = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok());
        let length = length.ok_or_else(cut)?;
        while read.len() < length {
            more(stream, read).await.map_err(|_| cut())?;
        }
        let body = read.drain(..length).collect();
        return Ok(Answer { status, head, body });
    }
}

async fn more(stream: &mut (impl AsyncReadExt + Unpin), read: &mut Vec<u8>) -> Result<(), Failure> {
    let lost = |e: io::Error| match read.is_empty() {
        true => Failure::Unanswered(e),
        false => Failure::Cut(e.to_string()),
    };
    let before = read.len();
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer).await.map_err(lost)?;
    read.extend_from_slice(&buffer[..n]);
    if read.len() == before {
        let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "closed");
        return Err(match before {
            0 => Failure::Unanswered(closed),
            _ => Failure::Cut("closed".into()),
        });
    }
    Ok(())
}

/// Connections to one server from one address, kept and used again.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    to: SocketAddr,
    from: Option<IpAddr>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Client {
    /// A client without connections.
    pub(crate) fn new(to: SocketAddr) -> Client {
        Client {
            to,
            from: None,
            idle: Arc::default(),
        }
    }

    /// The same, whose connections come from this address.
    pub(crate) fn from(to: SocketAddr, from: IpAddr) -> Client {
        Client {
            from: Some(from),
            ..Client::new(to)
        }
    }

    /// Sends on a kept connection or a new one. A kept one that turns out closed is replaced once, as every HTTP client
    /// does.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        let kept = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let mut result = connection.ask(request).await;
        if connection.reused && matches!(result, Err(Failure::Unanswered(_))) {
            connection = self.open().await?;
            result = connection.ask(request).await;
        }
        let (answer, keep) = result?;
        if keep {
            connection.reused = true;
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
        Ok(answer)
    }

    /// Closes the connections that are kept.
    pub(crate) fn close(&self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    async fn open(&self) -> Result<Connection, Failure> {
        Connection::open(self.to, self.from).await
    }
}
