//! Errors on the wire: RFC 9457 problem documents with stable codes. The only place that maps a cause to a status.
//!
//! Returned by the handlers; `observe` writes the document, because it knows the request's id.

use std::any::Any;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::upload::UploadError;
use crate::classifier::{ClassifyError, Refusal, Stuck};
use crate::preprocess::PreprocessError;

/// Why a request, or one image of it, has no answer. The text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The models are still loading.
    #[error("the models are still loading")]
    NotReady,
    /// The server has been told to stop.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No key, or a wrong one, where keys are set.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// No route.
    #[error("there is nothing at {path}; GET / lists what there is")]
    NoSuchRoute {
        /// The path asked for.
        path: String,
    },
    /// A route, but not with this method.
    #[error("{method} is not allowed here, the Allow header lists what is")]
    MethodNotAllowed {
        /// The method used.
        method: String,
    },
    /// No model of that name.
    #[error("there is no model \"{name}\", served are: {served}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// What there is.
        served: String,
    },
    /// A query parameter is wrong.
    #[error("query parameter {name} is \"{value}\", allowed are {allowed}")]
    BadQuery {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// A query parameter that does not exist.
    #[error("there is no query parameter \"{name}\", there are model, top_k, exif and timeout_ms")]
    UnknownParameter {
        /// The parameter.
        name: String,
    },
    /// A query parameter that contradicts another one.
    #[error("query parameter {name} is given twice")]
    RepeatedParameter {
        /// The parameter.
        name: &'static str,
    },
    /// The client's deadline is no time.
    #[error("{name} is \"{value}\", allowed are whole numbers from 1, in milliseconds")]
    BadTimeout {
        /// Where it was given.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The path or query is no UTF-8, or its escapes are wrong.
    #[error("the URL is wrong: its escapes (%xx) do not give UTF-8 text")]
    BadUrl,
    /// The head could be read in two ways.
    #[error("the request's head is ambiguous: {0}")]
    BadHead(&'static str),
    /// The body cannot be taken apart.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The body is larger than allowed.
    #[error("the body has {}, allowed are {max} bytes", got.map_or_else(|| "more".into(), |n| format!("{n} bytes")))]
    BodyTooLarge {
        /// Its size, if the client announced it.
        got: Option<u64>,
        /// The limit.
        max: u64,
    },
    /// The body took too long.
    #[error("the body did not arrive within {} s", .0.as_secs_f64())]
    BodyTimeout(Duration),
    /// The body came too slowly.
    #[error(
        "the body came to {received} bytes in {seconds} s, allowed are {min_rate} bytes a second or more"
    )]
    BodyTooSlow {
        /// Bytes that came.
        received: u64,
        /// In this time.
        seconds: f64,
        /// The limit, in bytes a second.
        min_rate: u64,
    },
    /// Other bodies held the memory for bodies.
    #[error("other bodies held the memory for bodies, or this client's part of it, for {} s", .0.as_secs_f64())]
    BodyMemoryFull(Duration),
    /// The body broke off.
    #[error("the body broke off before its announced end")]
    BodyCut,
    /// The body is compressed.
    #[error("content-encoding \"{0}\" is not supported, send the image as it is")]
    UnsupportedEncoding(String),
    /// Too much is waiting already.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// All threads of a pool are stuck.
    #[error("the server does not get on: a {} thread has been busy for {:.0} s", .0.pool, .0.busy.as_secs_f64())]
    Stuck(Stuck),
    /// An image could not be classified.
    #[error("{}", public_text(.0))]
    Classify(#[from] ClassifyError),
    /// A handler panicked.
    #[error("{INTERNAL}")]
    Panicked,
}

const INTERNAL: &str =
    "something went wrong inside the server; its log has the details under this request's id";

/// What a client may read of a failure: its own input's faults in full, ours not at all.
fn public_text(error: &ClassifyError) -> String {
    match error {
        ClassifyError::Image(e) => e.to_string(),
        ClassifyError::ShuttingDown | ClassifyError::Expired => error.to_string(),
        ClassifyError::DecodePanicked
        | ClassifyError::Engine(_)
        | ClassifyError::WorkerDied
        | ClassifyError::Output(_) => INTERNAL.into(),
    }
}

/// How much earlier or later than the estimate refused clients are told to come back, so that they do not all come at
/// once.
const JITTER: f64 = 0.2;

/// Whole seconds after which a client that would have to wait this long may try again.
fn retry_after(wait: Duration) -> u64 {
    // Without randomness they come at once, no worse than that.
    let random = || getrandom::u32().map_or(0.5, |r| f64::from(r) / f64::from(u32::MAX));
    let seconds = wait.as_secs_f64() * (1.0 - JITTER + 2.0 * JITTER * random());
    // Rounded up or down by chance, so that those who wait for 1.5 s come after one second and after two.
    ((seconds + random()) as u64).max(1)
}

impl ApiError {
    /// Status, stable code and title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            ApiError::NotReady => (S::SERVICE_UNAVAILABLE, "not_ready", "Not ready"),
            ApiError::ShuttingDown | ApiError::Classify(ClassifyError::ShuttingDown) => {
                (S::SERVICE_UNAVAILABLE, "shutting_down", "Shutting down")
            }
            ApiError::Unauthorized(_) => (S::UNAUTHORIZED, "unauthorized", "Unauthorized"),
            ApiError::NoSuchRoute { .. } => (S::NOT_FOUND, "no_such_route", "No such route"),
            ApiError::MethodNotAllowed { .. } => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "Method not allowed",
            ),
            ApiError::UnknownModel { .. } => (S::NOT_FOUND, "unknown_model", "Unknown model"),
            ApiError::BadQuery { .. }
            | ApiError::UnknownParameter { .. }
            | ApiError::RepeatedParameter { .. } => {
                (S::BAD_REQUEST, "bad_query", "Bad query parameter")
            }
            ApiError::BadUrl => (S::BAD_REQUEST, "bad_url", "Bad URL"),
            ApiError::BadHead(_) => (S::BAD_REQUEST, "bad_head", "Ambiguous head"),
            ApiError::Upload(e) => upload_kind(e),
            ApiError::BodyTooLarge { .. } => {
                (S::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large")
            }
            ApiError::BodyTimeout(_) | ApiError::BodyTooSlow { .. } => {
                (S::REQUEST_TIMEOUT, "body_timeout", "Body too slow")
            }
            ApiError::BodyMemoryFull(_) => (
                S::SERVICE_UNAVAILABLE,
                "body_memory_full",
                "No memory for the body",
            ),
            ApiError::BodyCut => (S::BAD_REQUEST, "body_incomplete", "Body incomplete"),
            ApiError::UnsupportedEncoding(_) => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_content_encoding",
                "Unsupported content encoding",
            ),
            ApiError::BadTimeout { .. } => (S::BAD_REQUEST, "bad_timeout", "Bad timeout"),
            ApiError::Refused(refusal) => match refusal {
                Refusal::QueueFull { .. } => (S::SERVICE_UNAVAILABLE, "queue_full", "Queue full"),
                Refusal::ClientFull { .. } => (
                    S::SERVICE_UNAVAILABLE,
                    "client_queue_full",
                    "Too many images of this client",
                ),
                Refusal::TooLong { .. } | Refusal::TooLate { .. } => {
                    (S::SERVICE_UNAVAILABLE, "overloaded", "Overloaded")
                }
            },
            ApiError::Stuck(_) => (S::SERVICE_UNAVAILABLE, "stuck", "Stuck"),
            ApiError::Classify(ClassifyError::Expired) => {
                (S::GATEWAY_TIMEOUT, "deadline_exceeded", "Deadline exceeded")
            }
            ApiError::Classify(ClassifyError::Image(e)) => image_kind(e),
            ApiError::Classify(_) | ApiError::Panicked => {
                (S::INTERNAL_SERVER_ERROR, "internal", "Internal error")
            }
        }
    }

    /// The problem document, without the request's id.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (status, code, title) = self.kind();
        Problem {
            r#type: format!("urn:resnet:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.to_string(),
            code,
            estimated_wait_ms: self
                .wait()
                .map(|wait| wait.as_secs_f64() * 1e3)
                .map(f64::round),
            reason: self.log_detail(),
            request_id: None,
        }
    }

    /// The estimated wait for which the request was refused.
    fn wait(&self) -> Option<Duration> {
        match self {
            ApiError::Refused(refusal) => Some(refusal.wait()),
            _ => None,
        }
    }

    /// What the log should know and the client should not.
    fn log_detail(&self) -> Option<String> {
        match self {
            ApiError::Classify(ClassifyError::Image(
                PreprocessError::Truncated { detail, .. } | PreprocessError::Corrupt { detail, .. },
            )) => Some(detail.clone()),
            ApiError::Classify(ClassifyError::Image(PreprocessError::Panicked { .. })) => {
                Some("the decoder panicked".into())
            }
            ApiError::Classify(e @ (ClassifyError::Engine(_) | ClassifyError::Output(_))) => {
                Some(e.to_string())
            }
            _ => None,
        }
    }

    /// Writes the failure of one image among several to the log; a whole request's is in its own line.
    pub(super) fn log_item(&self, index: usize) {
        let (status, code, _) = self.kind();
        let reason = self.log_detail();
        if status.is_server_error() {
            tracing::error!(index, code, reason, "image failed");
        } else {
            tracing::info!(index, code, reason, "image refused");
        }
    }
}

