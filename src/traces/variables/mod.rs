//! The `OTEL_*` variables, by which traces are exported, and nothing else: names, defaults and forms are those of
//! OpenTelemetry, so that one set of variables serves all programs of a deployment.
//!
//! Read by `cli`. A value that cannot be served is refused at the start, where OpenTelemetry's own libraries would go
//! on without it. An empty variable counts as unset.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::time::Duration;

use super::options::{ExportOptions, Sampler, SpanQueue};
use crate::hex;

/// The attribute `service.name` where no variable gives it.
const SERVICE_NAME: &str = "resnet";

/// The path, below a collector's URL, at which it takes traces.
const TRACES_PATH: &str = "v1/traces";

/// Most spans in the queue: 256 MiB of them.
const MAX_SPANS: usize = 65_536;

/// The longest time, in milliseconds: a day.
const MAX_MS: u64 = 86_400_000;

const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];

/// The exporters by name, and whether each exports.
const EXPORTERS: [(&str, bool); 2] = [("otlp", true), ("none", false)];

/// The samplers by name: whether a caller decides, and the share of others; none where another variable gives it.
const SAMPLERS: [(&str, (bool, Option<f64>)); 6] = [
    ("always_on", (false, Some(1.0))),
    ("always_off", (false, Some(0.0))),
    ("traceidratio", (false, None)),
    ("parentbased_always_on", (true, Some(1.0))),
    ("parentbased_always_off", (true, Some(0.0))),
    ("parentbased_traceidratio", (true, None)),
];

const URLS: &str = "URLs as http://collector:4318";
const PAIRS: &str = "pairs as name=value, separated by commas, values percent-encoded";
const MILLISECONDS: &str = "whole numbers of milliseconds from 1 to 86400000";
const SPANS: &str = "whole numbers from 1 to 65536";

/// A variable whose value cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{name} is `{value}`, allowed: {allowed}")]
pub struct VariableError {
    name: String,
    value: String,
    allowed: String,
}

