//! `explain` and `embedding` of `/classify`: where a network saw a class and what it saw, as ONNX Runtime and numpy have
//! it of the same weights, and what is wrong with a wish.

mod overlay;

use std::sync::LazyLock;

use resnet::engine::EngineOptions;
use resnet::preprocess::PreprocessSpec;
use resnet::registry::{ModelRef, load};
use serde_json::{Value, json};

use crate::fake::{FakeModel, plain_png};
use crate::harness::{
    Settings, TestServer, fixture_bytes, fixture_json, multipart, tiny, tiny_reference,
};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));
static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));

fn numbers(value: &Value) -> Vec<f64> {
    let of = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v} is no number"));
    value.as_array().unwrap().iter().map(of).collect()
}

fn rows(map: &Value) -> Vec<Vec<f64>> {
    map.as_array().unwrap().iter().map(numbers).collect()
}

/// That numbers differ by no more than this share of the largest.
fn assert_near(got: &[f64], want: &[f64], largest: f64, share: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let difference = (got - want).abs();
        assert!(difference <= share * largest, "{what}: {got} {want}");
    }
}

fn assert_is_reference(server: &TestServer, model: &str) {
    let expected = fixture_json("explanations.json");
    let step = usize::try_from(expected["step"].as_u64().unwrap()).unwrap();
    let expected = &expected["models"][model];
    let pictures = expected["pictures"].as_object().unwrap();
    assert_eq!(pictures.len(), 10);
    let spec = server.get("/models").ok()["models"][0]["preprocess"].clone();
    let spec: PreprocessSpec = serde_json::from_value(spec).unwrap();
    for (name, want) in pictures {
        let picture = fixture_bytes(name);
        for (i, explanation) in want["explanations"].as_array().unwrap().iter().enumerate() {
            let class = &explanation["class_index"];
            // The first is the winner's.
            let query = match i {
                0 => "embedding=true".to_owned(),
                _ => format!("explain_class={class}&embedding=normalized"),
            };
            let path = format!("/classify?explain=cam&exif=ignore&top_k=1&{query}");
            let answer = server.post(&path, &picture).ok();
            let what = format!("{model}, {name}, class {class}");
            let got = &answer["explanation"];
            assert_eq!(&got["class_index"], class, "{what}");
            assert_eq!(got["method"], "cam");
            if i == 0 {
                assert_eq!(answer["predictions"][0]["class_index"], *class, "{what}");
                assert_eq!(got["label"], answer["predictions"][0]["label"]);
            }
            let (map, wanted) = (rows(&got["map"]), rows(&explanation["map"]));
            assert_eq!(map.len(), wanted.len(), "{what}");
            let largest = wanted.concat().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (got, want) in map.iter().zip(&wanted) {
                assert_near(got, want, largest, 1e-3, &what);
            }
            let side = |name: &str| u32::try_from(answer["image"][name].as_u64().unwrap()).unwrap();
            let seen = spec.seen(side("width"), side("height"));
            assert_eq!(got["rectangle"], json!(seen), "{what}");

            let embedding = numbers(&answer["embedding"]);
            assert_eq!(json!(embedding.len()), expected["channels"]);
            let length = match i {
                0 => 1.0,
                _ => want["length"].as_f64().unwrap(),
            };
            let kept: Vec<f64> = embedding.iter().step_by(step).map(|x| x * length).collect();
            let largest = want["largest"].as_f64().unwrap();
            assert_near(&kept, &numbers(&want["embedding"]), largest, 1e-4, &what);
            let squares: f64 = embedding.iter().map(|x| x * x).sum();
            let due = want["length"].as_f64().unwrap() / length;
            assert!((squares.sqrt() - due).abs() <= 1e-4 * due, "{what}");
        }
    }
}

#[test]
fn small_models_maps_and_embeddings_are_those_of_onnx_runtime() {
    assert_is_reference(&SERVER, "resnet18-tiny");
}

#[test]
fn presets_maps_and_embeddings_are_those_of_onnx_runtime() {
    let exact = EngineOptions::default();
    let preset = load(&ModelRef::preset().unwrap(), &exact).unwrap();
    let server = TestServer::start(vec![preset], &Settings::default());
    assert_is_reference(&server, "efficientnet-lite0");
}

#[test]
fn only_what_is_asked_for_is_there() {
    let plain = SERVER.post("/classify", &ESPRESSO).ok();
    let members = |query: &str| {
        let mut answer = SERVER.post(&format!("/classify?{query}"), &ESPRESSO).ok();
        let members = answer.as_object_mut().unwrap();
        let further = ["explanation", "embedding"].map(|name| members.remove(name).is_some());
        assert_eq!(answer, plain, "{query}");
        further
    };
    assert_eq!(members("embedding=false"), [false, false]);
    assert_eq!(members("embedding=true"), [false, true]);
    assert_eq!(members("explain=cam"), [true, false]);
    assert_eq!(members("explain=cam&embedding=normalized"), [true, true]);
}

