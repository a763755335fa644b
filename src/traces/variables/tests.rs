//! Which variables ask for what.

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
        ("OTEL_SDK_DISABLED", "1", "true, false"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp, none"),
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
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/json",
            "http/protobuf",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "none"),
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
