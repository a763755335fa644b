//! When a request's answer is no longer wanted: the client's word, within the server's limit.
//!
//! Used by `classify`.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName};

use super::ApiError;
use super::classify::cut;

/// The client's patience in whole milliseconds, counted from the request's head.
const HEADER: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The limits on one request's time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// The server's, counted from the end of the upload.
    limit: Duration,
    /// The client's.
    client: Option<Instant>,
}

impl Deadline {
    /// Reads what the client asks for; `query` is the value of the parameter `timeout_ms`. The shorter of the two
    /// counts.
    ///
    /// # Errors
    /// [`ApiError::BadTimeout`].
    pub(super) fn new(
        arrived: Instant,
        limit: Duration,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Deadline, ApiError> {
        let header = |value: &axum::http::HeaderValue| match value.to_str() {
            Ok(text) => parse("the header X-Request-Timeout-Ms", text),
            Err(_) => parse("the header X-Request-Timeout-Ms", "?"),
        };
        let mut patience: Option<Duration> = None;
        let headers = headers.get_all(HEADER).iter().map(header);
        for wish in headers.chain(query.map(|text| parse("the query parameter timeout_ms", text))) {
            let wish = wish?;
            patience = Some(patience.map_or(wish, |p| p.min(wish)));
        }
        Ok(Deadline {
            limit,
            // more than a year is as good as none
            client: patience.and_then(|p| arrived.checked_add(p)),
        })
    }

    /// The deadline of a request whose body is complete at `now`.
    pub(super) fn at(&self, now: Instant) -> Instant {
        let limit = now + self.limit;
        self.client.map_or(limit, |client| client.min(limit))
    }

    /// The client's alone, which counts while its body is on its way.
    pub(super) fn client(&self) -> Option<Instant> {
        self.client
    }
}

fn parse(name: &'static str, text: &str) -> Result<Duration, ApiError> {
    // An amount too large for 64 bits is no mistake: it is more than there is.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ms = match text.parse::<u64>() {
        Ok(ms) => ms,
        Err(_) if digits => u64::MAX,
        Err(_) => 0,
    };
    match ms {
        0 => Err(ApiError::BadTimeout {
            name,
            value: cut(text),
        }),
        ms => Ok(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(header: &'static [u8], query: Option<&str>) -> Result<Duration, ApiError> {
        let mut headers = HeaderMap::new();
        let value = axum::http::HeaderValue::from_static;
        if !header.is_empty() {
            headers.insert(HEADER, value(std::str::from_utf8(header).expect("UTF-8")));
        }
        let now = Instant::now();
        let deadline = Deadline::new(now, Duration::from_secs(10), &headers, query)?;
        Ok(deadline.at(now) - now)
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
