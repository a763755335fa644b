//! Several versions of one model: which answers, what is told of them, and how they come and go.

use std::fs;

use resnet::classifier::Classifier;
use serde_json::{Value, json};

use crate::fake::{FakeModel, plain_png};
use crate::grpc;
use crate::harness::{Answer, Process, Settings, TestServer, agent, fixture, resnet};

/// Serves `birds@2`, the default, `birds@10`, `birds` and `owls@3`.
fn serving() -> TestServer {
    let names = ["birds@2", "birds@10", "birds", "owls@3"];
    let models = names.map(|name| FakeModel::loaded(name).0);
    let settings = Settings {
        grpc: true,
        ..Settings::default()
    };
    TestServer::start(models.into(), &settings)
}

#[test]
fn newest_answers_unless_another_is_asked_for() {
    let server = serving();
    let photo = plain_png(1);
    for (path, model) in [
        ("/classify", "birds@10"),
        ("/classify?model=birds", "birds@10"),
        ("/classify?model=birds@2", "birds@2"),
        ("/classify?model=birds@1", "birds"),
        ("/models/birds/classify", "birds@10"),
        ("/models/birds%402/classify", "birds@2"),
        ("/models/owls/classify", "owls@3"),
    ] {
        assert_eq!(server.post(path, &photo).ok()["model"], model, "{path}");
    }
    let message = json!({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, 2, 2], "data": vec![0.5; 12]}]});
    for (path, version) in [
        ("/v2/models/birds", "10"),
        ("/v2/models/birds/versions/1", "1"),
        ("/v2/models/birds/versions/2", "2"),
        ("/v2/models/birds@2", "2"),
        ("/v2/models/birds@2/versions/2", "2"),
        ("/v2/models/owls", "3"),
    ] {
        let answer = server.post_json(&format!("{path}/infer"), &message).ok();
        let name = if path.contains("owls") {
            "owls"
        } else {
            "birds"
        };
        assert_eq!(
            (&answer["model_name"], &answer["model_version"]),
            (&json!(name), &json!(version)),
            "{path}"
        );
        let metadata = server.get(path).ok();
        let versions = if name == "owls" {
            json!(["3"])
        } else {
            json!(["1", "2", "10"])
        };
        assert_eq!(
            (&metadata["name"], &metadata["versions"]),
            (&json!(name), &versions)
        );
        let config = server.get(&format!("{path}/config")).ok();
        let number: u64 = version.parse().unwrap();
        assert_eq!(
            config["version_policy"]["specific"]["versions"],
            json!([number])
        );
        let stats = &server.get(&format!("{path}/stats")).ok()["model_stats"][0];
        assert_eq!(
            (&stats["name"], &stats["version"]),
            (&json!(name), &json!(version))
        );
        assert_eq!(
            server.get(&format!("{path}/ready")).ok(),
            json!({"name": name, "ready": true})
        );
    }
    for (path, status) in [
        ("birds/2", 200),
        ("birds", 200),
        ("birds/3", 404),
        ("owls/1", 404),
    ] {
        assert_eq!(
            server.post(&format!("/predictions/{path}"), &photo).status,
            status,
            "{path}"
        );
    }
    for (version, status) in [("", 0), ("10", 0), ("2", 0), ("3", 5), ("v2", 5)] {
        let mut request = grpc::tensor("FP32", &[1, 3, 2, 2], None);
        request.model_name = "birds".into();
        request.model_version = version.into();
        request.raw_input_contents = vec![vec![0; 48]];
        let called = grpc::call(server.grpc(), &request);
        assert_eq!(called.status, status, "{version}: {called:?}");
        if status == 0 {
            let expected = if version.is_empty() { "10" } else { version };
            assert_eq!(called.infer().model_version, expected);
        }
    }
}

#[test]
fn what_is_served_is_told_with_its_versions() {
    let server = serving();
    assert_eq!(
        server.get("/v2/models").ok(),
        json!({"models": ["birds", "owls"]})
    );
    let entry =
        |name, version| json!({"name": name, "version": version, "state": "READY", "reason": ""});
    let index = json!([
        entry("birds", "2"),
        entry("birds", "10"),
        entry("birds", "1"),
        entry("owls", "3")
    ]);
    assert_eq!(server.post("/v2/repository/index", b"").ok(), index);
    let models = server.get("/models").ok();
    assert_eq!(models["default"], "birds@10");
    let names: Vec<&Value> = models["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["name"])
        .collect();
    assert_eq!(names, ["birds@2", "birds@10", "birds", "owls@3"]);
    assert_eq!(server.get("/models/birds@2").ok()["name"], "birds@2");
    for (path, words) in [
        (
            "/models/birds@3",
            "model \"birds\" has no version \"3\", served is: 1, 2, 10",
        ),
        (
            "/models/owls@1",
            "model \"owls\" has no version \"1\", served is: 3",
        ),
        (
            "/models/bird",
            "there is no model \"bird\", served are: birds@2, birds@10, birds, owls@3",
        ),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["detail"], words);
    }
    for path in [
        "birds@2/versions/10",
        "birds/versions/01",
        "birds/versions/x",
    ] {
        let answer = server.get(&format!("/v2/models/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        let text = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains("model \"birds\" has no version"), "{text}");
    }
}

