//! Models that are loaded, read again and unloaded while the real binary serves.

mod hangup;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::grpc;
use crate::harness::{Answer, Process, agent, eventually, fixture, fixture_bytes, resnet};

/// A server whose clients may exchange models, with a directory of models that holds `birds`.
struct Exchanging {
    server: Process,
    models: tempfile::TempDir,
}

impl Exchanging {
    fn start(args: &[&str]) -> Exchanging {
        let models = tempfile::tempdir().unwrap();
        fs::create_dir(models.path().join("birds")).unwrap();
        fs::copy(
            fixture("models/opset13.onnx"),
            models.path().join("birds/model.onnx"),
        )
        .unwrap();
        let mut command = resnet();
        command.env("RESNET_MODELS_DIR", models.path());
        let server = Process::start_as(command, args);
        Exchanging { server, models }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    fn get(&self, path: &str) -> Answer {
        Answer::of(agent().get(self.url(path)).call())
    }

    fn post(&self, path: &str, body: &[u8]) -> Answer {
        Answer::of(agent().post(self.url(path)).send(body))
    }

    fn change(&self, what: &str, model: &str) -> Answer {
        self.post(&format!("/v2/repository/models/{model}/{what}"), b"")
    }

    fn served(&self) -> Vec<String> {
        let models = self.get("/models").ok()["models"].clone();
        let name = |model: &Value| model["name"].as_str().unwrap().to_owned();
        models.as_array().unwrap().iter().map(name).collect()
    }

    fn digest(&self, model: &str) -> String {
        let model = self.get(&format!("/models/{model}")).ok();
        model["sha256"].as_str().unwrap().to_owned()
    }
}

fn error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.json()["error"].as_str().unwrap().to_owned()
}

#[test]
fn model_is_loaded_read_again_and_unloaded_and_a_bad_one_changes_nothing() {
    let place = Exchanging::start(&["--model-control"]);
    let photo = fixture_bytes("photos/espresso.png");
    let classify = || place.post("/models/birds/classify", &photo);
    assert_eq!(classify().status, 404);
    assert_eq!(
        place.change("load", "birds").ok(),
        json!({"name": "birds", "load": true})
    );
    assert_eq!(place.served(), ["resnet18-tiny", "birds"]);
    assert_eq!(classify().ok()["model"], "birds");
    let told = place.server.log.message("models exchanged");
    let words = (&told["change"], &told["model"]);
    assert_eq!(words, (&json!("load"), &json!("birds")), "{told}");
    let before = place.digest("birds");

    let file = place.models.path().join("birds/model.onnx");
    fs::write(&file, b"no model at all").unwrap();
    let text = error(&place.change("load", "birds"), 400);
    assert!(text.contains("model.onnx"), "{text}");
    assert_eq!(
        (place.digest("birds"), classify().status),
        (before.clone(), 200)
    );

    fs::copy(fixture("models/opset12.onnx"), &file).unwrap();
    place.change("load", "birds").ok();
    let after = place.digest("birds");
    assert_ne!(after, before);
    let metrics = String::from_utf8(place.get("/metrics").body).unwrap();
    let told = |digest: &str| metrics.contains("model=\"birds\"") && metrics.contains(digest);
    assert!(told(&after) && !told(&before), "{metrics}");

    // The default goes, and the next takes its place.
    place.change("unload", "resnet18-tiny").ok();
    assert_eq!(place.post("/classify", &photo).ok()["model"], "birds");
    let text = error(&place.change("unload", "birds"), 400);
    assert!(text.contains("\"birds\" is the only model"), "{text}");
    place.change("load", "resnet18-tiny").ok();
    let body = b"{\"parameters\": {\"unload_dependents\": false}}";
    let unloaded = place.post("/v2/repository/models/birds/unload", body).ok();
    assert_eq!(unloaded, json!({"name": "birds", "unload": true}));
    assert_eq!(
        (classify().status, place.served()),
        (404, vec!["resnet18-tiny".to_owned()])
    );
    let metrics = String::from_utf8(place.get("/metrics").body).unwrap();
    assert!(!metrics.contains("resnet_model_info{instructions=\"avx2\",model=\"birds\""));
    for name in ["queue_depth", "model_layers"] {
        assert!(
            !metrics.contains(&format!("resnet_{name}{{model=\"birds\"")),
            "{metrics}"
        );
    }
}

