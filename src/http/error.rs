//! Errors on the wire: RFC 9457 problem documents with stable codes. The only place that maps a cause to its row of the
//! table in `kind`.
//!
//! Returned by the handlers; `observe` writes the document, because it knows the request's id.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::kind::{self, Kind};
use super::upload::UploadError;
use crate::classifier::{ClassifyError, MaxPixels};
use crate::desk::{Code, DeskError};
use crate::oip::OipError;
use crate::overlay::TooLarge;
use crate::registry::NoFeatures;

/// Why a request, or one image of it, has no answer. The text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A failure that any protocol can meet.
    #[error(transparent)]
    Desk(#[from] DeskError),
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
    #[error("there is no query parameter \"{name}\", there are {}", known.join(", "))]
    UnknownParameter {
        /// The parameter.
        name: String,
        /// Those that the route has.
        known: Vec<&'static str>,
    },
    /// What is wanted beside the classes needs a network of another form.
    #[error(transparent)]
    NoFeatures(#[from] NoFeatures),
    /// A query parameter that contradicts another one.
    #[error("query parameter {name} is given twice")]
    RepeatedParameter {
        /// The parameter.
        name: &'static str,
    },
    /// An overlay was asked for, which is a picture of one photo.
    #[error("an overlay is of one image, the request has {0}; with explain=cam each has its map")]
    OverlayOfSeveral(usize),
    /// The photo has more pixels than an overlay may have.
    #[error("{0}; explain=cam gives the map and the rectangle of any photo")]
    OverlayTooLarge(#[from] TooLarge),
    /// The photo has more pixels than an overlay has memory for.
    #[error(
        "an overlay of {got} pixels takes more memory than a request may have for its answer, allowed are {max} pixels; explain=cam gives the map and the rectangle of any photo"
    )]
    OverlayOverMemory {
        /// Pixels of the photo.
        got: u64,
        /// Pixels that there is memory for.
        max: u64,
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
    /// The request is not as the Open Inference Protocol has it.
    #[error(transparent)]
    Oip(OipError),
    /// One of several images, where there is no answer without it.
    #[error("image {index}: {error}")]
    OfImage {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        error: Box<ApiError>,
    },
    /// The body is compressed.
    #[error("content-encoding \"{0}\" is not supported, send the image as it is")]
    UnsupportedEncoding(String),
}

impl From<ClassifyError> for ApiError {
    fn from(error: ClassifyError) -> ApiError {
        match error {
            // Overlays alone have such limits.
            ClassifyError::TooManyPixels { got, max } => match max {
                MaxPixels::OfDrawing(_) => TooLarge { got }.into(),
                MaxPixels::OfMemory(max) => ApiError::OverlayOverMemory { got, max },
            },
            other => DeskError::from(other).into(),
        }
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
    fn kind(&self) -> Kind {
        match self {
            ApiError::Desk(e) => Kind::of(e.code()),
            ApiError::NoSuchRoute { .. } => kind::NO_SUCH_ROUTE,
            ApiError::MethodNotAllowed { .. } => kind::METHOD_NOT_ALLOWED,
            ApiError::BadQuery { .. }
            | ApiError::UnknownParameter { .. }
            | ApiError::RepeatedParameter { .. } => kind::BAD_QUERY,
            ApiError::NoFeatures(_) => kind::NO_FEATURES,
            ApiError::OverlayOfSeveral(_) => kind::OVERLAY_OF_SEVERAL,
            ApiError::OverlayTooLarge(_) => kind::OVERLAY_TOO_LARGE,
            ApiError::OverlayOverMemory { .. } => Kind::of(Code::AnswerTooLarge),
            ApiError::BadUrl => kind::BAD_URL,
            ApiError::BadHead(_) => kind::BAD_HEAD,
            ApiError::Upload(e) => upload_kind(e),
            ApiError::Oip(e) => oip_kind(e),
            ApiError::OfImage { error, .. } => error.kind(),
            ApiError::UnsupportedEncoding(_) => kind::UNSUPPORTED_CONTENT_ENCODING,
        }
    }

    /// The stable code.
    pub(super) fn code(&self) -> &'static str {
        self.kind().code
    }

    /// The problem document, without the request's id.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Kind {
            status,
            code,
            title,
        } = self.kind();
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
            ApiError::Desk(e) => e.wait(),
            ApiError::OfImage { error, .. } => error.wait(),
            _ => None,
        }
    }

    /// What the log should know and the client should not.
    fn log_detail(&self) -> Option<String> {
        match self {
            ApiError::Desk(e) => e.log_detail(),
            ApiError::OfImage { error, .. } => error.log_detail(),
            _ => None,
        }
    }

    /// Whether what is left of the request could be read as the next one.
    fn ends_connection(&self) -> bool {
        let body = [Code::BodyTimeout, Code::BodyTooLarge, Code::BodyIncomplete];
        match self {
            ApiError::Desk(e) => body.contains(&e.code()),
            ApiError::BadHead(_) => true,
            _ => false,
        }
    }

    /// Writes the failure of one image among several to the log; a whole request's is in its own line.
    pub(super) fn log_item(&self, index: usize) {
        let Kind { status, code, .. } = self.kind();
        let reason = self.log_detail();
        if status.is_server_error() {
            tracing::error!(index, code, reason, "image failed");
        } else {
            tracing::info!(index, code, reason, "image refused");
        }
    }
}

fn upload_kind(error: &UploadError) -> Kind {
    match error {
        UploadError::Multipart(_) => kind::BAD_MULTIPART,
        UploadError::Json(_) => kind::BAD_JSON,
        UploadError::Base64 { .. } => kind::BAD_BASE64,
        UploadError::TooManyImages { .. } | UploadError::TooManyFields { .. } => {
            kind::TOO_MANY_IMAGES
        }
    }
}

fn oip_kind(error: &OipError) -> Kind {
    match error {
        OipError::Json(_) => kind::BAD_JSON,
        OipError::Message(_) => kind::BAD_MESSAGE,
        OipError::JsonLength { .. } => kind::BAD_JSON_LENGTH,
        OipError::Input(_) => kind::BAD_INPUT,
        OipError::Data(_) => kind::BAD_DATA,
        OipError::Output(_) => kind::BAD_OUTPUT,
        OipError::Parameter { .. } => kind::BAD_PARAMETER,
        OipError::TooManyImages { .. } => kind::TOO_LARGE_BATCH,
        OipError::Unsupported(_) => kind::UNSUPPORTED,
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
    /// The estimated wait; told only where a request was refused for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_wait_ms: Option<f64>,
    /// The detail for the log, which the client is not told.
    #[serde(skip)]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl Problem {
    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is wrong, for the client.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The problem as the Open Inference Protocol has it: a text; of a fault of ours with the request's id.
    pub(super) fn into_oip(self, request_id: &str) -> Vec<u8> {
        let text = match self.status {
            500 => format!("{} (request id {request_id})", self.detail),
            _ => self.detail,
        };
        serde_json::to_vec(&serde_json::json!({ "error": text })).expect("a string is always JSON")
    }

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
        let status = self.kind().status;
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
        if self.ends_connection() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(problem);
        response
    }
}
