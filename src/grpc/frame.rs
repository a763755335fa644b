//! Messages in the body of a call: each behind five bytes that tell its length.
//!
//! Source: "gRPC over HTTP2", section "Length-Prefixed-Message".

use std::convert::Infallible;
use std::task::Poll;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;

use crate::desk::{Deadline, Desk, DeskError, HeldBody};
use crate::fair_queue::ClientId;
use crate::http::ApiError;
use crate::oip::OipError;

/// The messages of a request, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    body: BodyDataStream,
    /// Taken from the body, and of no message yet.
    rest: Bytes,
}

/// Whose messages they are, and until when they are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) desk: &'a Desk,
    pub(super) client: ClientId,
    pub(super) deadline: &'a Deadline,
}

impl Frames {
    pub(super) fn new(body: Body) -> Frames {
        Frames {
            body: body.into_data_stream(),
            rest: Bytes::new(),
        }
    }

    /// The length of the next message; none where there is no more.
    ///
    /// # Errors
    /// If the body breaks off, or the message is compressed.
    pub(super) async fn begin(&mut self) -> Result<Option<u32>, ApiError> {
        let mut prefix = [0; 5];
        let mut filled = 0;
        while filled < prefix.len() {
            if self.rest.is_empty() {
                match self.body.next().await {
                    Some(Ok(data)) => self.rest = data,
                    None if filled == 0 => return Ok(None),
                    None | Some(Err(_)) => return Err(DeskError::BodyCut.into()),
                }
            }
            let part = self.rest.len().min(prefix.len() - filled);
            self.rest.copy_to_slice(&mut prefix[filled..filled + part]);
            filled += part;
        }
        let [compressed, length @ ..] = prefix;
        match compressed {
            0 => Ok(Some(u32::from_be_bytes(length))),
            1 => Err(OipError::Unsupported(
                "compressed messages are not read, send them as they are".into(),
            )
            .into()),
            _ => Err(OipError::Message("it is in no frame of gRPC".into()).into()),
        }
    }

    /// The message that has begun, within the limits of a body.
    ///
    /// # Errors
    /// The desk's, as of a body.
    pub(super) async fn read(
        &mut self,
        length: u32,
        reader: Reader<'_>,
    ) -> Result<HeldBody, ApiError> {
        let mut left = length as usize;
        let Frames { body, rest } = self;
        let chunks = stream::poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(None);
            }
            if rest.is_empty() {
                match body.poll_next_unpin(cx) {
                    Poll::Ready(Some(Ok(data))) => *rest = data,
                    Poll::Ready(Some(Err(e))) => return Poll::Ready(Some(Err(e))),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let part = rest.split_to(left.min(rest.len()));
            left -= part.len();
            Poll::Ready(Some(Ok(part)))
        });
        let Reader {
            desk,
            client,
            deadline,
        } = reader;
        let held = desk
            .read(client, deadline, Some(length.into()), chunks)
            .await?;
        match held.len() == length as usize {
            true => Ok(held),
            false => Err(DeskError::BodyCut.into()),
        }
    }
}

/// A message in its frame.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    let encoded = message.encode(&mut frame);
    encoded.expect("there is room for it");
    frame.freeze()
}

/// The end of a body that holds all that it should.
pub(super) fn ok_trailers() -> HeaderMap {
    let status = (tonic::Status::GRPC_STATUS, HeaderValue::from_static("0"));
    HeaderMap::from_iter([status])
}

/// The answer of one message.
pub(super) fn answer(message: &impl Message) -> Response {
    answer_framed(framed(message))
}

/// The answer of one message, which is in its frame.
pub(super) fn answer_framed(framed: Bytes) -> Response {
    let frames = [
        Ok::<_, Infallible>(Frame::data(framed)),
        Ok(Frame::trailers(ok_trailers())),
    ];
    with_body(Body::new(StreamBody::new(stream::iter(frames))))
}

/// An answer whose status is in its body's trailers.
pub(super) fn with_body(body: Body) -> Response {
    let kind = HeaderValue::from_static("application/grpc");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}
