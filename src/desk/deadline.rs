//! When a request's answer is no longer wanted: the client's word, within the server's limit.
//!
//! Protocols read the client's word; the desk asks for the moment.

use std::time::{Duration, Instant};

use super::{DeskError, cut};

/// The limits on one request's time.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The server's limit, counted from the end of the upload.
    limit: Duration,
    /// When the client stops waiting, if it has told.
    client: Option<Instant>,
}

impl Deadline {
    /// The limits of a request that came at `arrived` and whose client waits for `patience`, if it has told.
    #[must_use]
    pub fn new(arrived: Instant, limit: Duration, patience: Option<Duration>) -> Deadline {
        Deadline {
            limit,
            // more than a year is as good as none
            client: patience.and_then(|p| arrived.checked_add(p)),
        }
    }

    /// The deadline of a request whose body is complete at `now`.
    #[must_use]
    pub fn at(&self, now: Instant) -> Instant {
        let limit = now + self.limit;
        self.client.map_or(limit, |client| client.min(limit))
    }

    /// The client's deadline alone, which counts while its body is on its way.
    #[must_use]
    pub fn client(&self) -> Option<Instant> {
        self.client
    }
}

/// Reads a client's patience in whole milliseconds; `name` is where it was given.
///
/// # Errors
/// [`DeskError::BadTimeout`].
pub fn parse_patience(name: &'static str, text: &str) -> Result<Duration, DeskError> {
    // An amount too large for 64 bits is no mistake: it is more than there is.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let ms = match text.parse::<u64>() {
        Ok(ms) => ms,
        Err(_) if digits => u64::MAX,
        Err(_) => 0,
    };
    match ms {
        0 => Err(DeskError::BadTimeout {
            name,
            value: cut(text),
        }),
        ms => Ok(Duration::from_millis(ms)),
    }
}
