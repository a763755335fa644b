//! `ModelStreamInfer`: requests one after the other, each with its answer, on one call.
//!
//! A request that is wrong has its error for an answer and the call goes on; it ends when the client has sent its last,
//! when nothing comes for long, or when the server stops, which it tells between two requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::frame::{Frames, Reader, framed, ok_trailers, with_body};
use super::infer;
use super::messages::StreamInferResponse;
use super::status::{self, code};
use super::timeout::patience;
use crate::desk::{AnswerMemory, Deadline, Desk, DeskError};
use crate::fair_queue::ClientId;
use crate::http::{ApiError, OneOfMany, client_id};

/// How long a call may be silent between two requests.
const SILENCE: Duration = Duration::from_secs(300);

/// A call under way.
struct Call {
    desk: Arc<Desk>,
    head: Parts,
    frames: Frames,
    client: ClientId,
    deadline: Deadline,
}

pub(super) async fn infer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let patience = match patience(&head.headers) {
        Ok(patience) => patience,
        Err(error) => return error.into_response(),
    };
    let call = Call {
        client: client_id(&desk, &head.extensions),
        deadline: Deadline::new(arrived, desk.limits().request_timeout, patience),
        frames: Frames::new(body),
        desk,
        head,
    };
    let answers = stream::unfold(Some(call), |call: Option<Call>| async move {
        let (frame, call) = call?.step().await;
        Some((Ok::<_, Infallible>(frame), call))
    });
    with_body(Body::new(StreamBody::new(answers)))
}

/// Tells that a request has no answer.
fn failed(one: &mut OneOfMany, error: &ApiError) {
    one.failed(error, status::name(code(error.problem().status())));
}

impl Call {
    /// The next frame of the answer; no call is left behind the last one.
    async fn step(mut self) -> (Frame<Bytes>, Option<Call>) {
        match self.next_answer().await {
            Ok(Some((answer, memory))) => {
                let framed = memory.keep(framed(&answer));
                (Frame::data(framed), Some(self))
            }
            Ok(None) => (Frame::trailers(ok_trailers()), None),
            Err(error) => {
                let problem = error.problem();
                let status = tonic::Status::new(code(problem.status()), problem.detail());
                let mut trailers = ok_trailers();
                // The text is ours, and its bytes are escaped.
                let _ = status.add_header(&mut trailers);
                (Frame::trailers(trailers), None)
            }
        }
    }

    /// Waits for a request, and answers it.
    ///
    /// # Errors
    /// What ends the call.
    async fn next_answer(
        &mut self,
    ) -> Result<Option<(StreamInferResponse, AnswerMemory)>, ApiError> {
        let Call {
            desk,
            head,
            frames,
            client,
            deadline,
        } = self;
        let silence = Instant::now() + SILENCE;
        let end = deadline
            .client()
            .map_or(silence, |client| client.min(silence));
        let length = tokio::select! {
            biased;
            length = frames.begin() => length.inspect_err(|error| {
                failed(&mut OneOfMany::begin(desk, head), error);
            })?,
            () = desk.draining() => return Err(DeskError::ShuttingDown.into()),
            () = tokio::time::sleep_until(end.into()) => {
                return Err(DeskError::BodyTimeout(SILENCE).into());
            }
        };
        let Some(length) = length else {
            return Ok(None);
        };
        let mut one = OneOfMany::begin(desk, head);
        let reader = Reader {
            desk,
            client: *client,
            deadline,
        };
        let held = match frames.read(length, reader).await {
            Ok(held) => held,
            Err(error) => {
                failed(&mut one, &error);
                return Err(error);
            }
        };
        let answer = infer::answer(reader, head, held, &mut one.work).await;
        Ok(Some(match answer {
            Ok((answer, memory)) => {
                one.answered();
                let answer = StreamInferResponse {
                    error_message: String::new(),
                    infer_response: Some(answer),
                };
                (answer, memory)
            }
            Err(error) => {
                failed(&mut one, &error);
                let answer = StreamInferResponse {
                    error_message: error.problem().detail().to_owned(),
                    infer_response: None,
                };
                (answer, AnswerMemory::default())
            }
        }))
    }
}
