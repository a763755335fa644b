//! What there is: health, metadata, configuration, statistics and the index, as the protocol writes them.

use serde_json::json;

use super::{error, post_with};
use crate::fake::{FakeModel, plain_png};
use crate::harness::{Answer, Settings, TestServer, agent};

fn serving() -> TestServer {
    let (first, _) = FakeModel::loaded("fake");
    let (second, _) = FakeModel::loaded("other one");
    TestServer::start(vec![first, second], &Settings::default())
}

#[test]
fn health_and_metadata_have_the_protocols_bodies() {
    let server = serving();
    for path in ["/v2", "/v2/"] {
        let answer = server.get(path);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.ok(),
            json!({
                "name": "resnet",
                "version": env!("CARGO_PKG_VERSION"),
                "extensions": [
                    "binary_tensor_data", "classification", "parameters", "schedule_policy", "statistics",
                    "model_configuration",
                ],
            })
        );
    }
    assert_eq!(server.get("/v2/health/live").ok(), json!({"live": true}));
    assert_eq!(server.get("/v2/health/ready").ok(), json!({"ready": true}));
    assert_eq!(
        server.get("/v2/models").ok(),
        json!({"models": ["fake", "other one"]})
    );
    for model in ["/v2/models/fake", "/v2/models/fake/versions/1"] {
        let ready = server.get(&format!("{model}/ready")).ok();
        assert_eq!(ready, json!({"name": "fake", "ready": true}));
        let metadata = server.get(model).ok();
        assert_eq!(
            (
                &metadata["name"],
                &metadata["versions"],
                &metadata["platform"]
            ),
            (&json!("fake"), &json!(["1"]), &json!("onnx_onnxv1"))
        );
        let tensor =
            |name, shape: &[i64]| json!({"name": name, "datatype": "FP32", "shape": shape});
        assert_eq!(metadata["inputs"], json!([tensor("input", &[-1, 3, 2, 2])]));
        let outputs = json!([
            tensor("logits", &[-1, 2]),
            tensor("probabilities", &[-1, 2])
        ]);
        assert_eq!(metadata["outputs"], outputs);
        let properties = metadata["properties"].as_object().unwrap();
        assert!(
            properties.values().all(|value| value.is_string()),
            "{metadata}"
        );
        assert_eq!(properties["sha256"], "0".repeat(64));
        let config = server.get(&format!("{model}/config")).ok();
        assert_eq!(config["max_batch_size"], 32);
        assert_eq!(config["input"][0]["data_type"], "TYPE_FP32");
        assert_eq!(config["input"][0]["dims"], json!([3, 2, 2]));
        assert_eq!(
            config["dynamic_batching"]["preferred_batch_size"],
            json!([8])
        );
    }
    let escaped = server.get("/v2/models/other%20one").ok();
    assert_eq!(escaped["name"], "other one");
}

#[test]
fn statistics_count_images_runs_and_requests() {
    let server = serving();
    let path = "/v2/models/fake/infer";
    let image = |count: usize| {
        let values = vec![0.25; 12 * count];
        json!({"inputs": [{"name": "input", "datatype": "FP32", "shape": [count, 3, 2, 2], "data": values}]})
    };
    server.post_json(path, &image(1)).ok();
    server.post_json(path, &image(3)).ok();
    server.post("/classify", &plain_png(1)).ok();
    assert_eq!(server.post("/classify", b"no image").status, 415);
    for stats in ["/v2/models/fake/stats", "/v2/models/fake/versions/1/stats"] {
        let all = server.get(stats).ok();
        let stats = &all["model_stats"][0];
        assert_eq!(
            (&stats["name"], &stats["version"]),
            (&json!("fake"), &json!("1"))
        );
        assert_eq!(stats["inference_count"], 5);
        let batches = stats["batch_stats"].as_array().unwrap();
        let number = |v: &serde_json::Value| v.as_u64().unwrap();
        let images = batches
            .iter()
            .map(|b| number(&b["batch_size"]) * number(&b["compute_infer"]["count"]));
        assert_eq!(images.sum::<u64>(), 5);
        let runs = batches.iter().map(|b| number(&b["compute_infer"]["count"]));
        assert_eq!(runs.sum::<u64>(), number(&stats["execution_count"]));
        assert_eq!(stats["inference_stats"]["success"]["count"], 3);
        assert_eq!(stats["inference_stats"]["fail"]["count"], 1);
        for stage in ["queue", "compute_input", "compute_infer", "compute_output"] {
            assert_eq!(stats["inference_stats"][stage]["count"], 3, "{stage}");
        }
        assert!(number(&stats["inference_stats"]["success"]["ns"]) > 0);
        assert!(number(&stats["last_inference"]) > 1_600_000_000_000);
        assert_eq!(stats["response_stats"], json!({}));
    }
    let all = server.get("/v2/models/stats").ok();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 2);
    assert_eq!(all["model_stats"][1]["last_inference"], 0);
}

