//! A build without the feature `otel`: there is no tracer, so that nothing of one is ever run.

use std::time::Duration;

use super::{Attribute, ExportOptions, SpanStart, Stage, TraceContext};

/// Stands for the tracer; there is never a value of it.
#[derive(Debug)]
pub struct Tracer(Nothing);

/// Stands for the span of a request; there is never a value of it.
#[derive(Debug)]
pub struct RequestSpan(Nothing);

#[derive(Debug, Clone, Copy)]
enum Nothing {}

/// This build exports nothing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this build has no traces: it was made without the cargo feature `otel`")]
pub struct NotBuiltIn;

impl Tracer {
    /// Starts no tracer.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &ExportOptions) -> Result<Tracer, NotBuiltIn> {
        Err(NotBuiltIn)
    }

    /// Begins the span of a request that has come.
    pub fn begin(&self, _: SpanStart<'_>) -> RequestSpan {
        match self.0 {}
    }

    /// Sends what waits.
    pub fn finish(&self, _: Duration) {
        match self.0 {}
    }
}

impl RequestSpan {
    /// The trace that the span is in.
    pub fn context(&self) -> TraceContext {
        match self.0 {}
    }

    /// Whether the span is exported.
    pub fn is_recorded(&self) -> bool {
        match self.0 {}
    }

    /// Adds an attribute.
    pub fn tell(&mut self, _: Attribute) {
        match self.0 {}
    }

    /// Marks the request as failed by the server.
    pub fn fail(&mut self, _: &str) {
        match self.0 {}
    }

    /// Adds a stage.
    pub fn add(&mut self, _: Stage) {
        match self.0 {}
    }

    /// Ends the span: the request has its answer.
    pub fn end(self) {
        match self.0 {}
    }
}
