//! The trace of a request as the log has it, by every protocol; that of a collector is in tests/traces.

use axum::http::Request;
use serde_json::{Value, json};

use crate::grpc::{INFER, call_raw};
use crate::harness::http2::{block_on, connect, exchange};
use crate::harness::{Answer, Process, agent, multipart};
#[cfg(feature = "otel")]
use crate::harness::{PATIENCE, fixture_bytes};
#[cfg(feature = "otel")]
use crate::pull::server::{Request as OfCollector, tls_server};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// The line of the request with this id, once it is there.
fn line(server: &Process, id: &str) -> Value {
    server.log.line(id, |l| {
        l["target"] == "resnet::access" && l["request_id"] == id
    })
}

#[test]
fn line_of_a_request_has_its_trace_by_every_protocol() {
    let server = Process::start(&["--http2", "--grpc-port", "0"]);
    let address = server.address;
    let url = format!("http://{address}/models");

    let asked = agent().get(&url).header("traceparent", parent());
    let answer = Answer::of(asked.header("X-Request-Id", "of-http1").call());
    assert_eq!(line(&server, "of-http1")["trace_id"], TRACE);
    // Nothing is exported, so that there is no span of ours to tell of.
    assert_eq!(answer.header("traceparent"), None);

    let request = Request::get(&url)
        .header("traceparent", parent())
        .header("X-Request-Id", "of-http2");
    let request = request.body(()).unwrap();
    let exchange = async { exchange(connect(address).await, request, Vec::new()).await };
    assert_eq!(block_on(exchange).status, 200);
    let of_http2 = line(&server, "of-http2");
    assert_eq!(of_http2["trace_id"], TRACE);
    assert_eq!(of_http2["protocol"], "HTTP/2.0");

    let grpc = server.log.line("gRPC", |l| l["grpc_address"].is_string());
    let grpc = grpc["grpc_address"].as_str().unwrap().parse().unwrap();
    let headers = [("traceparent", &*parent()), ("x-request-id", "of-grpc")];
    call_raw(grpc, INFER, &headers, b"\0\0\0\0\0");
    let of_grpc = line(&server, "of-grpc");
    assert_eq!(of_grpc["trace_id"], TRACE);
    assert_eq!(of_grpc["path"], INFER);
}

#[test]
fn several_traces_are_none_and_so_is_what_is_no_trace() {
    let server = Process::start(&[]);
    let url = format!("http://{}/models", server.address);
    let upper = parent().to_uppercase();
    let longer = format!("{}-more", parent());
    let two = parent();
    for (id, values) in [
        ("none", &[][..]),
        ("two", &[&*two, &two]),
        ("upper", &[&*upper]),
        ("longer", &[&*longer]),
        ("empty", &[""]),
    ] {
        let mut asked = agent().get(&url).header("X-Request-Id", id);
        for value in values {
            asked = asked.header("traceparent", *value);
        }
        Answer::of(asked.call()).ok();
        assert_eq!(line(&server, id).get("trace_id"), None, "{id}");
    }
}

/// Warnings of the start that speak of traces.
#[cfg(not(feature = "otel"))]
fn warnings_with(variables: &[(&str, &str)]) -> usize {
    let server = Process::start_with_env(&[], variables);
    let log = server.log.so_far();
    let warnings = log.iter().filter(|l| l["level"] == "WARN");
    let messages = warnings.filter_map(|l| l["message"].as_str());
    messages.filter(|m| m.contains("no traces")).count()
}

#[cfg(not(feature = "otel"))]
#[test]
fn build_without_traces_warns_once_if_they_are_asked_for() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
    assert_eq!(warnings_with(&[endpoint]), 1);
    // Not served either way.
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(warnings_with(&[endpoint, grpc]), 1);
    assert_eq!(warnings_with(&[("OTEL_SERVICE_NAME", "birds")]), 0);
    assert_eq!(warnings_with(&[endpoint, ("OTEL_SDK_DISABLED", "true")]), 0);
}

#[test]
fn other_lines_about_a_request_have_its_trace_too() {
    let server = Process::start(&[]);
    let (content_type, body) = multipart(&[("file", &b"no image"[..]); 2]);
    let url = format!("http://{}/classify", server.address);
    let asked = agent().post(url).header("traceparent", parent());
    Answer::of(asked.content_type(content_type).send(&body[..])).ok();
    let item = server.log.line("an image of a list", |l| l["index"] == 1);
    assert_eq!(item["span"]["trace_id"], json!(TRACE), "{item}");
}

#[cfg(feature = "otel")]
#[test]
fn collector_by_https_must_be_of_the_authorities_that_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (collector, authority) = tls_server(dir.path(), move |request: &OfCollector, _| {
        let _ = tell.send(request.head.clone()); // the test may have ended
    });
    let endpoint = format!("https://127.0.0.1:{}", collector.port);
    let start = |more: &[(&str, &str)]| {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ];
        let server = Process::start_with_env(&[], &[&variables[..], more].concat());
        let url = format!("http://{}/classify", server.address);
        let photo = fixture_bytes("photos/espresso.png");
        Answer::of(agent().post(url).send(&photo[..])).ok();
        server
    };

    let stranger = start(&[]);
    stranger.log.message("traces are lost");
    assert!(told.try_recv().is_err());

    let authority = authority.to_str().unwrap();
    let _trusting = start(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", authority)]);
    let head = told.recv_timeout(PATIENCE).expect("traces");
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
}
