//! `/metrics`: every documented instrument, counts that add up, and promtool's opinion where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{
    Answer, Settings, TestServer, agent, eventually, fixture_bytes, skipped, tiny,
};

#[test]
fn every_documented_instrument_is_there_and_counts_add_up() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let photo = fixture_bytes("photos/espresso.png");
    for _ in 0..3 {
        server.post("/classify", &photo).ok();
    }
    server.post("/classify", b"no image");
    server.post_json("/classify", &json!({"images": ["aGVsbG8+", "?"]}));
    server.get("/nope/1");
    server.get("/nope/2");
    server.get("/models/resnet18-tiny");
    // A body is given back when its request is gone, just after its answer.
    eventually("bodies are given back", || {
        String::from_utf8_lossy(&server.get("/metrics").body)
            .contains("resnet_body_memory_bytes 0\n")
    });
    let answer = server.get("/metrics");
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let text = String::from_utf8(answer.body).unwrap();
    for line in [
        r#"resnet_requests_total{model="resnet18-tiny",route="/classify",status="200"} 4"#,
        r#"resnet_requests_total{model="resnet18-tiny",route="/classify",status="415"} 1"#,
        r#"resnet_requests_total{model="",route="unmatched",status="404"} 2"#,
        r#"resnet_requests_total{model="",route="/models/{name}",status="200"} 1"#,
        r#"resnet_request_duration_seconds_count{outcome="answered",route="/classify"} 4"#,
        r#"resnet_request_duration_seconds_count{outcome="error",route="/classify"} 1"#,
        r#"resnet_image_problems_total{code="unsupported_media_type"} 2"#,
        r#"resnet_image_problems_total{code="bad_base64"} 1"#,
        r#"resnet_requests_rejected_total{model="resnet18-tiny",reason="overloaded"} 0"#,
        r#"resnet_requests_rejected_total{model="",reason="not_ready"} 0"#,
        r#"resnet_requests_total{model="resnet18-tiny",route="/inference.GRPCInferenceService/ModelInfer",status="500"} 0"#,
        r#"resnet_requests_total{model="resnet18-tiny",route="/v2/models/{model}/versions/{version}/infer",status="504"} 0"#,
        r#"resnet_decode_panics_total{format="webp"} 0"#,
        r#"resnet_decode_panics_total{format="tga"} 0"#,
        r#"resnet_requests_canceled_total{stage="decode"} 0"#,
        "resnet_body_memory_bytes 0",
        "resnet_queue_max 256",
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="read"} 4"#,
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="decode"} 3"#,
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="preprocess"} 3"#,
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="queue"} 3"#,
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="infer"} 3"#,
        r#"resnet_stage_duration_seconds_count{model="resnet18-tiny",stage="respond"} 4"#,
        r#"resnet_batch_size_sum{model="resnet18-tiny"} 3"#,
        r#"resnet_queue_depth{model="resnet18-tiny",stage="decode"} 0"#,
        r#"resnet_queue_depth{model="resnet18-tiny",stage="infer"} 0"#,
        "resnet_requests_in_flight 1",
        r#"resnet_image_bytes_count{format="png"} 3"#,
        r#"resnet_image_pixels_sum{format="png"} 268203"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
    // What docs/METRICS.md promises and what is exported are the same names.
    let documented = include_str!("../../docs/METRICS.md");
    for name in text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .filter_map(|l| l.split(' ').next())
    {
        assert!(
            documented.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
    promtool(&text);
}

/// The value of a series; none where it is not told.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut values = text.lines().filter_map(|line| line.strip_prefix(series));
    values.next()?.trim().parse().ok()
}

#[test]
fn what_the_model_says_of_the_photos_is_told() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let espresso = fixture_bytes("photos/espresso.png");
    let answer = server.post("/classify?top_k=200", &espresso).ok();
    server.post("/classify?top_k=1", &espresso).ok();
    server.post("/classify", b"no image");
    let probabilities: Vec<f64> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["probability"].as_f64().unwrap())
        .collect();
    let entropy: f64 = probabilities.iter().map(|p| -p * p.log2()).sum();
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    for (name, of_one) in [
        ("resnet_top1_probability", probabilities[0]),
        ("resnet_top1_margin", probabilities[0] - probabilities[1]),
        ("resnet_prediction_entropy", entropy),
    ] {
        let of = |end: &str| value(&text, &format!("{name}_{end}{{model=\"resnet18-tiny\"}}"));
        assert_eq!(of("count"), Some(2.0), "{name} in {text}");
        let sum = of("sum").unwrap();
        assert!((sum - 2.0 * of_one).abs() < 1e-5, "{name}: {sum} {of_one}");
    }
    let classes = "resnet_recent_predictions";
    for (series, images) in [
        (r#"class="espresso",class_index="193""#, 2.0),
        (r#"class="other",class_index="""#, 0.0),
    ] {
        let series = format!("{classes}{{{series},model=\"resnet18-tiny\"}}");
        assert_eq!(value(&text, &series), Some(images), "{series} in {text}");
    }
    // Of a model that is served no more nothing is told.
    let mut other = tiny();
    other.name = "other".into();
    server.replace_models(vec![other], &Settings::default());
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let told = text.lines().filter(|line| line.starts_with(classes));
    let told: Vec<&str> = told.collect();
    assert_eq!(
        told,
        [r#"resnet_recent_predictions{class="other",class_index="",model="other"} 0"#]
    );
}

#[test]
fn who_asks_for_openmetrics_gets_exemplars() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = agent().post(server.url("/classify"));
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = Answer::of(request.send(&fixture_bytes("photos/espresso.png")[..]));
    let id = answer.header("x-request-id").unwrap().to_owned();
    let scrape = |accept: &str| {
        let request = agent().get(server.url("/metrics"));
        Answer::of(request.header("Accept", accept).call())
    };
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let answer = scrape(prometheus);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let exemplar = format!("# {{request_id=\"{id}\",trace_id=\"{trace}\"}} ");
    let mut lines = text.lines().filter(|line| line.contains(&exemplar));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("{id} is not in {text}"));
    assert!(
        line.starts_with(
            r#"resnet_request_duration_seconds_bucket{outcome="answered",route="/classify",le=""#
        ),
        "{line}"
    );
    for accept in [
        "*/*",
        "text/plain",
        "application/openmetrics-text;q=0",
        "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1",
    ] {
        let answer = scrape(accept);
        assert_eq!(answer.header("vary"), Some("Accept"));
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; version=0.0.4"), "{accept}");
    }
}

#[test]
fn paths_and_ids_make_no_new_series() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let series = || {
        String::from_utf8(server.get("/metrics").body)
            .unwrap()
            .lines()
            .count()
    };
    server.get("/x");
    server.get("/models/x");
    server.post("/classify?model=x", b"");
    server.get("/metrics");
    let before = series();
    for i in 0..200 {
        server.get(&format!("/x{i}"));
        server.get(&format!("/models/x{i}"));
        server.post(&format!("/classify?model=x{i}"), b"");
    }
    assert_eq!(series(), before);
}

/// Runs `promtool check metrics` where it is installed, as it is where CI runs.
fn promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skipped("promtool is not installed");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
}
