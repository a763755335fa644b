//! Inference requests: what they give, what they refuse, and that they pass the desk like any other.

use std::sync::Arc;
use std::thread;

use serde_json::{Value, json};

use super::{bytes_of, error, message, outputs, post_binary, post_with, with_lengths};
use crate::fake::{FakeModel, Gate, POISON, plain_png};
use crate::harness::{Answer, Process, Settings, TestServer, agent, eventually};

const INFER: &str = "/v2/models/fake/infer";

fn start(settings: &Settings) -> (TestServer, Arc<Gate>) {
    let (model, gate) = FakeModel::loaded("fake");
    (TestServer::start(vec![model], settings), gate)
}

fn serving() -> TestServer {
    start(&Settings::default()).0
}

/// An image of twelve equal values.
fn plain(value: f32) -> Vec<f32> {
    vec![value; 12]
}

fn tensor(values: &[f32]) -> Value {
    message(
        "FP32",
        &[values.len() / 12, 3, 2, 2],
        &json!({"data": values}),
    )
}

#[test]
fn tensor_gives_logits_and_probabilities() {
    let server = serving();
    let answer = server.post_json(INFER, &tensor(&plain(0.5)));
    let body = answer.ok();
    assert_eq!(
        (&body["model_name"], &body["model_version"]),
        (&json!("fake"), &json!("1"))
    );
    assert!(body.get("id").is_none(), "nobody gave one");
    let found = outputs(&answer);
    // The fake network's logits are the mean and the first value.
    assert_eq!(found[0].0, "logits");
    assert_eq!(found[0].1.numbers(), [0.5, 0.5]);
    assert_eq!(found[1].0, "probabilities");
    assert_eq!(found[1].1.numbers(), [0.5, 0.5]);
    assert_eq!(body["outputs"][0]["shape"], json!([1, 2]));
}

