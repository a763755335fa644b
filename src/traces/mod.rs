//! Traces: which one a request belongs to, and the way of its spans to a collector.
//!
//! `cli` starts a [`Tracer`] where the `OTEL_*` variables ask for one, the `desk` keeps it, and `http` tells it of
//! requests and their stages. Spans are exported by a build with the feature `otel` alone; in any other there is no
//! tracer.

#[cfg(feature = "otel")]
mod collector;
mod context;
#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
mod options;
mod variables;

use std::time::Instant;

pub use self::context::TraceContext;
#[cfg(feature = "otel")]
pub use self::export::{RequestSpan, Tracer};
#[cfg(not(feature = "otel"))]
pub use self::off::{RequestSpan, Tracer};
pub use self::options::{ExportOptions, Sampler, SpanQueue};
pub use self::variables::VariableError;

/// What a span tells, by its name: one of OpenTelemetry's semantic conventions, or our own, which begin with `resnet.`.
pub type Attribute = (&'static str, Value);

/// What an attribute can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Words.
    Text(String),
    /// A count or a code.
    Number(i64),
}

/// A part of a request's time that is a span of its own.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The name of what was done.
    pub name: &'static str,
    /// When it began.
    pub start: Instant,
    /// When it ended.
    pub end: Instant,
    /// Further facts about it.
    pub attributes: Vec<Attribute>,
}

/// What the span of a request that comes now is called, and whose child it is.
#[derive(Debug)]
pub struct SpanStart<'a> {
    /// Its name, as that of a route.
    pub name: String,
    /// The caller's span.
    pub parent: Option<TraceContext>,
    /// What the caller's other systems have to say of the trace (`tracestate`), which is handed on unread.
    pub state: &'a str,
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}
