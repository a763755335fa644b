//! The outputs `features` and `feature_map`: the same over every door, told where the model has them, and only for who
//! names them.

use base64::Engine as _;
use serde_json::{Value, json};

use super::{error, floats, message, outputs, post_binary, with_lengths};
use crate::fake::FakeModel;
use crate::grpc;
use crate::harness::{Settings, TestServer, fixture_bytes, tiny};

const INFER: &str = "/v2/models/resnet18-tiny/infer";

fn serving() -> TestServer {
    let (fake, _) = FakeModel::loaded("fake");
    let settings = Settings {
        grpc: true,
        ..Settings::default()
    };
    TestServer::start(vec![tiny(), fake], &settings)
}

#[test]
fn features_are_the_same_numbers_by_json_binary_grpc_and_classify() {
    let server = serving();
    let photo = fixture_bytes("photos/espresso.png");
    let base64 = base64::engine::general_purpose::STANDARD.encode(&photo);
    let names = ["features", "logits", "feature_map"];
    let mut json = message("BYTES", &[2], &json!({"data": [base64, base64]}));
    json["outputs"] = names.iter().map(|name| json!({"name": name})).collect();
    let answer = server.post_json(INFER, &json);
    let found = outputs(&answer);
    let told: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(told, names);
    let shapes: Vec<Value> = answer.json()["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|output| output["shape"].clone())
        .collect();
    let [features, _, map] = &shapes[..] else {
        panic!("{shapes:?}");
    };
    let extents = map.as_array().unwrap();
    assert_eq!((extents.len(), &extents[0]), (4, &json!(2)));
    assert_eq!(*features, json!([2, extents[1]]));

    let tail = with_lengths(&[&photo, &photo]);
    let sized = json!({"parameters": {"binary_data_size": tail.len()}});
    let mut binary = message("BYTES", &[2], &sized);
    binary["outputs"] = json["outputs"].clone();
    binary["parameters"] = json!({"binary_data_output": true});
    let answer = post_binary(&server, INFER, &binary, &tail);
    assert_eq!(outputs(&answer), found);

    let mut request = grpc::tensor("BYTES", &[2], None);
    request.model_name = "resnet18-tiny".into();
    request.raw_input_contents = vec![tail];
    request.outputs = names.map(grpc::requested).into();
    let response = grpc::call(server.grpc(), &request).infer();
    for (raw, (name, numbers)) in response.raw_output_contents.iter().zip(&found) {
        assert_eq!(floats(raw), numbers.numbers(), "{name}");
    }
    assert_eq!(response.raw_output_contents.len(), 3);

    let classified = server.post("/classify?embedding=true", &photo).ok();
    let embedding: Vec<f32> = serde_json::from_value(classified["embedding"].clone()).unwrap();
    let twice = [embedding.clone(), embedding].concat();
    assert_eq!(found[0].1.numbers(), twice);
}

#[test]
fn models_that_have_features_tell_so_and_give_them_only_by_name() {
    let server = serving();
    let names = |path: &str, member: &str| {
        let told = server.get(path).ok();
        let outputs = told[member].as_array().unwrap().iter();
        let names = outputs.map(|o| o["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    let all = ["logits", "probabilities", "features", "feature_map"];
    assert_eq!(names("/v2/models/resnet18-tiny", "outputs"), all);
    assert_eq!(names("/v2/models/resnet18-tiny/config", "output"), all);
    assert_eq!(names("/v2/models/fake", "outputs"), all[..2]);
    assert_eq!(names("/v2/models/fake/config", "output"), all[..2]);
    let told = server.get("/v2/models/resnet18-tiny").ok();
    let of = |index: usize| told["outputs"][index]["shape"].as_array().unwrap().clone();
    assert_eq!((of(2).len(), of(3).len()), (2, 4));
    assert_eq!((&of(2)[0], &of(2)[1]), (&json!(-1), &of(3)[1]));

    let data = vec![0.5; 3 * 64 * 64];
    let tensor = message("FP32", &[1, 3, 64, 64], &json!({"data": data}));
    let found = outputs(&server.post_json(INFER, &tensor));
    assert_eq!(found.len(), 2);

    let data = vec![0.5; 12];
    let mut of_fake = message("FP32", &[1, 3, 2, 2], &json!({"data": data}));
    of_fake["outputs"] = json!([{"name": "features"}]);
    let text = error(&server.post_json("/v2/models/fake/infer", &of_fake), 400);
    assert_eq!(
        text,
        "there is no output \"features\", there are: logits, probabilities"
    );
}
