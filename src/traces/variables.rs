//! The `OTEL_*` variables, by which traces are exported, and nothing else: names, defaults and forms are those of
//! OpenTelemetry, so that one set of variables serves all programs of a deployment.
//!
//! Read by `cli`. A value that cannot be served is refused at the start, where OpenTelemetry's own libraries would go on
//! without it. An empty variable counts as unset.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::hex;

/// Where spans go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// The collector's URL for traces.
    pub endpoint: String,
    /// Headers of each request to it; their values may be secret.
    pub headers: Vec<(String, String)>,
    /// How long it may take to answer.
    pub timeout: Duration,
    /// PEM file of the only authorities that may have signed its certificate.
    pub certificate: Option<PathBuf>,
    /// `service.name`.
    pub service_name: String,
    /// What else is told of this process, as `deployment.environment.name`.
    pub attributes: Vec<(String, String)>,
    /// Which requests are recorded.
    pub sampler: Sampler,
    /// Spans on their way.
    pub queue: SpanQueue,
}

/// Which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Whether a caller that has a trace decides.
    pub is_parent_based: bool,
    /// The share of all others, 0 to 1.
    pub ratio: f64,
}

/// How spans wait for the exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanQueue {
    /// Most that wait; more are dropped.
    pub capacity: usize,
    /// Most in one request to the collector.
    pub max_batch_size: usize,
    /// How long they may wait for others.
    pub delay: Duration,
}

/// What `service.name` is where nobody says.
const SERVICE_NAME: &str = "resnet";

/// What begins the URL of a collector's signals where it is the base.
const TRACES_PATH: &str = "v1/traces";

/// Most of the capacity: some 256 MiB of spans.
const MAX_QUEUE: usize = 65_536;

/// The longest times that are waited, in milliseconds: a day.
const MAX_MS: u64 = 86_400_000;

/// A variable whose value cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{name} is `{value}`, allowed are {allowed}")]
pub struct VariableError {
    name: String,
    value: String,
    allowed: &'static str,
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
        let is_disabled = variables.one_of("OTEL_SDK_DISABLED", "true and false", |value| {
            match value.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        })?;
        let is_otlp = variables.one_of(
            "OTEL_TRACES_EXPORTER",
            "otlp and none",
            |value| match value {
                "otlp" => Some(true),
                "none" => Some(false),
                _ => None,
            },
        )?;
        if is_disabled == Some(true) || is_otlp == Some(false) {
            return Ok(None);
        }
        let Some(endpoint) = variables.endpoint()? else {
            return Ok(None);
        };
        variables.check_fixed()?;
        let (service_name, attributes) = variables.resource()?;
        Ok(Some(ExportOptions {
            endpoint,
            headers: variables.otlp("HEADERS", PAIRS, pairs)?.unwrap_or_default(),
            timeout: variables.timeout()?,
            certificate: variables
                .otlp("CERTIFICATE", "paths of a file", |path| Some(path.into()))?,
            service_name,
            attributes,
            sampler: variables.sampler()?,
            queue: variables.queue()?,
        }))
    }
}

/// Reads pairs whose values are percent-encoded, as those of W3C Baggage.
fn pairs(text: &str) -> Option<Pairs> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then_some((name.to_owned(), percent_decoded(value.trim())?))
    };
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs.map(pair).collect()
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
    let ms = u64::from_str(text).ok()?;
    (1..=MAX_MS)
        .contains(&ms)
        .then(|| Duration::from_millis(ms))
}

/// Two to a pair.
type Pairs = Vec<(String, String)>;

const PAIRS: &str = "pairs as name=value, separated by commas, values percent-encoded";
const MILLISECONDS: &str = "milliseconds from 1 to 86400000";
const BATCHES: &str = "whole numbers from 1 to 65536";

