//! A client of HTTP/2 that sends what it is told, and reads everything.

use std::net::SocketAddr;

use axum::http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) status: u16,
    pub(crate) head: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

/// Asks on a connection of its own.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<()>,
    body: Vec<u8>,
) -> Exchanged {
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (response, mut upload) = send.send_request(request, false).unwrap();
    // As the windows allow; the server may have answered, and need no more of it.
    let _ = upload.send_data(body.into(), true);
    let (head, mut stream) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.unwrap();
        let _ = stream.flow_control().release_capacity(chunk.len()); // of a stream that has ended there is none
        body.extend_from_slice(&chunk);
    }
    Exchanged {
        status: head.status.as_u16(),
        head: head.headers,
        body,
        trailers: stream.trailers().await.unwrap().unwrap_or_default(),
    }
}

/// An open connection.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Runs what needs a runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(future)
}
