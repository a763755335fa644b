//! The fields of a log line for people: as tracing's own, but that a terminal obeys nothing in them.
//!
//! Used by `log`. tracing itself lets line ends through, and in fields every control character.

use std::fmt::{self, Debug};

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::visible::visible;

/// What writes the fields: the message, then `name=value`.
pub(super) fn fields() -> impl for<'a> FormatFields<'a> + Send + Sync + 'static {
    debug_fn(|writer, field, value| field_text(writer, field.name(), value)).delimited(" ")
}

fn field_text(writer: &mut Writer<'_>, name: &str, value: &dyn Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = visible(&value);
    let name = name.trim_start_matches("r#");
    match (name, writer.has_ansi_escapes()) {
        ("message", _) => writer.write_str(&value),
        // SGR of ECMA-48: the name in italics, the sign faint, as tracing has them.
        (_, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
        (_, false) => write!(writer, "{name}={value}"),
    }
}
