//! The table of errors: status, stable code and title of each. The only place that gives a code its status.
//!
//! Asked by `error` with what went wrong, and by `openapi`, which lists what each route can answer.

use axum::http::StatusCode;

use crate::desk::Code;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) status: StatusCode,
    /// The stable code, which programs match on.
    pub(super) code: &'static str,
    /// The title: a few words for people.
    pub(super) title: &'static str,
}

impl Kind {
    /// The kind of a failure that any protocol can meet.
    pub(super) const fn of(code: Code) -> Kind {
        kind(status(code), code.name(), code.title())
    }
}

const fn kind(status: StatusCode, code: &'static str, title: &'static str) -> Kind {
    Kind {
        status,
        code,
        title,
    }
}

const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;

pub(super) const NO_SUCH_ROUTE: Kind = kind(NOT_FOUND, "no_such_route", "No such route");
pub(super) const METHOD_NOT_ALLOWED: Kind = kind(
    StatusCode::METHOD_NOT_ALLOWED,
    "method_not_allowed",
    "Method not allowed",
);
pub(super) const BAD_QUERY: Kind = kind(BAD_REQUEST, "bad_query", "Bad query parameter");
pub(super) const NO_FEATURES: Kind = kind(
    StatusCode::UNPROCESSABLE_ENTITY,
    "no_features",
    "The model has no such features",
);
pub(super) const OVERLAY_OF_SEVERAL: Kind = kind(
    BAD_REQUEST,
    "overlay_of_several",
    "An overlay is of one image",
);
pub(super) const OVERLAY_TOO_LARGE: Kind = kind(
    StatusCode::UNPROCESSABLE_ENTITY,
    "overlay_too_large",
    "Too large for an overlay",
);
pub(super) const BAD_URL: Kind = kind(BAD_REQUEST, "bad_url", "Bad URL");
pub(super) const BAD_HEAD: Kind = kind(BAD_REQUEST, "bad_head", "Ambiguous head");
pub(super) const BAD_MULTIPART: Kind = kind(BAD_REQUEST, "bad_multipart", "Bad multipart body");
pub(super) const BAD_JSON: Kind = kind(BAD_REQUEST, "bad_json", "Bad JSON body");
pub(super) const BAD_BASE64: Kind = kind(BAD_REQUEST, "bad_base64", "Bad base64");
pub(super) const TOO_MANY_IMAGES: Kind = kind(
    StatusCode::PAYLOAD_TOO_LARGE,
    "too_many_images",
    "Too many images",
);
pub(super) const UNSUPPORTED_CONTENT_ENCODING: Kind = kind(
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    "unsupported_content_encoding",
    "Unsupported content encoding",
);
pub(super) const BAD_MESSAGE: Kind = kind(BAD_REQUEST, "bad_message", "Bad message");
pub(super) const BAD_JSON_LENGTH: Kind = kind(
    BAD_REQUEST,
    "bad_json_length",
    "Bad length of the JSON in the body",
);
pub(super) const BAD_INPUT: Kind = kind(BAD_REQUEST, "bad_input", "Bad input tensor");
pub(super) const BAD_DATA: Kind = kind(BAD_REQUEST, "bad_data", "Bad data of an input");
pub(super) const BAD_OUTPUT: Kind = kind(BAD_REQUEST, "bad_output", "Bad requested output");
pub(super) const BAD_PARAMETER: Kind = kind(BAD_REQUEST, "bad_parameter", "Bad parameter");
/// More images by a tensor's shape than allowed: 400, not 413, because a shape says nothing of the body's size.
pub(super) const TOO_LARGE_BATCH: Kind = kind(BAD_REQUEST, "too_many_images", "Too many images");
pub(super) const UNSUPPORTED: Kind =
    kind(StatusCode::NOT_IMPLEMENTED, "unsupported", "Not supported");

/// The kinds of what only HTTP, or a message, can get wrong.
pub(super) const OF_PROTOCOLS: [Kind; 21] = [
    NO_SUCH_ROUTE,
    METHOD_NOT_ALLOWED,
    BAD_QUERY,
    NO_FEATURES,
    OVERLAY_OF_SEVERAL,
    OVERLAY_TOO_LARGE,
    BAD_URL,
    BAD_HEAD,
    BAD_MULTIPART,
    BAD_JSON,
    BAD_BASE64,
    TOO_MANY_IMAGES,
    UNSUPPORTED_CONTENT_ENCODING,
    BAD_MESSAGE,
    BAD_JSON_LENGTH,
    BAD_INPUT,
    BAD_DATA,
    BAD_OUTPUT,
    BAD_PARAMETER,
    TOO_LARGE_BATCH,
    UNSUPPORTED,
];

/// The status of what any protocol can meet.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::BadTimeout | Code::BodyIncomplete | Code::EmptyBody => StatusCode::BAD_REQUEST,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::UnknownModel | Code::UnknownVersion => StatusCode::NOT_FOUND,
        Code::ModelsFixed => StatusCode::NOT_IMPLEMENTED,
        Code::ModelsBusy => StatusCode::CONFLICT,
        Code::ModelRefused => StatusCode::BAD_REQUEST,
        Code::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
        Code::BodyTooLarge | Code::AnswerTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::ImageTruncated
        | Code::ImageCorrupt
        | Code::ImageDecodeTimeout
        | Code::ImageUnsupported
        | Code::ImageTooManyPixels
        | Code::BadValues => StatusCode::UNPROCESSABLE_ENTITY,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Code::NotReady
        | Code::ShuttingDown
        | Code::BodyMemoryFull
        | Code::QueueFull
        | Code::ClientQueueFull
        | Code::Overloaded
        | Code::Stuck
        | Code::DecodeMemoryFull
        | Code::OutOfMemory => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::observe::is_refusal;
    use crate::metrics::{Metrics, TextFormat};

    #[test]
    fn each_code_of_a_refusal_has_its_series_from_the_start() {
        let metrics = Metrics::new();
        metrics.serve("birds");
        let text = metrics.scrape(TextFormat::Prometheus, |_| {});
        let text = String::from_utf8(text).expect("the format is UTF-8");
        let all = Code::ALL.into_iter().map(Kind::of).chain(OF_PROTOCOLS);
        let refusals: Vec<Kind> = all.filter(|kind| is_refusal(kind.status)).collect();
        assert!(refusals.len() > 10, "{refusals:?}");
        for Kind { code, .. } in refusals {
            let series =
                format!("resnet_requests_rejected_total{{model=\"birds\",reason=\"{code}\"}} 0");
            assert!(text.contains(&series), "{series}");
        }
    }
}