#[test]
fn statistics_of_a_model_that_stays_go_on() {
    let place = Exchanging::start(&["--model-control"]);
    let photo = fixture_bytes("photos/espresso.png");
    let counts = |model: &str| {
        let stats = place.get(&format!("/v2/models/{model}/stats")).ok();
        let stats = &stats["model_stats"][0];
        [&stats["inference_count"], &stats["execution_count"]].map(|n| n.as_u64().unwrap())
    };
    let classify = |model: &str| {
        place
            .post(&format!("/models/{model}/classify"), &photo)
            .ok()
    };
    classify("resnet18-tiny");
    place.change("load", "birds").ok();
    classify("birds");
    classify("resnet18-tiny");
    assert_eq!((counts("resnet18-tiny"), counts("birds")), ([2, 2], [1, 1]));
    // A model that is read again is another one.
    place.change("load", "birds").ok();
    classify("resnet18-tiny");
    assert_eq!((counts("resnet18-tiny"), counts("birds")), ([3, 3], [0, 0]));
}

#[test]
fn clients_reach_no_file_outside_of_the_models_directory() {
    let place = Exchanging::start(&["--model-control"]);
    fs::copy(
        fixture("models/opset13.onnx"),
        place.models.path().join("owls.onnx"),
    )
    .unwrap();
    place.change("load", "owls").ok();
    for name in [
        "..%2Fbirds",
        "%2E%2E",
        "a%3Dbirds",
        "%2Fetc",
        "nope",
        "resnet50",
        "x%00",
    ] {
        let answer = place.change("load", name);
        error(&answer, 404);
    }
    error(&place.change("unload", "nope"), 404);
    for (body, part) in [
        ("x", "allowed is {\"parameters\""),
        ("[]", "allowed is {\"parameters\""),
        ("[{}]", "allowed is {\"parameters\""),
        ("{\"config\": 1}", "allowed is {\"parameters\""),
        (
            "{\"parameters\": {\"config\": \"{}\"}}",
            "parameter config is \"{}\"",
        ),
        (
            "{\"parameters\": {\"file:1/model.onnx\": \"AA\"}}",
            "parameter file:1/model.onnx",
        ),
    ] {
        let answer = place.post("/v2/repository/models/birds/load", body.as_bytes());
        let text = error(&answer, 400);
        assert!(text.contains(part), "{text}");
    }
    let of_a_page = agent()
        .post(place.url("/v2/repository/models/owls/unload"))
        .header("Origin", "https://elsewhere.example")
        .send(&b""[..]);
    assert!(error(&Answer::of(of_a_page), 501).contains("web page"));
    assert_eq!(place.served(), ["resnet18-tiny", "owls"]);
}

#[test]
fn model_that_was_given_at_the_start_is_loaded_again_from_where_it_lies() {
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("trees.onnx");
    fs::copy(fixture("models/opset13.onnx"), &file).unwrap();
    for version in ["1", "2"] {
        let place = elsewhere.path().join("owls").join(version);
        fs::create_dir_all(&place).unwrap();
        fs::copy(&file, place.join("model.onnx")).unwrap();
    }
    let trees = format!("woods={}", file.display());
    let owls = elsewhere.path().join("owls").display().to_string();
    let place = Exchanging::start(&[
        "--model",
        "resnet18-tiny",
        "--model",
        &trees,
        "--model",
        &owls,
        "--model",
        "small=resnet18-tiny",
        "--model-control",
    ]);
    let all = ["resnet18-tiny", "woods", "owls@2", "small"];
    assert_eq!(place.served(), all);
    let before = place.digest("woods");
    for name in ["woods", "owls", "small"] {
        place.change("unload", name).ok();
    }
    assert_eq!(place.served(), ["resnet18-tiny"]);

    let moved = elsewhere.path().join("moved.onnx");
    fs::rename(&file, &moved).unwrap();
    let text = error(&place.change("load", "woods"), 400);
    assert!(text.contains("trees.onnx"), "{text}");
    fs::rename(&moved, &file).unwrap();
    for name in ["woods", "owls", "small"] {
        place.change("load", name).ok();
        // Again: it is served now, and read anew.
        place.change("load", name).ok();
    }
    assert_eq!(place.served(), all);
    assert_eq!(place.digest("woods"), before);
    // The name of its file was never its own.
    error(&place.change("load", "trees"), 404);
}

