//! `/classify` on the built-in models: the three body forms, the query, and what one answer looks like.

use std::sync::LazyLock;

use base64::Engine as _;
use kernels::nn::Precision;
use resnet::engine::EngineOptions;
use resnet::registry::{ModelRef, load};
use serde_json::json;

use crate::harness::{
    Answer, Settings, TestServer, agent, fixture_bytes, fixture_json, multipart, raw, tiny,
};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));
static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn small_models_answers_are_those_of_pillow_and_onnx_runtime() {
    answers_are_those_of_the_reference(&SERVER, "resnet18-tiny");
}

#[test]
fn presets_answers_are_those_of_pillow_and_onnx_runtime() {
    let exact = EngineOptions {
        precision: Some(Precision::F32),
        ..EngineOptions::default()
    };
    let preset = load(&ModelRef::preset().unwrap(), &exact).unwrap();
    let server = TestServer::start(vec![preset], &Settings::default());
    answers_are_those_of_the_reference(&server, "efficientnet-lite0");
}

fn answers_are_those_of_the_reference(server: &TestServer, model: &str) {
    let expected = fixture_json(&format!("photos/{model}.json"));
    for (name, photo) in expected["photos"].as_object().unwrap() {
        let answer = server
            .post("/classify", &fixture_bytes(&format!("photos/{name}")))
            .ok();
        assert_eq!(answer["model"], model);
        let predictions = answer["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), 5);
        for (got, want) in predictions.iter().zip(photo["top5"].as_array().unwrap()) {
            assert_eq!(got["class_index"], want["class_index"], "{name}");
            let (got, want) = (
                got["probability"].as_f64().unwrap(),
                want["probability"].as_f64().unwrap(),
            );
            assert!((got - want).abs() < 1e-4, "{name}: {got} {want}");
        }
        assert_eq!(predictions[0]["wnid"], photo["wnid"]);
        assert_eq!(
            answer["image"],
            json!({"format": "png", "width": 299, "height": 299})
        );
    }
}

#[test]
fn one_answer_has_the_documented_form() {
    let answer = SERVER.post("/classify?top_k=1", &ESPRESSO).ok();
    let probability = answer["predictions"][0]["probability"].clone();
    assert_eq!(
        answer,
        json!({
            "model": "resnet18-tiny",
            "predictions": [{
                "class_index": 193, "wnid": "n07920052", "label": "espresso", "synset": "espresso",
                "probability": probability,
            }],
            "output_kind": "logits",
            "image": {"format": "png", "width": 299, "height": 299},
        })
    );
}

#[test]
fn every_body_form_and_method_gives_the_same_answer() {
    let want = SERVER.post("/classify", &ESPRESSO).ok();
    let put = Answer::of(agent().put(SERVER.url("/classify")).send(&ESPRESSO[..]));
    assert_eq!(put.ok(), want);
    for content_type in [
        "image/jpeg",
        "image/png",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        assert_eq!(
            SERVER.post_as("/classify", content_type, &ESPRESSO).ok(),
            want,
            "{content_type}"
        );
    }
    for field in ["file", "image", "data", "files[]"] {
        let (content_type, body) = multipart(&[(field, &ESPRESSO), ("comment", b"hello")]);
        assert_eq!(
            SERVER.post_as("/classify", &content_type, &body).ok(),
            want,
            "{field}"
        );
    }
    let encoded = base64(&ESPRESSO);
    assert_eq!(
        SERVER
            .post_json("/classify", &json!({"image": encoded}))
            .ok(),
        want
    );
    let wrapped: Vec<&str> = encoded
        .as_bytes()
        .chunks(76)
        .map(|l| std::str::from_utf8(l).unwrap())
        .collect();
    let wrapped = json!({"image": wrapped.join("\n")});
    assert_eq!(SERVER.post_json("/classify", &wrapped).ok(), want);
    let data_url = format!("data:image/png;base64,{}", encoded.trim_end_matches('='));
    assert_eq!(
        SERVER
            .post_json("/classify", &json!({"image": data_url}))
            .ok(),
        want
    );
    assert_eq!(
        SERVER
            .post("/models/resnet18-tiny/classify", &ESPRESSO)
            .ok(),
        want
    );
    assert_eq!(
        SERVER.post("/classify?model=resnet18-tiny", &ESPRESSO).ok(),
        want
    );
}

#[test]
fn body_without_content_type_is_an_image() {
    let mut request =
        b"POST /classify?top_k=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
    request.extend(format!("Content-Length: {}\r\n\r\n", ESPRESSO.len()).bytes());
    request.extend_from_slice(&ESPRESSO);
    let answer = raw(SERVER.address, &request);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"espresso\""),
        "{answer}"
    );
}

