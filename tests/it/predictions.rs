//! TorchServe's calls, for clients that come from there.

use serde_json::json;

use crate::fake::{FakeModel, plain_png};
use crate::harness::{Answer, Settings, TestServer, agent, fixture_bytes, multipart, raw, tiny};

#[test]
fn answer_is_a_number_a_label_the_most_probable_first() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let photo = fixture_bytes("photos/espresso.png");
    let classes = server.post("/classify", &photo).ok();
    let path = "/predictions/resnet18-tiny";
    let answer = server.post(path, &photo);
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert!(text.starts_with("{\"espresso\":"), "{text}");
    let body = answer.ok();
    assert_eq!(body.as_object().unwrap().len(), 5);
    for prediction in classes["predictions"].as_array().unwrap() {
        let label = prediction["label"].as_str().unwrap();
        assert_eq!(body[label], prediction["probability"], "{label}");
    }
    let put = Answer::of(agent().put(server.url(path)).send(&photo[..]));
    assert_eq!(put.ok(), body);
    let (kind, form) = multipart(&[("data", &photo)]);
    assert_eq!(server.post_as(path, &kind, &form).ok(), body);
    let (kind, form) = multipart(&[("data", &photo), ("data", &photo)]);
    assert_eq!(server.post_as(path, &kind, &form).ok(), json!([body, body]));
    assert_eq!(server.post(&format!("{path}/1"), &photo).ok(), body);
    assert_eq!(
        server
            .post(&format!("{path}?top_k=1"), &photo)
            .ok()
            .as_object()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn label_that_several_classes_have_comes_with_its_index() {
    let (mut model, _) = FakeModel::loaded("fake");
    model.labels = resnet::registry::Labels::parse("crane\ncrane\n").unwrap();
    let server = TestServer::start(vec![model], &Settings::default());
    let body = server.post("/predictions/fake", &plain_png(51)).ok();
    let keys: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["crane (0)", "crane (1)"]);
}

#[test]
fn what_cannot_be_predicted_is_a_problem() {
    let (model, _) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![model], &Settings::default());
    let path = "/predictions/fake";
    for (path, body, status, code) in [
        ("/predictions/nobody", plain_png(1), 404, "unknown_model"),
        ("/predictions/fake/2", plain_png(1), 404, "unknown_version"),
        (path, b"no image".to_vec(), 415, "unsupported_media_type"),
        (path, Vec::new(), 400, "empty_body"),
    ] {
        let answer = server.post(path, &body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
    }
    let (kind, form) = multipart(&[("data", &plain_png(1)), ("data", b"no image")]);
    let answer = server.post_as(path, &kind, &form);
    assert_eq!(answer.status, 415);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("image 1: "), "{detail}");
    let get = server.get(path);
    assert_eq!(
        (get.status, get.header("allow")),
        (405, Some("POST,PUT,OPTIONS"))
    );
}

#[test]
fn ping_tells_whether_the_server_is_ready() {
    let server = TestServer::start_unready(&Settings::default());
    assert_eq!(server.get("/ping").status, 503);
    let (model, _) = FakeModel::loaded("fake");
    server.replace_models(vec![model], &Settings::default());
    assert_eq!(server.get("/ping").ok(), json!({"status": "Healthy"}));
    let bare = raw(
        server.address,
        b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(bare.ends_with("{\"status\":\"Healthy\"}"), "{bare}");
    server.desk.set_draining();
    assert_eq!(server.get("/ping").status, 503);
}