fn upload_kind(error: &UploadError) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match error {
        UploadError::Multipart(_) => (S::BAD_REQUEST, "bad_multipart", "Bad multipart body"),
        UploadError::Json(_) => (S::BAD_REQUEST, "bad_json", "Bad JSON body"),
        UploadError::Base64 { .. } => (S::BAD_REQUEST, "bad_base64", "Bad base64"),
        UploadError::TooManyImages { .. } => {
            (S::PAYLOAD_TOO_LARGE, "too_many_images", "Too many images")
        }
    }
}

fn image_kind(error: &PreprocessError) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match error {
        PreprocessError::Empty => (S::BAD_REQUEST, "empty_body", "Empty body"),
        PreprocessError::UnsupportedFormat { .. } => (
            S::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Not an accepted image format",
        ),
        PreprocessError::Truncated { .. } => (
            S::UNPROCESSABLE_ENTITY,
            "image_truncated",
            "Image truncated",
        ),
        PreprocessError::Corrupt { .. } | PreprocessError::Panicked { .. } => {
            (S::UNPROCESSABLE_ENTITY, "image_corrupt", "Image corrupt")
        }
        PreprocessError::DecodeTimeout(_) => (
            S::UNPROCESSABLE_ENTITY,
            "image_decode_timeout",
            "Image takes too long to decode",
        ),
        PreprocessError::MemoryBusy(_) => (
            S::SERVICE_UNAVAILABLE,
            "decode_memory_full",
            "No memory to decode",
        ),
        PreprocessError::OutOfMemory { .. } => {
            (S::SERVICE_UNAVAILABLE, "out_of_memory", "Out of memory")
        }
        PreprocessError::Canceled => (S::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        PreprocessError::UnsupportedVariant { .. } => (
            S::UNPROCESSABLE_ENTITY,
            "image_unsupported",
            "Image variant not supported",
        ),
        PreprocessError::TooManyPixels { .. }
        | PreprocessError::SideTooLong { .. }
        | PreprocessError::TooMuchMemory { .. }
        | PreprocessError::OverBudget { .. } => (
            S::UNPROCESSABLE_ENTITY,
            "image_too_many_pixels",
            "Image too large",
        ),
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    pub(super) code: &'static str,
    /// Only where a request was refused for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_wait_ms: Option<f64>,
    /// For the log alone.
    #[serde(skip)]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    /// The document as the body of the response to the request of this id.
    pub(super) fn into_json(mut self, request_id: &str) -> Vec<u8> {
        self.request_id = Some(request_id.to_owned());
        serde_json::to_vec(&self).expect("strings and numbers are always JSON")
    }
}

impl IntoResponse for ApiError {
    /// An answer whose body `observe` fills in.
    fn into_response(self) -> Response {
        let problem = self.problem();
        let (status, ..) = self.kind();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = retry_after(self.wait().unwrap_or_default());
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"resnet\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if matches!(
            self,
            ApiError::BodyTimeout(_)
                | ApiError::BodyTooSlow { .. }
                | ApiError::BadHead(_)
                | ApiError::BodyTooLarge { .. }
                | ApiError::BodyCut
        ) {
            // What is left must not be read as the next request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(problem);
        response
    }
}

/// The panic hook has logged what happened.
pub(super) fn from_panic(_panic: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Panicked.into_response()
}
