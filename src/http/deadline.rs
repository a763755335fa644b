//! How long a client says that it waits: by a header, by a query parameter, or by both, of which the shorter counts.
//!
//! Used by `target`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::desk::{DeskError, parse_patience};

/// The client's patience in whole milliseconds, counted from the request's head.
const HEADER: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// What the client asks for; `query` is the value of the parameter `timeout_ms`.
///
/// # Errors
/// [`DeskError::BadTimeout`].
pub(super) fn patience(
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Option<Duration>, DeskError> {
    let header = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or("?");
        parse_patience("the header X-Request-Timeout-Ms", text)
    };
    let query = query.map(|text| parse_patience("the query parameter timeout_ms", text));
    let mut shortest: Option<Duration> = None;
    for wish in headers.get_all(HEADER).iter().map(header).chain(query) {
        let wish = wish?;
        shortest = Some(shortest.map_or(wish, |s| s.min(wish)));
    }
    Ok(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::Deadline;
    use std::time::Instant;

    fn deadline(header: &'static [u8], query: Option<&str>) -> Result<Duration, DeskError> {
        let mut headers = HeaderMap::new();
        if !header.is_empty() {
            let text = std::str::from_utf8(header).expect("UTF-8");
            headers.insert(HEADER, HeaderValue::from_static(text));
        }
        let now = Instant::now();
        let patience = patience(&headers, query)?;
        Ok(Deadline::new(now, Duration::from_secs(10), patience).at(now) - now)
    }

    #[test]
    fn client_lowers_the_deadline_and_never_raises_it() {
        let ms = Duration::from_millis;
        for (header, query, expected) in [
            (&b""[..], None, 10_000),
            (b"200", None, 200),
            (b"", Some("300"), 300),
            (b"200", Some("300"), 200),
            (b"1000000000000", None, 10_000),
            (b"99999999999999999999999999", None, 10_000),
        ] {
            assert_eq!(deadline(header, query).expect("valid"), ms(expected));
        }
    }

    #[test]
    fn no_time_at_all_and_no_number_are_refused_by_name() {
        for wrong in [&b"0"[..], b"-1", b"1.5", b"soon", b"1e3", b"+ 1"] {
            let error = deadline(wrong, None).expect_err("no whole number from 1");
            let text = error.to_string();
            assert!(text.contains("X-Request-Timeout-Ms"), "{text}");
        }
        assert!(deadline(b"", Some("")).is_err());
        assert!(deadline(b"5", Some("x")).is_err());
    }
}
