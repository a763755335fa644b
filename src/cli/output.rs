//! What commands write to standard output and standard error: at once, quiet when the reader has gone, and never in a way
//! that a terminal obeys.
//!
//! Used by every command.

use std::io::{self, ErrorKind, Write};

use anyhow::Context as _;
use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::visible::{visible, visible_lines};

/// The reader of standard output has seen enough and closed it; ends the command without a complaint.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct ReaderGone;

/// The command was used wrongly in a way that its flags cannot express; exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Writes text for people, or JSON, to standard output.
///
/// # Errors
/// [`ReaderGone`] for a closed pipe, or the stream's error, as a full disk behind a redirection.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(visible_lines(text).as_bytes())
}

/// Writes a file's content to standard output, as it is.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        outcome => outcome.context("cannot write to standard output"),
    }
}

/// Writes a line to standard error, where it does not mix with results.
pub(crate) fn complain(line: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(io::stderr(), "{}", visible(line));
}

/// Writes text of several lines, with the end of the last, to standard error.
pub(crate) fn complain_lines(text: &str) {
    // Nobody is left to tell if that fails.
    let _ = write!(io::stderr(), "{}", visible_lines(text));
}

/// Writes an error to standard error as the JSON log writes its lines, whatever its filter.
pub(crate) fn complain_json(message: &str) {
    let mut timestamp = String::new();
    // What is left out if there is no clock is the time.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let line = LogLine {
        timestamp,
        level: "ERROR",
        message,
        target: "resnet",
    };
    complain(&serde_json::to_string(&line).expect("texts are JSON"));
}

#[derive(Serialize)]
struct LogLine<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
    target: &'static str,
}