struct Variables<F> {
    lookup: F,
}

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// The value of a variable that is set and not empty.
    fn read(&self, name: &str) -> Option<String> {
        let value = (self.lookup)(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// The value of a variable, as `parse` has it.
    fn one_of<T>(
        &self,
        name: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, VariableError> {
        let Some(value) = self.read(name) else {
            return Ok(None);
        };
        let parsed = parse(&value).ok_or_else(|| VariableError {
            name: name.to_owned(),
            // It may hold a secret, and nobody has mistyped one character of it.
            value: if name.ends_with("HEADERS") {
                "…".to_owned()
            } else {
                value
            },
            allowed,
        });
        parsed.map(Some)
    }

    /// The same of a variable of the exporter: that for traces, else that for all signals.
    fn otlp<T>(
        &self,
        end: &str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, VariableError> {
        let of_traces = format!("OTEL_EXPORTER_OTLP_TRACES_{end}");
        match self.one_of(&of_traces, allowed, &parse)? {
            Some(value) => Ok(Some(value)),
            None => self.one_of(&format!("OTEL_EXPORTER_OTLP_{end}"), allowed, parse),
        }
    }

    fn endpoint(&self) -> Result<Option<String>, VariableError> {
        let url = |value: &str| {
            let rest = value
                .strip_prefix("http://")
                .or_else(|| value.strip_prefix("https://"))?;
            let is_plain = value.bytes().all(|b| b.is_ascii_graphic());
            (is_plain && !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']))
                .then(|| value.to_owned())
        };
        let allowed = "URLs as http://collector:4318";
        // The one is the whole URL, the other that of all signals.
        let of_traces = self.one_of("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", allowed, url)?;
        let of_all = self.one_of("OTEL_EXPORTER_OTLP_ENDPOINT", allowed, url)?;
        let below = |base: String| format!("{}/{TRACES_PATH}", base.trim_end_matches('/'));
        Ok(of_traces.or(of_all.map(below)))
    }

    /// A batch is one request, so that what either may take is what both may.
    fn timeout(&self) -> Result<Duration, VariableError> {
        let of_request = self.otlp("TIMEOUT", MILLISECONDS, milliseconds)?;
        let of_batch = self.one_of("OTEL_BSP_EXPORT_TIMEOUT", MILLISECONDS, milliseconds)?;
        let of_request = of_request.unwrap_or(Duration::from_secs(10));
        Ok(of_batch.map_or(of_request, |of_batch| of_batch.min(of_request)))
    }

    /// Refuses what this exporter does not do.
    fn check_fixed(&self) -> Result<(), VariableError> {
        let only = |wanted: &'static str| move |value: &str| (value == wanted).then_some(());
        self.otlp("PROTOCOL", "http/protobuf alone", only("http/protobuf"))?;
        self.otlp("COMPRESSION", "none alone", only("none"))?;
        for end in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            let nothing = "nothing: the collector is shown no certificate";
            self.otlp(end, nothing, |_| None::<()>)?;
        }
        Ok(())
    }

    /// Which service this is, and what else is told of it.
    fn resource(&self) -> Result<(String, Pairs), VariableError> {
        let attributes = self.one_of("OTEL_RESOURCE_ATTRIBUTES", PAIRS, pairs)?;
        let mut attributes = attributes.unwrap_or_default();
        let mut name = self.read("OTEL_SERVICE_NAME");
        attributes.retain(|(key, value)| {
            let is_name = key == "service.name";
            if is_name {
                name.get_or_insert_with(|| value.clone());
            }
            !is_name
        });
        Ok((name.unwrap_or_else(|| SERVICE_NAME.to_owned()), attributes))
    }

    fn sampler(&self) -> Result<Sampler, VariableError> {
        let names = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off and parentbased_traceidratio";
        let by_name = |value: &str| {
            let (is_parent_based, root) = match value.strip_prefix("parentbased_") {
                Some(root) => (true, root),
                None => (false, value),
            };
            let ratio = match root {
                "always_on" => Some(1.0),
                "always_off" => Some(0.0),
                "traceidratio" => None,
                _ => return None,
            };
            Some((is_parent_based, ratio))
        };
        let share = |value: &str| {
            let share: f64 = value.parse().ok()?;
            (0.0..=1.0).contains(&share).then_some(share)
        };
        let asked = self.one_of("OTEL_TRACES_SAMPLER", names, by_name)?;
        let (is_parent_based, ratio) = asked.unwrap_or((true, Some(1.0)));
        let ratio = match ratio {
            Some(ratio) => ratio,
            None => self
                .one_of("OTEL_TRACES_SAMPLER_ARG", "numbers from 0 to 1", share)?
                .unwrap_or(1.0),
        };
        Ok(Sampler {
            is_parent_based,
            ratio,
        })
    }

    fn queue(&self) -> Result<SpanQueue, VariableError> {
        let number = |value: &str| {
            let number = usize::from_str(value).ok()?;
            (1..=MAX_QUEUE).contains(&number).then_some(number)
        };
        let count = |name: &str| self.one_of(name, BATCHES, number);
        let capacity = count("OTEL_BSP_MAX_QUEUE_SIZE")?.unwrap_or(2048);
        let max_batch_size = count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?.unwrap_or(512);
        let delay = self.one_of("OTEL_BSP_SCHEDULE_DELAY", MILLISECONDS, milliseconds)?;
        Ok(SpanQueue {
            capacity,
            max_batch_size: max_batch_size.min(capacity),
            delay: delay.unwrap_or(Duration::from_secs(5)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn read(variables: &[(&str, &str)]) -> Result<Option<ExportOptions>, VariableError> {
        let variables = variables.to_vec();
        ExportOptions::from_env(move |name| {
            let of_name = variables.iter().find(|(n, _)| *n == name);
            of_name.map(|(_, value)| value.into())
        })
    }

    /// What they ask for beside an endpoint.
    fn options(variables: &[(&str, &str)]) -> ExportOptions {
        let variables = [&[ENDPOINT], variables].concat();
        read(&variables).expect("fine values").expect("an endpoint")
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set_and_nobody_says_no() {
        let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
        for variables in [
            &[][..],
            &[
                ("OTEL_SERVICE_NAME", "birds"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
            ],
            &[(endpoint, "")],
            &[(endpoint, " ")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
            // Nor is anything else looked at then.
            &[
                ENDPOINT,
                ("OTEL_SDK_DISABLED", "true"),
                ("OTEL_TRACES_SAMPLER", "x"),
            ],
        ] {
            assert_eq!(read(variables).expect("fine values"), None, "{variables:?}");
        }
        for variables in [
            &[ENDPOINT][..],
            &[
                ENDPOINT,
                ("OTEL_SDK_DISABLED", "false"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
            ],
        ] {
            assert!(
                read(variables).expect("fine values").is_some(),
                "{variables:?}"
            );
        }
    }

    #[test]
    fn defaults_are_those_of_opentelemetry() {
        let expected = ExportOptions {
            endpoint: "http://collector:4318/v1/traces".into(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            certificate: None,
            service_name: "resnet".into(),
            attributes: Vec::new(),
            sampler: Sampler {
                is_parent_based: true,
                ratio: 1.0,
            },
            queue: SpanQueue {
                capacity: 2048,
                max_batch_size: 512,
                delay: Duration::from_secs(5),
            },
        };
        assert_eq!(options(&[]), expected);
        let empty = [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_TRACES_SAMPLER",
            "OTEL_BSP_MAX_QUEUE_SIZE",
        ];
        assert_eq!(options(&empty.map(|name| (name, ""))), expected);
    }

    #[test]
    fn variables_of_traces_go_before_those_of_all_signals() {
        let options = options(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/here"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "9000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "8000"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ]);
        // The one is a whole URL, to which nothing is added.
        assert_eq!(options.endpoint, "https://traces/here");
        assert_eq!(options.headers, [("b".into(), "2".into())]);
        assert_eq!(options.timeout, Duration::from_secs(8));
    }

    #[test]
    fn endpoint_of_all_signals_is_a_base() {
        for base in ["http://c:4318", "http://c:4318/"] {
            let options = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", base)]);
            let options = options.expect("a URL").expect("an endpoint");
            assert_eq!(options.endpoint, "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn pairs_are_percent_decoded() {
        let options = options(&[
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Basic%20YTpi, x=1=2,",
            ),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=birds,deployment.environment.name=t%C3%A9st",
            ),
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            options.headers,
            [pair("authorization", "Basic YTpi"), pair("x", "1=2")]
        );
        assert_eq!(options.service_name, "birds");
        assert_eq!(
            options.attributes,
            [pair("deployment.environment.name", "tést")]
        );
    }

    #[test]
    fn service_has_the_name_of_its_own_variable_first() {
        let of = |variables: &[(&str, &str)]| options(variables).service_name;
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=birds");
        assert_eq!(of(&[attributes]), "birds");
        assert_eq!(of(&[("OTEL_SERVICE_NAME", "trees"), attributes]), "trees");
    }

    #[test]
    fn samplers_are_those_of_opentelemetry() {
        for (name, arg, is_parent_based, ratio) in [
            ("always_on", "0.5", false, 1.0),
            ("always_off", "", false, 0.0),
            ("traceidratio", "0.25", false, 0.25),
            ("traceidratio", "", false, 1.0),
            ("parentbased_always_on", "", true, 1.0),
            ("parentbased_always_off", "", true, 0.0),
            ("parentbased_traceidratio", "0.1", true, 0.1),
        ] {
            let options = options(&[
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", arg),
            ]);
            let expected = Sampler {
                is_parent_based,
                ratio,
            };
            assert_eq!(options.sampler, expected, "{name} {arg}");
        }
    }

    #[test]
    fn no_more_is_sent_at_once_than_may_wait_and_no_longer_than_either_may() {
        let options = options(&[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "3000"),
        ]);
        assert_eq!(
            (options.queue.capacity, options.queue.max_batch_size),
            (100, 100)
        );
        assert_eq!(options.queue.delay, Duration::from_millis(50));
        assert_eq!(options.timeout, Duration::from_secs(3));
    }

    #[test]
    fn what_cannot_be_served_names_variable_value_and_what_is_allowed() {
        for (name, value, allowed) in [
            ("OTEL_SDK_DISABLED", "1", "true and false"),
            ("OTEL_TRACES_EXPORTER", "console", "otlp and none"),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "collector:4318",
                "http://collector:4318",
            ),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://",
                "http://collector:4318",
            ),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://a b",
                "http://collector:4318",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf alone"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
                "http/json",
                "http/protobuf alone",
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "none alone"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key.pem", "nothing"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "milliseconds"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name", "name=value"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=%4", "percent-encoded"),
            (
                "OTEL_TRACES_SAMPLER",
                "jaeger_remote",
                "parentbased_traceidratio",
            ),
            (
                "OTEL_TRACES_SAMPLER",
                "parentbased_",
                "parentbased_traceidratio",
            ),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "from 1 to 65536"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many", "from 1 to 65536"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "milliseconds"),
        ] {
            // Before the endpoint that serves, which would be found first.
            let error = read(&[(name, value), ENDPOINT])
                .expect_err(name)
                .to_string();
            assert!(
                error.starts_with(&format!("{name} is `{value}`, ")),
                "{error}"
            );
            assert!(error.contains(allowed), "{error}");
        }
        for arg in ["1.1", "-0.1", "half", "NaN"] {
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let error = read(&[ENDPOINT, sampler, ("OTEL_TRACES_SAMPLER_ARG", arg)]);
            let error = error.expect_err(arg).to_string();
            assert!(
                error.contains(arg) && error.contains("from 0 to 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn wrong_headers_are_not_repeated() {
        let error = read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "secret")]);
        let error = error.expect_err("no pair").to_string();
        assert!(
            !error.contains("secret") && error.contains("OTEL_EXPORTER_OTLP_HEADERS"),
            "{error}"
        );
    }
}