impl ExportOptions {
    /// Reads the variables by `lookup`; none if they ask for no export: without an endpoint, with
    /// `OTEL_TRACES_EXPORTER=none` or `OTEL_SDK_DISABLED=true`.
    ///
    /// # Errors
    /// The variable, its value and what is allowed.
    pub fn from_env(
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Option<ExportOptions>, VariableError> {
        let variables = Variables { lookup };
        let is_disabled = variables.choice("OTEL_SDK_DISABLED", &SWITCH)?;
        let is_otlp = variables.choice("OTEL_TRACES_EXPORTER", &EXPORTERS)?;
        if is_disabled == Some(true) || is_otlp == Some(false) {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint()? else {
            return Ok(None);
        };
        variables.check_fixed()?;
        let (service_name, attributes) = variables.resource()?;
        let certificate = variables.otlp("CERTIFICATE", "a file", |path| Some(path.into()))?;
        Ok(Some(ExportOptions {
            endpoint,
            headers: variables.otlp("HEADERS", PAIRS, pairs)?.unwrap_or_default(),
            timeout: variables.timeout()?,
            certificate,
            service_name,
            attributes,
            sampler: variables.sampler()?,
            queue: variables.queue()?,
        }))
    }
}

/// Names with their values.
type Pairs = Vec<(String, String)>;

struct Variables<F> {
    lookup: F,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// A variable that is set and not empty.
    fn read(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// A variable as `parse` has it.
    fn parsed<T>(
        &self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, VariableError> {
        let Some(value) = self.read(name) else {
            return Ok(None);
        };
        let parsed = parse(&value).ok_or_else(|| VariableError {
            name: name.to_owned(),
            value: match name.ends_with("HEADERS") {
                true => "…".to_owned(), // a secret, as a rule
                false => value,
            },
            allowed: allowed.to_owned(),
        });
        parsed.map(Some)
    }

    /// A variable that is one of these names, whatever their case.
    fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, VariableError> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.parsed(name, &names.join(", "), |value| {
            let mut choices = choices.iter();
            let chosen = choices.find(|(name, _)| name.eq_ignore_ascii_case(value));
            chosen.map(|(_, meaning)| *meaning)
        })
    }

    /// A variable of the exporter: the one of traces, else that of all signals.
    fn otlp<T>(
        &self,
        end: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, VariableError> {
        let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_{end}");
        match self.parsed(&of_traces, allowed, &parse)? {
            Some(value) => Ok(Some(value)),
            None => self.parsed(&format!("OTEL_EXPORTER_OTLP_{end}"), allowed, parse),
        }
    }

    /// The collector's URL for traces: as it stands, or below that for all signals.
    fn endpoint(&self) -> Result<Option<String>, VariableError> {
        let of_traces = self.parsed("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", URLS, url)?;
        let of_all = self.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", URLS, url)?;
        let below = |base: String| format!("{}/{TRACES_PATH}", base.trim_end_matches('/'));
        Ok(of_traces.or(of_all.map(below)))
    }

    /// Refuses what this exporter does not do.
    fn check_fixed(&self) -> Result<(), VariableError> {
        for (end, only) in [("PROTOCOL", "http/protobuf"), ("COMPRESSION", "none")] {
            self.otlp(end, only, |value| (value == only).then_some(()))?;
        }
        for end in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            self.otlp(end, "nothing", |_| None::<()>)?;
        }
        Ok(())
    }

    /// A batch is one request, so that what both may take is what the shorter one allows.
    fn timeout(&self) -> Result<Duration, VariableError> {
        let of_request = self.otlp("TIMEOUT", MILLISECONDS, milliseconds)?;
        let of_request = of_request.unwrap_or(Duration::from_secs(10));
        let of_batch = self.parsed("OTEL_BSP_EXPORT_TIMEOUT", MILLISECONDS, milliseconds)?;
        Ok(of_batch.map_or(of_request, |of_batch| of_batch.min(of_request)))
    }

    /// Which service this is, and what else is told of it.
    fn resource(&self) -> Result<(String, Pairs), VariableError> {
        let told = self.parsed("OTEL_RESOURCE_ATTRIBUTES", PAIRS, pairs)?;
        let is_name = |(key, _): &(String, String)| key == "service.name";
        let (names, attributes) = told.unwrap_or_default().into_iter().partition(is_name);
        let mut names: Pairs = names;
        let told = names.pop().map(|(_, name)| name);
        let name = self.read("OTEL_SERVICE_NAME").or(told);
        Ok((name.unwrap_or_else(|| SERVICE_NAME.to_owned()), attributes))
    }

    fn sampler(&self) -> Result<Sampler, VariableError> {
        let share = |value: &str| {
            let share = value.parse().ok()?;
            (0.0..=1.0).contains(&share).then_some(share)
        };
        let sampler = self.choice("OTEL_TRACES_SAMPLER", &SAMPLERS)?;
        let (is_parent_based, ratio) = sampler.unwrap_or((true, Some(1.0)));
        let ratio = match ratio {
            Some(ratio) => Some(ratio),
            None => self.parsed("OTEL_TRACES_SAMPLER_ARG", "numbers from 0 to 1", share)?,
        };
        Ok(Sampler {
            is_parent_based,
            ratio: ratio.unwrap_or(1.0),
        })
    }

    fn queue(&self) -> Result<SpanQueue, VariableError> {
        let spans = |value: &str| {
            let spans = value.parse().ok()?;
            (1..=MAX_SPANS).contains(&spans).then_some(spans)
        };
        let capacity = self.parsed("OTEL_BSP_MAX_QUEUE_SIZE", SPANS, spans)?;
        let batch = self.parsed("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", SPANS, spans)?;
        let delay = self.parsed("OTEL_BSP_SCHEDULE_DELAY", MILLISECONDS, milliseconds)?;
        let capacity = capacity.unwrap_or(2048);
        Ok(SpanQueue {
            capacity,
            max_batch_size: batch.unwrap_or(512).min(capacity),
            delay: delay.unwrap_or(Duration::from_secs(5)),
        })
    }
}

/// A URL of HTTP with a host.
fn url(text: &str) -> Option<String> {
    let schemes = ["http://", "https://"].iter();
    let rest = { schemes }.find_map(|scheme| text.strip_prefix(scheme))?;
    let has_host = !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']);
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic());
    (has_host && is_plain).then(|| text.to_owned())
}

/// Pairs as W3C Baggage has them.
fn pairs(text: &str) -> Option<Pairs> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.trim(), percent_decoded(value.trim())?);
        (!name.is_empty()).then(|| (name.to_owned(), value))
    };
    let pairs = text.split(',').map(str::trim);
    pairs.filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode::<1>(byte)?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn milliseconds(text: &str) -> Option<Duration> {
    let ms = text.parse().ok()?;
    (1..=MAX_MS)
        .contains(&ms)
        .then(|| Duration::from_millis(ms))
}
