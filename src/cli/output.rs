//! Standard output for commands: written at once, and quiet when the reader has gone.
//!
//! Used by the commands of `cli` whose output may be piped into `head`.

use std::io::{self, ErrorKind, Write};

/// Writes `text` to standard output. A closed pipe is not an error: the reader has seen enough.
///
/// # Errors
/// Any other error of the stream, as a full disk behind a redirection.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Writes a line to standard error, where it does not mix with results.
pub(crate) fn complain(line: &str) {
    // Nobody is left to tell if that fails.
    let _ = writeln!(io::stderr(), "{line}");
}
