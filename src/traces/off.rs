//! A build without the feature `otel`: there is no tracer, so that nothing of one is ever run.

use std::time::Duration;

use super::{Attribute, ExportOptions, SpanStart, Stage, TraceContext};

/// What there is none of.
#[derive(Debug)]
pub struct Tracer(Nothing);

/// Nor of this.
#[derive(Debug)]
pub struct RequestSpan(Nothing);

#[derive(Debug, Clone, Copy)]
enum Nothing {}

/// This build exports nothing.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("this build has no traces: it was made without the cargo feature `otel`")]
pub struct NotBuiltIn;

impl Tracer {
    /// Starts none.
    ///
    /// # Errors
    /// Always.
    pub fn start(_: &ExportOptions) -> Result<Tracer, NotBuiltIn> {
        Err(NotBuiltIn)
    }

    /// A request has come.
    pub fn begin(&self, _: SpanStart<'_>) -> RequestSpan {
        match self.0 {}
    }

    /// Sends what waits.
    pub fn finish(&self, _: Duration) {
        match self.0 {}
    }
}

impl RequestSpan {
    /// The trace it is in.
    pub fn context(&self) -> TraceContext {
        match self.0 {}
    }

    /// Whether it is exported.
    pub fn is_recorded(&self) -> bool {
        match self.0 {}
    }

    /// Tells more of it.
    pub fn tell(&mut self, _: Attribute) {
        match self.0 {}
    }

    /// Tells that the server failed.
    pub fn fail(&mut self, _: &str) {
        match self.0 {}
    }

    /// Adds a stage.
    pub fn add(&mut self, _: Stage) {
        match self.0 {}
    }

    /// The request has its answer.
    pub fn end(self) {
        match self.0 {}
    }
}