#[test]
fn several_images_have_their_own_also_in_the_batch_of_others() {
    let photos = ["espresso", "orange", "plate", "trolleybus"];
    let photos = photos.map(|name| fixture_bytes(&format!("photos/{name}.png")));
    let options = EngineOptions {
        max_batch: 8,
        ..EngineOptions::default()
    };
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let server = TestServer::start(vec![load(&tiny_reference(), &options).unwrap()], &settings);
    let batches = |size: &str| {
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        let line = format!("resnet_batch_size_{size} ");
        let count = metrics.lines().find_map(|l| l.strip_prefix(&line));
        count.unwrap().parse::<f64>().unwrap()
    };
    let query = "explain=cam&embedding=true";
    let alone: Vec<Value> = photos
        .iter()
        .map(|photo| server.post(&format!("/classify?{query}"), photo).ok())
        .collect();
    let mut parts: Vec<(&str, &[u8])> = photos.iter().map(|p| ("file", &p[..])).collect();
    parts.insert(1, ("file", b"no image"));
    let (form, body) = multipart(&parts);
    // Others that ask for nothing share the batches.
    std::thread::scope(|scope| {
        let others = || (0..20).for_each(|_| drop(server.post("/classify", &photos[1]).ok()));
        scope.spawn(others);
        scope.spawn(others);
        for _ in 0..10 {
            let path = format!("/classify?{query}");
            let mut together = server.post_as(&path, &form, &body).ok();
            let results = together["results"].as_array_mut().unwrap();
            assert_eq!(results.remove(1)["code"], "unsupported_media_type");
            for (got, want) in results.iter().zip(&alone) {
                assert_eq!(got["explanation"], want["explanation"]);
                assert_eq!(got["embedding"], want["embedding"]);
            }
        }
    });
    let several = batches("count{model=\"resnet18-tiny\"}")
        - batches("bucket{model=\"resnet18-tiny\",le=\"1\"}");
    assert!(several > 0.0, "every batch was of one image");
}

#[test]
fn answer_of_many_numbers_is_that_of_few() {
    let path = "/classify?top_k=200&embedding=normalized&explain=cam";
    let mut alone = SERVER.post(path, &ESPRESSO).ok();
    alone.as_object_mut().unwrap().remove("model");
    let mut parts = vec![("file", &ESPRESSO[..]); 20];
    parts.push(("file", b"no image"));
    let (form, body) = multipart(&parts);
    let together = SERVER.post_as(path, &form, &body).ok();
    let (last, others) = together["results"]
        .as_array()
        .unwrap()
        .split_last()
        .unwrap();
    assert_eq!(last["code"], "unsupported_media_type");
    assert!(others.len() == 20 && others.iter().all(|answer| *answer == alone));
    let tensors = SERVER.post_as("/predictions/resnet18-tiny?top_k=200", &form, &body);
    assert_eq!(tensors.code(), "unsupported_media_type");
}

#[test]
fn wrong_wishes_are_refused_with_what_is_allowed() {
    for (query, words) in [
        ("explain=gradcam", "explain is \"gradcam\", allowed are cam"),
        ("explain=", "explain is \"\", allowed are cam"),
        (
            "explain=cam&explain_class=200",
            "explain_class is \"200\", allowed are whole numbers from 0 to 199, beside explain=cam",
        ),
        (
            "explain=cam&explain_class=-1",
            "explain_class is \"-1\", allowed",
        ),
        (
            "explain=cam&explain_class=99999999999999999999999",
            "allowed",
        ),
        (
            "explain=cam&explain_class=espresso",
            "\"espresso\", allowed",
        ),
        ("explain_class=3", "beside explain=cam or explain_image=png"),
        (
            "explain_image=jpeg",
            "explain_image is \"jpeg\", allowed are png",
        ),
        (
            "explain_image=png&embedding=true",
            "embedding is \"true\", allowed are false beside explain_image",
        ),
        (
            "embedding=yes",
            "embedding is \"yes\", allowed are true, normalized and false",
        ),
        ("explain=cam&explain=cam", "explain is given twice"),
        (
            "explane=cam",
            "no query parameter \"explane\", there are model, top_k, exif, timeout_ms, explain, explain_class, explain_image, embedding, timing",
        ),
    ] {
        let answer = SERVER.post(&format!("/classify?{query}"), &ESPRESSO);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_query"),
            "{query}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{query}: {detail}");
    }
    // Whose answer has no room for it.
    let path = "/predictions/resnet18-tiny?explain=cam";
    let answer = SERVER.post(path, &ESPRESSO);
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    let known = "there are model, top_k, exif, timeout_ms";
    assert!(detail.ends_with(known), "{detail}");
}

#[test]
fn model_of_another_ending_says_so() {
    let (fake, _gate) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![fake], &Settings::default());
    for query in [
        "explain=cam",
        "explain_image=png",
        "embedding=true",
        "embedding=normalized",
    ] {
        let answer = server.post(&format!("/classify?{query}"), &plain_png(1));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "no_features")
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("model \"fake\" has no"), "{detail}");
    }
    let answer = server.post("/classify?embedding=false", &plain_png(1));
    assert_eq!(answer.status, 200);
    // Who asks before tells it by the list and by the model.
    let features = |server: &TestServer, name: &str| {
        let listed = server.get("/models").ok()["models"][0]["features"].clone();
        let own = server.get(&format!("/models/{name}")).ok()["features"].clone();
        assert_eq!(listed, own);
        own
    };
    assert_eq!(features(&server, "fake"), Value::Null);
    let told = features(&SERVER, "resnet18-tiny");
    let answer = SERVER
        .post("/classify?explain=cam&embedding=true", &ESPRESSO)
        .ok();
    let map = rows(&answer["explanation"]["map"]);
    let embedding = numbers(&answer["embedding"]);
    let given = json!({"channels": embedding.len(), "height": map.len(), "width": map[0].len()});
    assert_eq!(told, given);
}