#[test]
fn bare_name_of_a_directory_of_versions_is_served_as_the_newest() {
    let dir = versions();
    fs::create_dir_all(dir.path().join("birds/3")).unwrap();
    let models = dir.path().display().to_string();
    let path = dir.path().join("birds").display().to_string();
    let named = format!("owls={path}");
    for (value, name) in [
        ("birds", "birds@2"),
        (path.as_str(), "birds@2"),
        (&named, "owls@2"),
    ] {
        let server = Process::start(&["--models-dir", &models, "--model", value]);
        let url = format!("http://{}/models", server.address);
        let served = Answer::of(agent().get(url).call()).ok();
        assert_eq!(served["default"], name, "{value}");
    }
}

/// A directory with versions 1 and 2 of `birds`.
fn versions() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for version in ["1", "2"] {
        let place = dir.path().join("birds").join(version);
        fs::create_dir_all(&place).unwrap();
        fs::copy(fixture("models/opset13.onnx"), place.join("model.onnx")).unwrap();
    }
    dir
}

#[test]
fn labels_beside_the_versions_are_those_of_each_that_has_none() {
    let dir = versions();
    let labels = |names: [&str; 7]| names.join("\n");
    let birds = labels(["wren", "robin", "rook", "tit", "jay", "owl", "kite"]);
    fs::write(dir.path().join("birds/labels.txt"), birds).unwrap();
    let own = labels(["a", "b", "c", "d", "e", "f", "g"]);
    fs::write(dir.path().join("birds/2/labels.txt"), own).unwrap();
    let models = dir.path().display().to_string();
    let server = Process::start(&["--models-dir", &models, "--model", "birds@1,birds@2"]);
    for (name, from, first) in [
        ("birds@1", "../labels.txt", "wren"),
        ("birds@2", "labels.txt", "a"),
    ] {
        let line = server.log.line("the model's", |l| {
            l["model"] == name && l["message"] == "model described"
        });
        assert_eq!(line["labels_from"], from, "{line}");
        let url = format!("http://{}/classify?model={name}&top_k=7", server.address);
        let answer = Answer::of(agent().post(url).send(plain_png(1))).ok();
        let predictions = answer["predictions"].as_array().unwrap();
        let named = |p: &&Value| p["class_index"] == 0;
        assert_eq!(predictions.iter().find(named).unwrap()["label"], first);
    }
}

#[test]
fn versions_in_the_models_directory_come_and_go() {
    let dir = versions();
    let models = dir.path().display().to_string();
    let flags = [
        "--models-dir",
        &models,
        "--model",
        "birds@1",
        "--model-control",
    ];
    let server = Process::start(&flags);
    let url = |path: &str| format!("http://{}{path}", server.address);
    let newest = || {
        let metadata = Answer::of(agent().get(url("/v2/models/birds")).call()).ok();
        let ready = Answer::of(agent().get(url("/models")).call()).ok();
        (metadata["versions"].clone(), ready["default"].clone())
    };
    let change = |what: &str| {
        let path = format!("/v2/repository/models/{what}");
        Answer::of(agent().post(url(&path)).send_empty())
    };
    assert_eq!(newest(), (json!(["1"]), json!("birds@1")));
    assert_eq!(change("birds@2/load").status, 200);
    assert_eq!(newest(), (json!(["1", "2"]), json!("birds@2")));
    assert_eq!(change("birds@3/load").status, 404);
    assert_eq!(change("birds@1/unload").status, 200);
    assert_eq!(newest(), (json!(["2"]), json!("birds@2")));
    assert_eq!(change("birds@2/unload").status, 400, "the last one");
}

#[test]
fn version_is_served_once_and_named_rightly() {
    let dir = versions();
    let models = dir.path().display().to_string();
    for (value, words) in [
        ("birds@1,birds@1", "two models are named \"birds@1\""),
        (
            "resnet18-tiny,resnet18-tiny@1=resnet18-tiny",
            "two models are named \"resnet18-tiny@1\"",
        ),
        ("birds@3", "unknown model \"birds@3\""),
        (
            "birds@0=resnet18-tiny",
            "model name \"birds@0\" is not allowed",
        ),
    ] {
        let mut command = resnet();
        command.args([
            "serve",
            "--port",
            "0",
            "--models-dir",
            &models,
            "--model",
            value,
        ]);
        let output = command.output().unwrap();
        // Its log is JSON where nobody reads it.
        let said = String::from_utf8(output.stderr)
            .unwrap()
            .replace("\\\"", "\"");
        assert!(
            !output.status.success() && said.contains(words),
            "{value}: {said}"
        );
    }
}

#[test]
fn default_is_the_newest_of_the_first_name() {
    let names = ["owls@3", "birds@9", "owls@2"];
    let server = TestServer::start(
        names.map(|name| FakeModel::loaded(name).0).into(),
        &Settings::default(),
    );
    let name = |classifier: &Classifier| classifier.model(None, None).unwrap().info.name.clone();
    let classifier = server.desk.classifier().unwrap();
    assert_eq!(name(&classifier), "owls@3");
    let photo = plain_png(1);
    assert_eq!(server.post("/classify", &photo).ok()["model"], "owls@3");
}
