//! Where the time went: `Server-Timing` on whatever answers photos, and `timing=true`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Answer, Settings, TestServer, fixture_bytes, multipart, tiny};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));

static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));

const STAGES: [&str; 6] = ["read", "decode", "preprocess", "queue", "infer", "respond"];

/// Milliseconds by stage.
fn header(answer: &Answer) -> BTreeMap<String, f64> {
    let text = answer.header("server-timing").expect("Server-Timing");
    let stages = text.split(", ").map(|stage| {
        let mut parts = stage.split(';');
        let name = parts.next().unwrap().to_owned();
        let time = parts.next().unwrap().strip_prefix("dur=").unwrap();
        (name, time.parse().unwrap())
    });
    stages.collect()
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn every_answer_about_photos_has_the_stages() {
    let (form, two) = multipart(&[("file", &ESPRESSO), ("file", b"no image")]);
    let (_, form_of_one) = multipart(&[("data", &ESPRESSO)]);
    let v2 = json!({"inputs": [{
        "name": "input", "datatype": "BYTES", "shape": [1], "data": [base64(&ESPRESSO)],
    }]});
    for answer in [
        SERVER.post("/classify", &ESPRESSO),
        SERVER.post("/classify?explain_image=png", &ESPRESSO),
        SERVER.post_as("/classify", &form, &two),
        SERVER.post_as("/predictions/resnet18-tiny", &form, &form_of_one),
        SERVER.post_json("/v2/models/resnet18-tiny/infer", &v2),
    ] {
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let times = header(&answer);
        let names: Vec<&str> = times.keys().map(String::as_str).collect();
        let mut stages = STAGES;
        stages.sort_unstable();
        assert_eq!(names, stages);
        assert!(times["infer"] > 0.0 && times["decode"] > 0.0, "{times:?}");
    }
    for answer in [SERVER.post("/classify", b"no image"), SERVER.get("/models")] {
        assert_eq!(answer.header("server-timing"), None);
    }
}

/// What the answer for one image says; the stages' names are those of the header.
fn assert_timing(timing: &Value) {
    let names: Vec<&String> = timing.as_object().expect("timing").keys().collect();
    let stages = ["read", "decode", "preprocess", "queue", "infer"].map(|s| format!("{s}_ms"));
    let mut want: Vec<&str> = stages.iter().map(String::as_str).collect();
    want.push("batch_size");
    want.sort_unstable();
    assert_eq!(names, want);
    assert!(timing["infer_ms"].as_f64().unwrap() > 0.0, "{timing}");
    assert!(timing["batch_size"].as_u64().unwrap() >= 1, "{timing}");
}

#[test]
fn answers_tell_it_to_who_asks() {
    let answer = SERVER.post("/classify?timing=true", &ESPRESSO);
    let timing = answer.ok()["timing"].clone();
    assert_timing(&timing);
    // To a hundredth of a millisecond.
    let infer = header(&answer)["infer"];
    assert!((timing["infer_ms"].as_f64().unwrap() - infer).abs() < 0.01);

    let images = json!({"images": [base64(&ESPRESSO), base64(b"no image"), base64(&ESPRESSO)]});
    let list = SERVER.post_json("/classify?timing=true", &images).ok();
    for place in [0, 2] {
        assert_timing(&list["results"][place]["timing"]);
    }
    assert!(list["results"][1]["timing"].is_null());
    for query in ["", "?timing=false"] {
        let answer = SERVER.post(&format!("/classify{query}"), &ESPRESSO).ok();
        assert!(answer.get("timing").is_none());
    }
}

#[test]
fn other_values_and_places_are_refused() {
    for (query, words) in [
        (
            "timing=yes",
            "timing is \"yes\", allowed are true and false",
        ),
        ("timing=", "timing is \"\", allowed are true and false"),
        (
            "timing=true&explain_image=png",
            "timing is \"true\", allowed are false beside explain_image",
        ),
        ("timing=true&timing=true", "timing is given twice"),
    ] {
        let answer = SERVER.post(&format!("/classify?{query}"), &ESPRESSO);
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{query}: {detail}");
    }
    let answer = SERVER.post("/predictions/resnet18-tiny?timing=true", &ESPRESSO);
    assert_eq!(answer.code(), "bad_query");
}
