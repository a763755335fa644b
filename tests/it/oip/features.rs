//! The outputs `features` and `feature_map`: the same over every door, told where the model has them, and only for who
//! names them.

use std::io::Write as _;
use std::net::TcpStream;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{error, floats, message, outputs, post_binary, with_lengths};
use crate::fake::{FakeModel, plain_png};
use crate::grpc;
use crate::harness::{Settings, TestServer, eventually, fixture_bytes, tiny};

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

/// A request for the feature maps of so many small images.
fn maps(images: usize) -> Value {
    let base64 = base64::engine::general_purpose::STANDARD.encode(plain_png(1));
    let mut message = message("BYTES", &[images], &json!({"data": vec![base64; images]}));
    message["outputs"] = json!([{"name": "feature_map"}]);
    message
}

/// Numbers of a feature map.
fn numbers_of_map() -> usize {
    let spec = tiny().model.spec().features.unwrap();
    spec.channels * spec.height * spec.width
}

fn bytes_held(server: &TestServer) -> usize {
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let mut lines = metrics.lines();
    let held = lines.find_map(|line| line.strip_prefix("resnet_body_memory_bytes "));
    held.unwrap().parse().unwrap()
}

#[test]
fn answer_that_never_fits_in_its_memory_is_refused_with_the_number_that_does() {
    // Three quarters of it are a client's, and two images' answers and a half.
    let body_memory_bytes = (numbers_of_map() * 25 * 5 / 2 * 4 / 3) as u64;
    let settings = Settings {
        grpc: true,
        body_memory_bytes,
        ..Settings::default()
    };
    let server = TestServer::start(vec![tiny()], &settings);
    for images in [1, 2] {
        assert_eq!(server.post_json(INFER, &maps(images)).status, 200);
    }
    for images in [3, 32] {
        let text = error(&server.post_json(INFER, &maps(images)), 413);
        assert!(text.ends_with("asked for those of 2 images"), "{text}");
        let taken = images * numbers_of_map() * 25;
        assert!(text.contains(&format!(
            "to {images} images would take up to {taken} bytes"
        )));
    }
    eventually("nothing is held", || bytes_held(&server) == 0);
    // As bytes they are a third smaller.
    let tail = with_lengths(&[&plain_png(1)[..]; 3]);
    let sized = json!({"parameters": {"binary_data_size": tail.len()}});
    let mut binary = message("BYTES", &[3], &sized);
    binary["outputs"] = json!([{"name": "feature_map", "parameters": {"binary_data": true}}]);
    assert_eq!(post_binary(&server, INFER, &binary, &tail).status, 200);

    let mut request = grpc::tensor("BYTES", &[3], None);
    request.model_name = "resnet18-tiny".into();
    request.raw_input_contents = vec![tail];
    request.outputs = vec![grpc::requested("feature_map")];
    let called = grpc::call(server.grpc(), &request);
    assert_eq!(called.status, 8, "resource exhausted");
}

#[test]
fn answer_that_does_not_fit_now_is_503_and_its_neighbours_are_answered() {
    let map = numbers_of_map() * 25;
    // The client's part is two maps; a body that is half here holds more than one of them.
    let settings = Settings {
        body_memory_bytes: (2 * map * 4 / 3) as u64 + 4096,
        ..Settings::default()
    };
    let server = TestServer::start(vec![tiny()], &settings);
    let mut upload = TcpStream::connect(server.address).unwrap();
    let half = map * 5 / 4;
    let head = format!("POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {map}0\r\n\r\n");
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&vec![7; half]).unwrap();
    eventually("it is here", || bytes_held(&server) >= half);
    let text = error(&server.post_json(INFER, &maps(1)), 503);
    assert!(
        text.starts_with("bodies and other answers hold the memory"),
        "{text}"
    );
    assert!(
        text.ends_with(&format!("takes up to {map} bytes")),
        "{text}"
    );
    assert_eq!(server.post("/classify", &plain_png(1)).status, 200);
    drop(upload);
    eventually("its memory is free", || bytes_held(&server) == 0);
    assert_eq!(server.post_json(INFER, &maps(1)).status, 200);
}

#[test]
fn answer_that_nobody_reads_holds_what_it_takes_until_its_client_goes() {
    let server = serving();
    let body = serde_json::to_vec(&maps(32)).unwrap();
    // Small, so that most of the answer stays in the server.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let head = format!(
        "POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // One after the other, so that they fill what the system holds; one is then on its way, and may have one behind it.
    stream
        .write_all(&[head.as_bytes(), &body].concat().repeat(12))
        .unwrap();
    let most = 32 * numbers_of_map() * 25;
    let whole = server.post_json(INFER, &maps(32)).body.len();
    assert!(whole < most / 2, "{whole} of {most}");
    let units = whole.div_ceil(1024) * 1024;
    let written = [units, 2 * units];
    eventually("they are written and held", || {
        written.contains(&bytes_held(&server))
    });
    drop(stream);
    eventually("they are free", || bytes_held(&server) == 0);
}
