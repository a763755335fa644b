//! How long a caller waits: the header `grpc-timeout`.
//!
//! Source: "gRPC over HTTP2", `Timeout`: at most eight digits and a unit.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use crate::desk::cut;
use crate::http::ApiError;
use crate::oip::OipError;

const HEADER: HeaderName = HeaderName::from_static("grpc-timeout");

/// What the caller asks for.
///
/// # Errors
/// [`OipError::Parameter`] for what is no time.
pub(super) fn patience(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?");
    parse(text).map(Some).ok_or_else(|| {
        ApiError::from(OipError::Parameter {
            name: HEADER.to_string(),
            value: format!("\"{}\"", cut(text)),
            allowed: "1 to 8 digits and one of H, M, S, m, u, n".into(),
        })
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (last, _) = text.char_indices().next_back()?;
    let (digits, unit) = text.split_at(last);
    let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let n: u64 = digits.parse().ok().filter(|_| plain)?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_a_unit_are_a_time_and_nothing_else_is() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("10S", Duration::from_secs(10)),
            ("250m", Duration::from_millis(250)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("0n", Duration::ZERO),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "S",
            "10",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            "1s",
            "1 S",
            "ä",
            "1ä",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