#[test]
fn bare_name_is_loaded_and_unloaded_as_the_newest_version() {
    let place = Exchanging::start(&["--model-control"]);
    let version = |number: &str| {
        let dir = place.models.path().join("owls").join(number);
        fs::create_dir_all(&dir).unwrap();
        fs::copy(fixture("models/opset13.onnx"), dir.join("model.onnx")).unwrap();
    };
    version("2");
    version("3");
    place.change("load", "owls").ok();
    place.change("load", "owls").ok();
    assert_eq!(place.served(), ["resnet18-tiny", "owls@3"]);
    version("10");
    place.change("load", "owls").ok();
    assert_eq!(place.served(), ["resnet18-tiny", "owls@3", "owls@10"]);
    let metadata = place.get("/v2/models/owls").ok();
    assert_eq!(metadata["versions"], json!(["3", "10"]));
    place.change("unload", "owls").ok();
    assert_eq!(place.served(), ["resnet18-tiny", "owls@3"]);
    // A name with a version means that one alone.
    error(&place.change("unload", "owls@2"), 404);
    place.change("unload", "owls").ok();
    error(&place.change("unload", "owls"), 404);
    assert_eq!(place.served(), ["resnet18-tiny"]);
}

/// Puts a model into a version's directory.
fn put_version(directory: &Path, number: &str) {
    let directory = directory.join(number);
    fs::create_dir_all(&directory).unwrap();
    fs::copy(fixture("models/opset13.onnx"), directory.join("model.onnx")).unwrap();
}

#[test]
fn directory_of_versions_given_by_its_path_is_looked_into_at_each_load() {
    let elsewhere = tempfile::tempdir().unwrap();
    let fowl = elsewhere.path().join("fowl");
    put_version(&fowl, "1");
    let given = format!("fowl={}", fowl.display());
    let other = elsewhere.path().join("other.onnx");
    fs::copy(fixture("models/opset12.onnx"), &other).unwrap();
    let fourth = format!("fowl@4={}", other.display());
    let args = ["--model", "resnet18-tiny", "--model", &given];
    let more = ["--model", &fourth, "--model-control"];
    let place = Exchanging::start(&[&args[..], &more].concat());
    let at_start = ["resnet18-tiny", "fowl@1", "fowl@4"];
    assert_eq!(place.served(), at_start);
    // What has the same name in the models directory is another model.
    let unrelated = place.models.path().join("fowl.onnx");
    fs::copy(fixture("models/opset12.onnx"), unrelated).unwrap();
    place.change("load", "fowl").ok();
    assert_eq!(place.served(), at_start);
    put_version(&fowl, "2");
    put_version(&fowl, "3");
    place.change("load", "fowl").ok();
    let served = ["resnet18-tiny", "fowl@1", "fowl@4", "fowl@3"];
    assert_eq!(place.served(), served);
    place.change("load", "fowl@2").ok();
    place.change("unload", "fowl@1").ok();
    let served = ["resnet18-tiny", "fowl@4", "fowl@3", "fowl@2"];
    assert_eq!(place.served(), served);
    // A version that has a flag of its own is what that says.
    let before = place.digest("fowl@4");
    put_version(&fowl, "4");
    place.change("load", "fowl@4").ok();
    assert_eq!(place.digest("fowl@4"), before);
    let text = error(&place.change("load", "fowl@9"), 404);
    assert!(
        text.contains("\"fowl@9\"") && !text.contains("path"),
        "{text}"
    );
    // The newest of the models directory is looked for whichever is served, too.
    let owls = place.models.path().join("owls");
    put_version(&owls, "1");
    place.change("load", "owls").ok();
    put_version(&owls, "2");
    place.change("load", "owls").ok();
    assert_eq!(
        place.served(),
        [&served[..], &["owls@1", "owls@2"]].concat()
    );
}

