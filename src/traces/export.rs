//! Spans by OpenTelemetry's SDK: who is recorded, and the queue in which spans wait for the thread that exports them.
//!
//! Started by `cli`, told of requests by `http`. What is full drops spans; nobody waits for a collector.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
    TraceFlags, TraceId, TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler as Sample, SdkTracer, SdkTracerProvider, Span,
};

use super::collector::{Collector, CollectorError};
use super::{Attribute, ExportOptions, Sampler, SpanStart, Stage, TraceContext, Value};

/// Records requests and exports them.
#[derive(Debug)]
pub struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// The span of a request under way.
#[derive(Debug)]
pub struct RequestSpan {
    span: Span,
    tracer: SdkTracer,
    /// The same moment by both clocks: only one of them never goes back.
    start: (SystemTime, Instant),
}

impl Tracer {
    /// Starts the thread that exports.
    ///
    /// # Errors
    /// If the collector cannot be asked as `options` say.
    pub fn start(options: &ExportOptions) -> Result<Tracer, CollectorError> {
        let resource = resource(options);
        let collector = Collector::new(options, &resource)?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue.capacity)
            .with_max_export_batch_size(options.queue.max_batch_size)
            .with_scheduled_delay(options.queue.delay)
            .build();
        let queue = BatchSpanProcessor::builder(collector)
            .with_batch_config(batches)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_sampler(sampler(options.sampler))
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder("resnet")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Tracer {
            tracer: provider.tracer_with_scope(scope),
            provider,
        })
    }

    /// Begins the span of a request that has come.
    pub fn begin(&self, start: SpanStart<'_>) -> RequestSpan {
        let parent = start.parent.map(|parent| {
            let flags = match parent.is_sampled {
                true => TraceFlags::SAMPLED,
                false => TraceFlags::default(),
            };
            let (trace_id, span_id) = (
                TraceId::from_bytes(parent.trace_id),
                SpanId::from_bytes(parent.span_id),
            );
            // A `tracestate` that cannot be parsed is not handed on.
            let state = start
                .state
                .parse()
                .unwrap_or_else(|_| TraceState::default());
            SpanContext::new(trace_id, span_id, flags, true, state)
        });
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let now = (SystemTime::now(), Instant::now());
        let builder = SpanBuilder::from_name(start.name)
            .with_kind(SpanKind::Server)
            .with_start_time(now.0);
        RequestSpan {
            span: self.tracer.build_with_context(builder, &context),
            tracer: self.tracer.clone(),
            start: now,
        }
    }

    /// Sends what waits, for `most` at the longest; from then on nothing is recorded.
    pub fn finish(&self, most: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(most) {
            tracing::warn!(%error, "the last traces have not been exported");
        }
    }
}

impl RequestSpan {
    /// The trace that the span is in, and the span itself.
    pub fn context(&self) -> TraceContext {
        let context = self.span.span_context();
        TraceContext {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            is_sampled: context.is_sampled(),
        }
    }

    /// Whether the span is recorded, and so exported.
    pub fn is_recorded(&self) -> bool {
        self.span.is_recording()
    }

    /// Adds an attribute.
    pub fn tell(&mut self, attribute: Attribute) {
        self.span.set_attribute(key_value(attribute));
    }

    /// Marks the request as failed by the server.
    pub fn fail(&mut self, why: &str) {
        self.span.set_status(Status::error(why.to_owned()));
    }

    /// Adds a stage.
    pub fn add(&mut self, stage: Stage) {
        let context = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = SpanBuilder::from_name(Cow::Borrowed(stage.name))
            .with_kind(SpanKind::Internal)
            .with_start_time(self.time(stage.start))
            .with_attributes(stage.attributes.into_iter().map(key_value));
        let mut span = self.tracer.build_with_context(builder, &context);
        span.end_with_timestamp(self.time(stage.end));
    }

    /// Ends the span: the request has its answer.
    pub fn end(mut self) {
        self.span.end_with_timestamp(self.time(Instant::now()));
    }

    fn time(&self, moment: Instant) -> SystemTime {
        let (time, start) = self.start;
        time + moment.saturating_duration_since(start)
    }
}

fn key_value((key, value): Attribute) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(key, text),
        Value::Number(number) => KeyValue::new(key, number),
    }
}

fn sampler(
    Sampler {
        is_parent_based,
        ratio,
    }: Sampler,
) -> Sample {
    // All or none need no sampling by the trace's id.
    let root = match ratio {
        ratio if ratio <= 0.0 => Sample::AlwaysOff,
        ratio if ratio >= 1.0 => Sample::AlwaysOn,
        ratio => Sample::TraceIdRatioBased(ratio),
    };
    match is_parent_based {
        true => Sample::ParentBased(Box::new(root)),
        false => root,
    }
}

/// The attributes of this process, which go with every export.
fn resource(options: &ExportOptions) -> Resource {
    let given = options.attributes.iter();
    let given = given.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(given)
        .with_service_name(options.service_name.clone())
        .build()
}
