//! The lines of the JSON log on standard error: a terminal that shows them obeys nothing in them.
//!
//! Used by `log`. JSON escapes control characters by itself, and lets through what turns the direction of writing.

use std::io::{self, Stderr, Write};

use crate::visible::visible_lines;

/// Standard error, with what a terminal would obey as `\u202e`, which in JSON means the character itself.
pub(super) struct Shown(Stderr);

impl Shown {
    pub(super) fn stderr() -> Shown {
        Shown(io::stderr())
    }
}

impl Write for Shown {
    /// Writes a line, which comes whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(visible_lines(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
