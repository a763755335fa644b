//! The collector, asked by OTLP over HTTP: a batch of spans is one `POST` of protobuf.
//!
//! Called by the SDK on its own thread. A batch that does not arrive is lost: it is not tried again, so that what waits
//! behind it is not lost too. One warning tells that traces are lost, and one line that they arrive again.

use std::fs;
use std::sync::{Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message as _;
use ureq::Agent;
use ureq::http::uri::Authority;
use ureq::http::{HeaderName, HeaderValue, Uri, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::ExportOptions;
use crate::visible::visible;

/// Most bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 10;

/// Sends spans.
#[derive(Debug)]
pub(super) struct Collector {
    agent: Agent,
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    resource: ResourceAttributesWithSchema,
    /// Spans that have not arrived since the last that did.
    lost: Mutex<usize>,
}

/// Why the collector cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// The endpoint is no URL.
    #[error("the endpoint of OTEL_EXPORTER_OTLP_… is no URL: {0}")]
    Endpoint(String),
    /// The name of a header, or its value, cannot be sent.
    #[error("the header `{0}` of OTEL_EXPORTER_OTLP_… cannot be sent")]
    Header(String),
    /// The file of certificate authorities cannot be read.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE, {path}: {reason}")]
    Certificate {
        /// The path of the file.
        path: String,
        /// What is wrong with the file.
        reason: String,
    },
}

/// Spans that have not arrived.
struct Lost {
    spans: usize,
    why: String,
}

impl Collector {
    pub(super) fn new(
        options: &ExportOptions,
        resource: &Resource,
    ) -> Result<Collector, CollectorError> {
        let endpoint = options.endpoint.parse();
        let endpoint = endpoint.map_err(|_| CollectorError::Endpoint(options.endpoint.clone()))?;
        let header = |(name, value): &(String, String)| {
            let header = (name.parse().ok(), HeaderValue::from_str(value).ok());
            let (Some(name), Some(mut value)) = header else {
                return Err(CollectorError::Header(name.clone()));
            };
            value.set_sensitive(true);
            Ok((name, value))
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("resnet/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(options.timeout))
            // The environment's, which is not asked here: a collector is near.
            .proxy(None)
            .tls_config(tls_config(options)?)
            .build();
        Ok(Collector {
            agent: config.new_agent(),
            endpoint,
            headers: options
                .headers
                .iter()
                .map(header)
                .collect::<Result<_, _>>()?,
            resource: resource.into(),
            lost: Mutex::new(0),
        })
    }

    /// Sends a batch.
    ///
    /// # Errors
    /// How many of its spans have not arrived, and why.
    fn send(&self, batch: Vec<SpanData>) -> Result<(), Lost> {
        let spans = batch.len();
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let answer = self.post(&request.encode_to_vec());
        let answer = answer.map_err(|why| Lost { spans, why })?;
        match answer.partial_success.map(|part| part.rejected_spans) {
            Some(rejected) if rejected > 0 => Err(Lost {
                spans: usize::try_from(rejected).unwrap_or(spans),
                why: format!("it rejected {rejected} of {spans} spans"),
            }),
            _ => Ok(()),
        }
    }

    fn post(&self, body: &[u8]) -> Result<ExportTraceServiceResponse, String> {
        let mut request = self.agent.post(&self.endpoint);
        request = request.header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut answer = request.send(body).map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!(
                "it answered with status {}",
                answer.status().as_u16()
            ));
        }
        let body = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        let answer = ExportTraceServiceResponse::decode(&body[..]);
        answer.map_err(|_| {
            "its answer is none of OTLP's, which a URL of something else gives".to_owned()
        })
    }

    /// Tells once that spans are lost, and once that they arrive again.
    fn tell(&self, sent: &Result<(), Lost>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Ok(()) if *lost > 0 => {
                tracing::info!(lost_spans = *lost, "traces reach the collector again");
                *lost = 0;
            }
            Ok(()) => {}
            Err(Lost { spans, why }) => {
                if *lost == 0 {
                    let collector = self.endpoint.authority().map(Authority::host);
                    let why = visible(why);
                    tracing::warn!(
                        collector,
                        "traces are lost until the collector takes them: {why}"
                    );
                }
                *lost += spans;
            }
        }
    }
}

impl SpanExporter for Collector {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.send(batch);
        self.tell(&sent);
        sent.map_err(|lost| OTelSdkError::InternalFailure(lost.why))
    }
}

/// Trusts the authorities of the variable alone; without one Mozilla's.
fn tls_config(options: &ExportOptions) -> Result<TlsConfig, CollectorError> {
    let Some(path) = &options.certificate else {
        return Ok(TlsConfig::default());
    };
    let refuse = |reason: String| CollectorError::Certificate {
        path: path.display().to_string(),
        reason,
    };
    let pem = fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let items = parse_pem(&pem).collect::<Result<Vec<_>, _>>();
    let items = items.map_err(|error| refuse(error.to_string()))?;
    let certificate = |item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    };
    let roots: Vec<Certificate<'static>> = items.into_iter().filter_map(certificate).collect();
    if roots.is_empty() {
        return Err(refuse("it holds no certificate".into()));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .build())
}