#[test]
fn chunked_body_is_an_image() {
    let mut request =
        b"POST /classify?top_k=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for chunk in ESPRESSO.chunks(1000) {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend_from_slice(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    let answer = raw(SERVER.address, &request);
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"espresso\""),
        "{answer}"
    );
}

#[test]
fn bad_photo_never_fails_its_neighbours() {
    let alone = SERVER.post("/classify", &ESPRESSO).ok();
    let (content_type, body) = multipart(&[
        ("file", &ESPRESSO),
        ("file", b"no image"),
        ("file", &ESPRESSO),
    ]);
    let forms = [
        SERVER.post_as("/classify", &content_type, &body).ok(),
        SERVER
            .post_json(
                "/classify",
                &json!({"images": [base64(&ESPRESSO), "bm8gaW1hZ2U=", base64(&ESPRESSO)]}),
            )
            .ok(),
    ];
    for answer in forms {
        assert_eq!(answer["model"], "resnet18-tiny");
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        for good in [&results[0], &results[2]] {
            assert_eq!(good["predictions"], alone["predictions"]);
            assert_eq!(good["image"], alone["image"]);
        }
        assert_eq!(
            (results[1]["status"].as_u64(), results[1]["code"].as_str()),
            (Some(415), Some("unsupported_media_type"))
        );
    }
    let answer = SERVER
        .post_json("/classify", &json!({"images": ["%%%", base64(&ESPRESSO)]}))
        .ok();
    assert_eq!(answer["results"][0]["code"], "bad_base64");
    assert_eq!(answer["results"][1]["predictions"], alone["predictions"]);
}

#[test]
fn list_of_one_answers_a_list() {
    let answer = SERVER
        .post_json("/classify", &json!({"images": [base64(&ESPRESSO)]}))
        .ok();
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
}

#[test]
fn top_k_runs_from_one_to_the_number_of_classes() {
    for k in [1, 2, 200] {
        let answer = SERVER.post(&format!("/classify?top_k={k}"), &ESPRESSO).ok();
        let predictions = answer["predictions"].as_array().unwrap().clone();
        assert_eq!(predictions.len(), k);
        let probabilities: Vec<f64> = predictions
            .iter()
            .map(|p| p["probability"].as_f64().unwrap())
            .collect();
        assert!(probabilities.is_sorted_by(|a, b| a >= b));
        if k == 200 {
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        }
    }
    for wrong in ["0", "-1", "201", "five", "", "1e2", "99999999999999999999"] {
        let answer = SERVER.post(&format!("/classify?top_k={wrong}"), &ESPRESSO);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_query"),
            "{wrong}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains(&format!("\"{wrong}\"")) && detail.contains("1 to 200"),
            "{detail}"
        );
    }
}

#[test]
fn unknown_parameters_models_and_paths_are_named() {
    let cases = [
        ("/classify?topk=3", 400, "bad_query", "topk"),
        ("/classify?exif=maybe", 400, "bad_query", "auto and ignore"),
        (
            "/classify?model=nope",
            404,
            "unknown_model",
            "resnet18-tiny",
        ),
        ("/models/nope/classify", 404, "unknown_model", "nope"),
        (
            "/models/resnet18-tiny/classify?model=other",
            400,
            "bad_query",
            "which the path names",
        ),
        ("/clasify", 404, "no_such_route", "/clasify"),
        ("/classify?top_k=5&top_k=6", 400, "bad_query", "twice"),
        ("/models/%ff/classify", 400, "bad_url", "UTF-8"),
    ];
    for (path, status, code, word) in cases {
        let answer = SERVER.post(path, &ESPRESSO);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path}"
        );
        assert!(
            answer.json()["detail"].as_str().unwrap().contains(word),
            "{path}: {answer:?}"
        );
    }
}

