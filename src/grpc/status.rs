//! Statuses of gRPC: which one a refusal is, and how an answer without a message looks.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Code;

use crate::http::{ApiError, CountedAs, Problem, RpcStatus};
use crate::oip::OipError;

/// The status of gRPC for what REST answers with this one.
pub(super) fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        400 | 415 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        404 => Code::NotFound,
        405 | 501 => Code::Unimplemented,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The status of REST for one of gRPC, of an answer of health or reflection.
fn by_rest(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Aborted => StatusCode::CONFLICT,
        // A message above the limit is out of range to tonic.
        Code::ResourceExhausted | Code::OutOfRange => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The status by the name that traces have for it.
pub(super) fn name(code: Code) -> RpcStatus {
    RpcStatus(match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    })
}

/// Answers calls alone, and a problem in the words of gRPC: its status and text in the head, and no body.
pub(super) async fn speak(request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_call = kind.is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind == b"application/grpc" || kind == b"application/grpc+proto"
    });
    let mut response = match is_call {
        true => next.run(request).await,
        false => {
            let text = "this port speaks gRPC: the content-type is not application/grpc";
            ApiError::from(OipError::Unsupported(text.into())).into_response()
        }
    };
    let Some(problem) = response.extensions().get::<Problem>() else {
        // An answer of health or reflection, which write their status themselves.
        if let Some(status) = response.headers().get(tonic::Status::GRPC_STATUS) {
            let counted = CountedAs(by_rest(Code::from_bytes(status.as_bytes())));
            response.extensions_mut().insert(counted);
        }
        return response;
    };
    let status = tonic::Status::new(code(problem.status()), problem.detail());
    let (mut head, _) = response.into_parts();
    head.extensions.insert(name(status.code()));
    head.status = StatusCode::OK;
    head.headers.remove(header::CONTENT_LENGTH);
    let kind = HeaderValue::from_static("application/grpc");
    head.headers.insert(header::CONTENT_TYPE, kind);
    if status.add_header(&mut head.headers).is_err() {
        let internal = HeaderValue::from_static("13");
        head.headers.insert(tonic::Status::GRPC_STATUS, internal);
    }
    Response::from_parts(head, axum::body::Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_protocol() {
        for (status, expected) in [
            (400, Code::InvalidArgument),
            (401, Code::Unauthenticated),
            (404, Code::NotFound),
            (413, Code::ResourceExhausted),
            (415, Code::InvalidArgument),
            (422, Code::InvalidArgument),
            (429, Code::ResourceExhausted),
            (500, Code::Internal),
            (501, Code::Unimplemented),
            (503, Code::Unavailable),
            (504, Code::DeadlineExceeded),
        ] {
            let status = StatusCode::from_u16(status).expect("three digits");
            assert_eq!(code(status), expected, "{status}");
            // And back, but for what several are said by.
            if ![415, 422, 429].contains(&status.as_u16()) {
                assert_eq!(by_rest(expected), status);
            }
        }
    }
}