#[test]
fn without_the_flag_no_client_changes_anything() {
    let place = Exchanging::start(&[]);
    for what in ["load", "unload"] {
        let text = error(&place.change(what, "birds"), 501);
        assert!(text.contains("--model-control"), "{text}");
    }
    assert_eq!(place.served(), ["resnet18-tiny"]);
}

#[test]
fn two_hundred_exchanges_under_load_fail_no_request_and_leave_nothing_behind() {
    let place = Exchanging::start(&["--model-control", "--workers", "1"]);
    let photo = fixture_bytes("photos/espresso.png");
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        let client = || {
            let agent = agent();
            while !stop.load(Ordering::Relaxed) {
                let answer = Answer::of(agent.post(place.url("/classify")).send(&photo[..]));
                assert_eq!(answer.status, 200, "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = [scope.spawn(client), scope.spawn(client)];
        let mut after_some = 0;
        for round in 0..100 {
            // At least one request to each set of models.
            let seen = answered.load(Ordering::Relaxed);
            place.change("load", "birds").ok();
            place.change("unload", "birds").ok();
            eventually("a request is answered", || {
                answered.load(Ordering::Relaxed) > seen || clients.iter().any(|c| c.is_finished())
            });
            if round == 24 {
                after_some = place.server.memory_kb();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        // What one set of models holds is a multiple of this.
        let grown = place.server.memory_kb().saturating_sub(after_some);
        assert!(grown < 48 << 10, "{grown} KiB more than after 50 exchanges");
    });
    eventually("the threads of replaced models have ended", || {
        let metrics = String::from_utf8(place.get("/metrics").body).unwrap();
        let threads = metrics
            .lines()
            .find_map(|l| l.strip_prefix("process_threads "));
        threads.is_some_and(|n| n.parse::<f64>().unwrap() <= 20.0)
    });
    assert_eq!(place.served(), ["resnet18-tiny"]);
}

/// What the index has by a body: names, versions, states and reasons.
fn indexed(place: &Exchanging, body: &[u8]) -> Vec<[String; 4]> {
    let index = place.post("/v2/repository/index", body).ok();
    let entries = index.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entry =
        |entry: &Value| ["name", "version", "state", "reason"].map(|field| text(&entry[field]));
    entries.map(entry).collect()
}

#[test]
fn index_lists_what_could_be_loaded_too() {
    let place = Exchanging::start(&["--model-control", "--grpc-port", "0"]);
    let at = |file: &str| place.models.path().join(file);
    let model = fixture("models/opset13.onnx");
    for file in ["owls/2/model.onnx", "owls/10/model.onnx", "trees.onnx"] {
        fs::create_dir_all(at(file).parent().unwrap()).unwrap();
        fs::copy(&model, at(file)).unwrap();
    }
    let ready = |name: &str, version: &str| [name, version, "READY", ""].map(str::to_owned);
    let lying =
        |name: &str, version: &str| [name, version, "UNAVAILABLE", "not loaded"].map(str::to_owned);
    let served = [ready("resnet18-tiny", "1")];
    let others = [
        lying("birds", "1"),
        lying("owls", "2"),
        lying("owls", "10"),
        lying("trees", "1"),
    ];
    let all = [&served[..], &others].concat();
    for body in [&b""[..], b"{}", b"{\"ready\": false}"] {
        assert_eq!(indexed(&place, body), all);
    }
    assert_eq!(indexed(&place, b"{\"ready\": true}"), served);
    let by_grpc = |ready: bool| grpc::index(grpc::address_of(&place.server), ready);
    assert_eq!((by_grpc(false), by_grpc(true)), (all, served.to_vec()));

    // Each is loaded by what the index tells of it.
    for [name, version, ..] in others {
        let name = match version.as_str() {
            "1" => name,
            version => format!("{name}@{version}"),
        };
        place.change("load", &name).ok();
    }
    place.change("unload", "resnet18-tiny").ok();
    let expected = [
        ready("birds", "1"),
        ready("owls", "2"),
        ready("owls", "10"),
        ready("trees", "1"),
        // It was given at the start.
        lying("resnet18-tiny", "1"),
    ];
    assert_eq!(indexed(&place, b""), expected);
}