#[test]
fn batch_is_answered_in_order_and_takes_a_place_for_each_image() {
    let settings = Settings {
        workers: 1,
        queue_capacity: 4,
        ..Settings::default()
    };
    let (server, gate) = start(&settings);
    let values: Vec<f32> = (0..3).flat_map(|i| plain(i as f32)).collect();
    let found = outputs(&server.post_json(INFER, &tensor(&values)));
    assert_eq!(found[0].1.numbers(), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    let five = [values.clone(), values[..24].to_vec()].concat();
    let refused = server.post_json(INFER, &tensor(&five));
    assert!(
        error(&refused, 503).contains("the queue holds 4"),
        "{refused:?}"
    );
    assert!(refused.header("retry-after").is_some());
    // All or none: nothing of it was run.
    assert_eq!(gate.batches().iter().sum::<usize>(), 3);
    let many = tensor(&[0.0; 33 * 12]);
    let text = error(&server.post_json(INFER, &many), 400);
    assert_eq!(text, "the request has 33 images, allowed are 32");
}

#[test]
fn one_bad_image_of_several_is_named_and_the_request_has_no_answer() {
    let server = serving();
    let (good, poison) = (plain_png(1), plain_png(POISON));
    let of = |photos: &[&[u8]]| {
        let tail = with_lengths(photos);
        let rest = json!({"parameters": {"binary_data_size": tail.len()}});
        post_binary(
            &server,
            INFER,
            &message("BYTES", &[photos.len()], &rest),
            &tail,
        )
    };
    assert_eq!(outputs(&of(&[&good, &good]))[0].1.numbers().len(), 4);
    let text = error(&of(&[&good, b"no image", &good]), 415);
    assert!(text.starts_with("image 1: this is not an image"), "{text}");
    let text = error(&of(&[b"no image"]), 415);
    assert!(text.starts_with("this is not an image"), "{text}");
    let answer = of(&[&good, &poison]);
    let id = answer.header("x-request-id").unwrap().to_owned();
    let text = error(&answer, 500);
    assert!(
        text.contains("something went wrong inside") && text.contains(&id),
        "{text}"
    );
    let text = error(&of(&[b""]), 400);
    assert!(!text.is_empty());
}

#[test]
fn classes_are_lines_with_the_networks_own_numbers() {
    let server = serving();
    let mut request = tensor(&[plain(0.25), plain(2.0)].concat());
    request["inputs"][0]["data"][0] = json!(1.5);
    request["outputs"] = json!([
        {"name": "logits", "parameters": {"classification": 1}},
        {"name": "probabilities", "parameters": {"classification": 9, "binary_data": true}},
    ]);
    let answer = server.post_json(INFER, &request);
    let found = outputs(&answer);
    // A tie goes to the lower index.
    assert_eq!(found[0].1.lines(), ["1.5:1:1", "2:0:0"]);
    let lines = found[1].1.lines();
    assert_eq!(lines.len(), 4, "clipped to the number of classes");
    assert_eq!(lines[2..], ["0.5:0:0", "0.5:1:1"]);
    let length = answer
        .header(super::JSON_LENGTH)
        .unwrap()
        .parse::<usize>()
        .unwrap();
    let body: Value = serde_json::from_slice(&answer.body[..length]).unwrap();
    assert_eq!(body["outputs"][0]["datatype"], "BYTES");
    assert_eq!(body["outputs"][0]["shape"], json!([2, 1]));
    assert_eq!(body["outputs"][1]["shape"], json!([2, 2]));
}

#[test]
fn pixels_are_normalized_here_and_are_those_of_the_photo() {
    let server = serving();
    let pixels = [51, 0, 0].repeat(4);
    let json = server.post_json(
        INFER,
        &message("UINT8", &[1, 2, 2, 3], &json!({"data": pixels})),
    );
    let rest = json!({"parameters": {"binary_data_size": 12}});
    let binary = post_binary(
        &server,
        INFER,
        &message("UINT8", &[1, 2, 2, 3], &rest),
        &pixels,
    );
    let photo = post_with(&server, INFER, &[(super::JSON_LENGTH, "0")], &plain_png(51));
    let expected = outputs(&photo);
    assert_eq!(expected[0].1.numbers()[1], 51.0 / 255.0);
    assert_eq!(outputs(&json), expected);
    assert_eq!(outputs(&binary), expected);
}

#[test]
fn wrong_tensors_are_400_and_the_connection_goes_on() {
    let server = serving();
    for (datatype, shape, rest, words) in [
        (
            "FP64",
            &[1, 3, 2, 2][..],
            json!({"data": plain(0.0)}),
            "is of datatype \"FP64\"; allowed are FP32",
        ),
        (
            "FP32",
            &[1, 3, 4, 4],
            json!({"data": plain(0.0)}),
            "has shape [1, 3, 4, 4], allowed are [N, 3, 2, 2]",
        ),
        (
            "FP32",
            &[1, 3, 2, 2],
            json!({"data": [1]}),
            "has 1 elements, its shape [1, 3, 2, 2] has 12",
        ),
        (
            "FP32",
            &[1, 3, 2, 2],
            json!({"parameters": {"binary_data_size": 48}}),
            "no header Inference-Header-Content-Length",
        ),
        (
            "BYTES",
            &[1],
            json!({"data": ["?"]}),
            "has an element 0 that is not base64",
        ),
    ] {
        let text = error(
            &server.post_json(INFER, &message(datatype, shape, &rest)),
            400,
        );
        assert!(text.contains(words), "{text}");
    }
    let mut nan = plain(0.0);
    nan[3] = f32::NAN;
    let rest = json!({"parameters": {"binary_data_size": 48}});
    let answer = post_binary(
        &server,
        INFER,
        &message("FP32", &[1, 3, 2, 2], &rest),
        &bytes_of(&nan),
    );
    assert!(error(&answer, 400).contains("has NaN as element 3, allowed are finite numbers"));
    // Their sum is beyond what the network can count to, which is no fault of the server's.
    let text = error(&server.post_json(INFER, &tensor(&plain(3e38))), 422);
    assert!(
        text.contains("no finite answer to these values: output 0 is inf"),
        "{text}"
    );
    server.post_json(INFER, &tensor(&plain(0.0))).ok();
}

#[test]
fn timeout_lowers_the_deadline_and_is_in_microseconds() {
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let (server, gate) = start(&settings);
    gate.close();
    let with = |parameters: Value| {
        let mut request = tensor(&plain(0.0));
        request["parameters"] = parameters;
        server.post_json(INFER, &request)
    };
    let text = error(&with(json!({"timeout": 20_000})), 504);
    assert!(text.contains("the deadline passed"), "{text}");
    gate.open();
    with(json!({"timeout": 60_000_000, "priority": 1})).ok();
    with(json!({"timeout": 0})).ok();
    for wrong in [
        json!({"timeout": -1}),
        json!({"timeout": "1s"}),
        json!({"priority": 1.5}),
    ] {
        error(&with(wrong), 400);
    }
    let text = error(&with(json!({"sequence_id": 5})), 501);
    assert!(text.contains("this server has no sequences"), "{text}");
    let header = [("x-request-timeout-ms", "0")];
    let text = error(&post_with(&server, INFER, &header, b"{}"), 400);
    assert!(text.contains("X-Request-Timeout-Ms"), "{text}");
}

#[test]
fn full_queue_and_large_body_are_refused_in_the_protocols_words() {
    let settings = Settings {
        workers: 1,
        queue_capacity: 1,
        max_body_bytes: 64 << 10,
        ..Settings::default()
    };
    let (server, gate) = start(&settings);
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| server.post_json(INFER, &tensor(&plain(0.0))));
        gate.wait_for(1);
        let second = scope.spawn(|| server.post_json(INFER, &tensor(&plain(0.0))));
        eventually("the second waits", || {
            let text = String::from_utf8(server.get("/metrics").body).unwrap();
            text.contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 1")
        });
        let refused = server.post_json(INFER, &tensor(&plain(0.0)));
        assert!(refused.header("retry-after").is_some());
        error(&refused, 503);
        gate.open();
        first.join().unwrap().ok();
        second.join().unwrap().ok();
    });
    let large = vec![b' '; 65 << 10];
    assert!(error(&server.post(INFER, &large), 413).contains("allowed are 65536 bytes"));
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for line in [
        "resnet_requests_total{model=\"fake\",route=\"/v2/models/{model}/infer\",status=\"200\"} 2",
        "resnet_requests_rejected_total{model=\"fake\",reason=\"queue_full\"} 1",
        "resnet_requests_rejected_total{model=\"fake\",reason=\"body_too_large\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    eventually("bodies are given back", || {
        String::from_utf8_lossy(&server.get("/metrics").body)
            .contains("resnet_body_memory_bytes 0\n")
    });
}

#[test]
fn request_has_its_line_in_the_log_with_model_and_images() {
    let server = Process::start(&[]);
    let url = format!("http://{}/v2/models/resnet18-tiny/infer", server.address);
    let photo = crate::harness::fixture_bytes("photos/espresso.png");
    let request = agent().post(url).header(super::JSON_LENGTH, "0");
    assert_eq!(Answer::of(request.send(&photo[..])).status, 200);
    let line = server
        .log
        .line("the request's", |l| l["target"] == "resnet::access");
    assert_eq!(line["path"], "/v2/models/resnet18-tiny/infer");
    assert_eq!(
        (&line["model"], &line["images"], &line["failed"]),
        (&json!("resnet18-tiny"), &json!(1), &json!(0))
    );
    assert!(
        line["infer_ms"].is_number() && line["decode_ms"].is_number(),
        "{line}"
    );
}