#[test]
fn index_is_asked_with_anything_that_clients_send() {
    let server = serving();
    let expected = json!([
        {"name": "fake", "version": "1", "state": "READY", "reason": ""},
        {"name": "other one", "version": "1", "state": "READY", "reason": ""},
    ]);
    for body in [&b""[..], b"{}", b"{\"ready\": true}", b" \n"] {
        assert_eq!(server.post("/v2/repository/index", body).ok(), expected);
    }
    for body in [&b"x"[..], b"{\"ready\": 1}", b"[]", b"[true]"] {
        let text = error(&server.post("/v2/repository/index", body), 400);
        assert!(
            text.contains("allowed is {\"ready\": true}, {\"ready\": false}, {} or nothing"),
            "{text}"
        );
    }
    error(&server.post("/v2/repository/index", &[b' '; 5000]), 413);
    for what in ["load", "unload"] {
        let path = format!("/v2/repository/models/fake/{what}");
        let text = error(&server.post(&path, b"{}"), 501);
        assert!(
            text.contains("no model can be loaded or unloaded by a request"),
            "{text}"
        );
    }
}

#[test]
fn errors_have_the_protocols_form_whoever_finds_them() {
    let server = serving();
    let version = "model \"fake\" has no version \"2\", served is: 1";
    for (path, status, words) in [
        ("/v2/nothing", 404, "there is nothing at /v2/nothing"),
        (
            "/v2/models/nobody",
            404,
            "there is no model \"nobody\", served are: fake, other one",
        ),
        ("/v2/models/Fake", 404, "there is no model \"Fake\""),
        ("/v2/models/fake/versions/2", 404, version),
        ("/v2/models/fake/versions/2/ready", 404, version),
        ("/v2/models/fake/versions/2/config", 404, version),
        ("/v2/models/fake/versions/2/stats", 404, version),
        ("/v2/models/fake/versions/v10", 404, "no version \"v10\""),
        ("/v2/models/%FF", 400, "the URL is wrong"),
        ("/v2/models/../../etc", 404, "there is nothing at"),
        (
            "/v2/models/..%2F..%2Fetc",
            404,
            "there is no model \"../../etc\"",
        ),
        ("/v2/models/fake/infer", 405, "GET is not allowed"),
        ("/v2/systemsharedmemory/status", 404, "there is nothing at"),
    ] {
        let text = error(&server.get(path), status);
        assert!(text.contains(words), "{path}: {text}");
    }
    for path in [
        "/v2/models/nobody/infer",
        "/v2/models/fake/versions/2/infer",
    ] {
        error(&server.post(path, b"{}"), 404);
    }
    // The other routes keep theirs.
    assert_eq!(server.get("/nothing").code(), "no_such_route");
    assert_eq!(server.get("/v22").code(), "no_such_route");
}

#[test]
fn nothing_is_ready_before_the_models_are() {
    let server = TestServer::start_unready(&Settings::default());
    assert_eq!(server.get("/v2/health/live").ok(), json!({"live": true}));
    server.get("/v2").ok();
    for path in [
        "/v2/health/ready",
        "/v2/models",
        "/v2/models/fake/ready",
        "/v2/models/stats",
    ] {
        let answer = server.get(path);
        assert_eq!(error(&answer, 503), "the models are still loading");
        assert!(answer.header("retry-after").is_some());
    }
    let (model, _) = FakeModel::loaded("fake");
    server.replace_models(vec![model], &Settings::default());
    server.get("/v2/models/fake/ready").ok();
    server.desk.set_draining();
    for path in ["/v2/health/ready", "/v2/models/fake/ready"] {
        assert_eq!(error(&server.get(path), 503), "the server is shutting down");
    }
}

#[test]
fn keys_lock_all_but_health_and_errors_keep_their_form() {
    let server = serving();
    let keys = resnet::desk::KeySet::parse("test", "alice:alices-very-own-key-1");
    server.desk.set_keys(keys.unwrap());
    for path in [
        "/v2",
        "/v2/models",
        "/v2/models/fake",
        "/v2/models/stats",
        "/v2/nothing",
    ] {
        let answer = server.get(path);
        assert!(error(&answer, 401).contains("a key is needed"));
        assert!(answer.header("www-authenticate").is_some());
    }
    error(&server.post("/v2/models/fake/infer", b"{}"), 401);
    let with_key = [("authorization", "Bearer alices-very-own-key-1")];
    let answer = post_with(&server, "/v2/repository/index", &with_key, b"");
    assert_eq!(answer.status, 200);
    let head = agent().head(server.url("/v2/health/ready")).call();
    assert_eq!(Answer::of(head).status, 200);
}