#[test]
fn wrong_method_is_405_with_allow() {
    for (path, allow) in [
        ("/classify", "POST,PUT,OPTIONS"),
        ("/metrics", "GET,HEAD,OPTIONS"),
    ] {
        let answer = Answer::of(agent().delete(SERVER.url(path)).call());
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (405, "method_not_allowed")
        );
        assert_eq!(answer.header("allow"), Some(allow));
    }
}

#[test]
fn options_is_204_with_what_is_allowed() {
    let index = SERVER.get("/").json();
    let routes = index["routes"].as_array().unwrap();
    let routes = routes.iter().map(|route| route.as_str().unwrap());
    for route in routes.chain(["/"]) {
        let path = route.replace("{name}", "resnet18-tiny");
        let options = Answer::of(agent().options(SERVER.url(&path)).call());
        assert_eq!(
            (options.status, &options.body[..]),
            (204, &b""[..]),
            "{path}"
        );
        let other = Answer::of(agent().delete(SERVER.url(&path)).call());
        assert_eq!(options.header("allow"), other.header("allow"), "{path}");
    }
    let unknown = Answer::of(agent().options(SERVER.url("/nope")).call());
    assert_eq!(unknown.code(), "no_such_route");
    // HAProxy's default check, and the server as a whole.
    for request in [
        "OPTIONS / HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let answer = raw(SERVER.address, request.as_bytes());
        assert!(answer.contains(" 204 No Content\r\n"), "{answer}");
        assert!(answer.contains("\r\nallow: GET,HEAD"), "{answer}");
    }
}

#[test]
fn orientation_is_applied_unless_ignored() {
    let photo = fixture_bytes("images/exif_orientation_6.jpg");
    let upright = SERVER.post("/classify", &photo).ok();
    let stored = SERVER.post("/classify?exif=ignore", &photo).ok();
    let size = |v: &serde_json::Value| {
        (
            v["image"]["width"].as_u64().unwrap(),
            v["image"]["height"].as_u64().unwrap(),
        )
    };
    assert_eq!(size(&upright), (size(&stored).1, size(&stored).0));
    assert_ne!(upright["predictions"], stored["predictions"]);
}

#[test]
fn request_id_is_echoed_and_in_the_problem() {
    let answer = Answer::of(
        agent()
            .get(SERVER.url("/nope"))
            .header("x-request-id", "my-id.1")
            .call(),
    );
    assert_eq!(answer.header("x-request-id"), Some("my-id.1"));
    assert_eq!(answer.json()["request_id"], "my-id.1");
    assert_eq!(
        SERVER.get("/livez").header("x-request-id").map(str::len),
        Some(16)
    );
}

#[test]
fn models_are_described_with_digest_and_classes() {
    let list = SERVER.get("/models").ok();
    assert_eq!(list["default"], "resnet18-tiny");
    let model = SERVER.get("/models/resnet18-tiny").ok();
    assert_eq!(
        model["sha256"],
        "223ea6225a0cbeb01770b630df61703643d9949ae11781d1bceeb4d8c8d94946"
    );
    assert_eq!(model["input"]["shape"], json!([-1, 3, 64, 64]));
    assert_eq!(model["preprocess"]["resize"], 64);
    assert_eq!(
        model["output"],
        json!({"name": "logits", "kind": "logits", "classes": 200})
    );
    assert_eq!(model["classes"].as_array().unwrap().len(), 200);
    assert_eq!(model["classes"][193]["label"], "espresso");
    assert!(list["models"][0].get("classes").is_none());
    assert_eq!(SERVER.get("/models/nope").code(), "unknown_model");
}
