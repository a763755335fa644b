//! Why a model could not be fetched, in words that say what to do next.
//!
//! `fetch` builds these, `cli` prints them. URLs are shown without user, password and query.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why a model could not be fetched.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "each variant's message names its fields")]
pub enum FetchError {
    /// The URL cannot be asked.
    #[error(
        "cannot fetch from {url:?}: {reason}; give an http:// or https:// URL, or a file with --from"
    )]
    BadUrl { url: String, reason: String },
    /// A catalogue URL is not https.
    #[error(
        "refused to fetch {url}: the catalogue's URLs must be https; use --mirror or --from for another source"
    )]
    NotHttps { url: String },
    /// A server sent us from https to http.
    #[error(
        "refused to follow {from} to {to}: a redirect away from https; use --mirror or --from for another source"
    )]
    InsecureRedirect { from: String, to: String },
    /// The redirects do not end.
    #[error("{url} redirects in a loop or too often; check the URL")]
    RedirectLoop { url: String },
    /// No connection, or no answer.
    #[error(
        "cannot reach {url}{via}: {reason}; check the network, set HTTPS_PROXY, or use --mirror or --from"
    )]
    Unreachable {
        url: String,
        via: String,
        reason: String,
    },
    /// The proxy is unusable or refused us.
    #[error(
        "proxy {proxy} failed for {url}: {reason}; check HTTPS_PROXY and HTTP_PROXY, or name the host in NO_PROXY"
    )]
    Proxy {
        proxy: String,
        url: String,
        reason: String,
    },
    /// The server's certificate is not trusted, or TLS failed otherwise.
    #[error(
        "no secure connection to {url}{via}: {reason}; behind a TLS proxy give its certificate with --ca-file"
    )]
    Tls {
        url: String,
        via: String,
        reason: String,
    },
    /// The certificate file is unusable.
    #[error("cannot use the certificates of {path:?}: {reason}; give a PEM file with at least one certificate", path = path.display().to_string())]
    CaFile { path: PathBuf, reason: String },
    /// The server answered with an error.
    #[error("{url} answered with status {status}{meaning}; {next}")]
    Status {
        url: String,
        status: u16,
        meaning: &'static str,
        next: &'static str,
    },
    /// The connection ended or stalled in the middle.
    #[error(
        "download of {url} was cut: {reason}; {got} of {total} bytes are kept, pull again to resume"
    )]
    Cut {
        url: String,
        reason: String,
        got: u64,
        total: u64,
    },
    /// What is offered is announced in another size than the model's.
    #[error("refused {origin}: it has {got} bytes, the model {expected}; use another source")]
    WrongSize {
        origin: String,
        got: u64,
        expected: u64,
    },
    /// More bytes came than the model has.
    #[error(
        "refused {origin}: it is larger than the model, {got} instead of {limit} bytes; nothing was kept"
    )]
    TooLarge {
        origin: String,
        got: u64,
        limit: u64,
    },
    /// Fewer bytes came than the model has, and the server meant them to be all.
    #[error(
        "refused {origin}: it is smaller than the model, {got} instead of {expected} bytes; nothing was kept"
    )]
    TooSmall {
        origin: String,
        got: u64,
        expected: u64,
    },
    /// The content is not the model's.
    #[error(
        "refused {origin}: its sha256 is {got}, the catalogue says {expected}; nothing was kept, pull again or use another source"
    )]
    WrongDigest {
        origin: String,
        got: String,
        expected: String,
    },
    /// Somebody else is at it.
    #[error("another pull is writing {path:?}; wait for it to end, then pull again", path = path.display().to_string())]
    Locked { path: PathBuf },
    /// The disk is full.
    #[error(
        "no space left for {path:?}: {got} of {total} bytes are kept; free some space and pull again, or choose another --models-dir",
        path = path.display().to_string()
    )]
    DiskFull { path: PathBuf, got: u64, total: u64 },
    /// The models directory refuses.
    #[error("cannot {action} {path:?}: {error}; choose a writable directory with --models-dir", path = path.display().to_string())]
    Store {
        action: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    /// The file of `--from` cannot be read.
    #[error("cannot read {path:?}: {reason}; give --from a model file or a URL", path = path.display().to_string())]
    SourceFile { path: PathBuf, reason: String },
}

impl FetchError {
    /// Words for a failed write to the models directory; `kept` are the bytes that are there already.
    pub(super) fn store(
        action: &'static str,
        path: &Path,
        kept: u64,
        total: u64,
        error: io::Error,
    ) -> FetchError {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FetchError::DiskFull {
                path,
                got: kept,
                total,
            },
            _ => FetchError::Store {
                action,
                path,
                error,
            },
        }
    }

    /// Words for a status that is not success.
    pub(super) fn status(url: &str, status: u16) -> FetchError {
        let (meaning, next) = match status {
            401 | 407 => (
                " (login required)",
                "put user and password into the URL, or use another source",
            ),
            403 => (" (forbidden)", "use --mirror or --from for another source"),
            404 | 410 => (
                " (not there)",
                "check the URL, or use --mirror or --from for another source",
            ),
            429 => (" (too many requests)", "wait a minute, then pull again"),
            500..=599 => (
                " (trouble on the server)",
                "pull again later, or use --mirror or --from for another source",
            ),
            _ => ("", "use --mirror or --from for another source"),
        };
        FetchError::Status {
            url: shown(url),
            status,
            meaning,
            next,
        }
    }

    /// Words for a line about a retry: what happened, without what to do.
    pub(super) fn brief(&self) -> String {
        match self {
            FetchError::Cut { reason, .. } | FetchError::Unreachable { reason, .. } => {
                reason.clone()
            }
            FetchError::Status {
                status, meaning, ..
            } => format!("status {status}{meaning}"),
            error => error.to_string(),
        }
    }

    /// Whether trying again at once may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            FetchError::Cut { .. } => true,
            FetchError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// Whether what was received so far is worth keeping.
    pub(super) fn keeps_part(&self) -> bool {
        !matches!(
            self,
            FetchError::TooLarge { .. }
                | FetchError::TooSmall { .. }
                | FetchError::WrongDigest { .. }
        )
    }
}

/// Words for a read that waited too long.
pub(super) fn stalled(limit: Duration) -> String {
    format!("no bytes came for {} s", limit.as_secs_f32())
}

/// Returns a URL as messages may show it: without user, password, query and fragment.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.rsplit('@').next().unwrap_or(url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_urls_hide_login_and_query() {
        assert_eq!(
            shown("https://ada:secret@host:8/a/b?token=x#y"),
            "https://host:8/a/b"
        );
        assert_eq!(shown("http://host"), "http://host");
        assert_eq!(shown("ada:secret@proxy:3128"), "proxy:3128");
        assert_eq!(shown("https://host/a@b"), "https://host/a@b");
    }

    #[test]
    fn full_disk_says_so_and_what_is_kept() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let text = FetchError::store("write", Path::new("/m/a.part"), 7, 9, full).to_string();
        assert!(
            text.starts_with("no space left for \"/m/a.part\": 7 of 9 bytes are kept"),
            "{text}"
        );
    }

    #[test]
    fn messages_are_lower_case_without_final_period() {
        for status in [302, 401, 403, 404, 416, 429, 500] {
            let text = FetchError::status("https://a/b", status).to_string();
            assert!(
                text.contains(&status.to_string()) && !text.ends_with('.') && !text.ends_with("; "),
                "{text}"
            );
        }
    }
}
