//! The Open Inference Protocol by gRPC, asked by bare HTTP/2: statuses, limits and what no library would send. Real
//! clients ask in tests/clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::http::{HeaderMap, Request};
use prost::Message;
use serde_json::json;

use crate::fake::{FakeModel, Gate, plain_png};
use crate::harness::{Process, Settings, TestServer, eventually, raw};

#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(bytes, repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(int64, repeated, tag = "3")]
    int64_contents: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    uint_contents: Vec<u32>,
    #[prost(float, repeated, tag = "6")]
    fp32_contents: Vec<f32>,
    #[prost(bytes, repeated, tag = "8")]
    bytes_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct InferResponse {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Input>,
    #[prost(bytes, repeated, tag = "6")]
    raw_output_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamInferResponse {
    #[prost(string, tag = "1")]
    error_message: String,
    #[prost(message, optional, tag = "2")]
    infer_response: Option<InferResponse>,
}

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

// Codes of gRPC.
const OK: u32 = 0;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// What came of a call.
#[derive(Debug)]
struct Called {
    status: u32,
    message: String,
    head: HeaderMap,
    body: Vec<u8>,
}

impl Called {
    /// The only message of a call that succeeded.
    fn infer(&self) -> InferResponse {
        assert_eq!(self.status, OK, "{self:?}");
        InferResponse::decode(&self.body[5..]).unwrap()
    }

    fn fails(&self, status: u32, words: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.message.contains(words), "{}", self.message);
        assert_eq!(self.head["content-type"], "application/grpc");
        assert!(self.body.is_empty());
    }
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Sends a body as it is, and reads everything.
fn call_raw(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Called {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap();
        let (response, mut upload) = send.send_request(request, false).unwrap();
        // The server may have answered, and need no more of it.
        let _ = upload.send_data(body.to_vec().into(), true);
        let (head, mut stream) = response.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk.unwrap();
            stream.flow_control().release_capacity(chunk.len()).unwrap();
            body.extend_from_slice(&chunk);
        }
        let trailers = stream.trailers().await.unwrap().unwrap_or_default();
        let found = |name| trailers.get(name).or(head.headers.get(name)).cloned();
        let text = |name| found(name).map(|v| v.to_str().unwrap().to_owned());
        assert_eq!(head.status, 200, "{head:?}");
        Called {
            status: text("grpc-status").expect("a status").parse().unwrap(),
            message: unescaped(&text("grpc-message").unwrap_or_default()),
            head: head.headers,
            body,
        }
    })
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &bytes].concat()
}

fn call(address: SocketAddr, request: &InferRequest) -> Called {
    call_raw(address, INFER, &[], &framed(request))
}

fn start(settings: Settings) -> (TestServer, Arc<Gate>) {
    let (model, gate) = FakeModel::loaded("fake");
    let settings = Settings {
        grpc: true,
        ..settings
    };
    (TestServer::start(vec![model], &settings), gate)
}

fn tensor(datatype: &str, shape: &[i64], contents: Option<Contents>) -> InferRequest {
    InferRequest {
        model_name: "fake".into(),
        inputs: vec![Input {
            name: "input".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
        }],
        ..InferRequest::default()
    }
}

fn fp32(values: &[f32]) -> InferRequest {
    let contents = Contents {
        fp32_contents: values.to_vec(),
        ..Contents::default()
    };
    tensor("FP32", &[values.len() as i64 / 12, 3, 2, 2], Some(contents))
}

/// Logits of the fake network.
fn logits(called: &Called) -> Vec<f32> {
    let response = called.infer();
    assert_eq!(response.outputs[0].name, "logits");
    let (values, rest) = response.raw_output_contents[0].as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

#[test]
fn tensors_photos_and_pixels_give_the_same_in_contents_and_raw() {
    let (server, _) = start(Settings::default());
    let address = server.grpc();
    assert_eq!(logits(&call(address, &fp32(&[0.5; 24]))), [0.5; 4]);
    let mut raw = tensor("FP32", &[2, 3, 2, 2], None);
    raw.raw_input_contents = vec![[0.5_f32; 24].map(f32::to_le_bytes).concat()];
    assert_eq!(logits(&call(address, &raw)), [0.5; 4]);

    let photo = plain_png(51);
    let by_rest = crate::harness::agent()
        .post(server.url("/v2/models/fake/infer"))
        .header("inference-header-content-length", "0")
        .send(&photo[..]);
    let by_rest = crate::harness::Answer::of(by_rest);
    let length: usize = by_rest
        .header("inference-header-content-length")
        .unwrap()
        .parse()
        .unwrap();
    let expected = &by_rest.body[length..length + 8];
    let strings = Contents {
        bytes_contents: vec![photo.clone()],
        ..Contents::default()
    };
    let pixels = Contents {
        uint_contents: [51, 0, 0].repeat(4),
        ..Contents::default()
    };
    let mut raw = tensor("BYTES", &[1], None);
    raw.raw_input_contents = vec![[&(photo.len() as u32).to_le_bytes()[..], &photo].concat()];
    for request in [
        tensor("BYTES", &[1], Some(strings)),
        tensor("UINT8", &[1, 2, 2, 3], Some(pixels)),
        raw,
    ] {
        let response = call(address, &request).infer();
        assert_eq!(response.raw_output_contents[0], expected);
        assert_eq!(response.model_name, "fake");
    }
    let mut named = fp32(&[0.0; 12]);
    named.id = "42".into();
    named.model_version = "1".into();
    assert_eq!(call(address, &named).infer().id, "42");
}

#[test]
fn what_is_wrong_has_its_status_and_the_next_call_is_served() {
    let (server, _) = start(Settings::default());
    let address = server.grpc();
    let contents = |contents| Some(contents);
    let int64 = Contents {
        int64_contents: vec![0; 12],
        ..Contents::default()
    };
    let large = Contents {
        uint_contents: [256, 0, 0].repeat(4),
        ..Contents::default()
    };
    let mut both = fp32(&[0.0; 12]);
    both.raw_input_contents = vec![vec![0; 48]];
    let mut short = tensor("FP32", &[1, 3, 2, 2], None);
    short.raw_input_contents = vec![vec![0; 47]];
    let mut other = fp32(&[0.0; 12]);
    other.model_name = "nobody".into();
    let mut version = fp32(&[0.0; 12]);
    version.model_version = "2".into();
    let photo = Contents {
        bytes_contents: vec![b"no image".to_vec()],
        ..Contents::default()
    };
    for (request, status, words) in [
        (
            tensor("FP64", &[1, 3, 2, 2], None),
            INVALID_ARGUMENT,
            "is of datatype \"FP64\"",
        ),
        (
            tensor("FP32", &[1, 3, 9, 2], None),
            INVALID_ARGUMENT,
            "has shape [1, 3, 9, 2]",
        ),
        (
            tensor("FP32", &[1, 3, 2, 2], None),
            INVALID_ARGUMENT,
            "has no elements, expected are fp32_contents",
        ),
        (
            tensor("FP32", &[1, 3, 2, 2], contents(int64)),
            INVALID_ARGUMENT,
            "has its elements in int64_contents",
        ),
        (
            tensor("UINT8", &[1, 2, 2, 3], contents(large)),
            INVALID_ARGUMENT,
            "has 256 as element 0",
        ),
        (
            fp32(&[f32::NAN; 12]),
            INVALID_ARGUMENT,
            "has NaN as element 0",
        ),
        (
            fp32(&[0.0; 33 * 12]),
            INVALID_ARGUMENT,
            "33 images, allowed are 32",
        ),
        (both, INVALID_ARGUMENT, "allowed is one of them"),
        (short, INVALID_ARGUMENT, "has 47 bytes of data"),
        (other, NOT_FOUND, "there is no model \"nobody\""),
        (version, NOT_FOUND, "has no version \"2\""),
        (InferRequest::default(), NOT_FOUND, "there is no model \"\""),
        (
            tensor("BYTES", &[1], contents(photo)),
            INVALID_ARGUMENT,
            "this is not an image",
        ),
    ] {
        call(address, &request).fails(status, words);
    }
    let good = framed(&fp32(&[0.0; 12]));
    let mut compressed = good.clone();
    compressed[0] = 1;
    let mut unknown = good.clone();
    unknown[0] = 7;
    for (body, status, words) in [
        (
            &compressed[..],
            UNIMPLEMENTED,
            "compressed messages are not read",
        ),
        (&unknown, INVALID_ARGUMENT, "in no frame of gRPC"),
        (&good[..good.len() - 1], INVALID_ARGUMENT, "broke off"),
        (&good[..3], INVALID_ARGUMENT, "broke off"),
        (b"", INVALID_ARGUMENT, "broke off"),
        (b"\0\0\0\0\x01\xff", INVALID_ARGUMENT, "no protobuf message"),
        (
            b"\0\xff\xff\xff\xff",
            RESOURCE_EXHAUSTED,
            "allowed are 104857600 bytes",
        ),
    ] {
        call_raw(address, INFER, &[], body).fails(status, words);
    }
    let path = "/inference.GRPCInferenceService/TraceSetting";
    call_raw(address, path, &[], b"\0\0\0\0\0").fails(UNIMPLEMENTED, "there is no method");
    for call in ["Load", "Unload"] {
        let path = format!("/inference.GRPCInferenceService/RepositoryModel{call}");
        call_raw(address, &path, &[], b"\0\0\0\0\0").fails(UNIMPLEMENTED, "--model-control");
    }
    call_raw(address, INFER, &[("grpc-timeout", "soon")], &good)
        .fails(INVALID_ARGUMENT, "grpc-timeout is \"soon\"");
    assert_eq!(logits(&call_raw(address, INFER, &[], &good)), [0.0; 2]);
}

#[test]
fn calls_pass_the_desk_like_any_other_request() {
    let (server, gate) = start(Settings {
        workers: 1,
        queue_capacity: 1,
        ..Settings::default()
    });
    let address = server.grpc();
    let request = fp32(&[0.0; 12]);
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| call(address, &request));
        gate.wait_for(1);
        let second = scope.spawn(|| call(address, &request));
        eventually("the second waits", || {
            let text = String::from_utf8(server.get("/metrics").body).unwrap();
            text.contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 1")
        });
        let refused = call(address, &request);
        refused.fails(UNAVAILABLE, "the queue holds 1");
        assert!(refused.head.contains_key("retry-after"));
        gate.open();
        logits(&first.join().unwrap());
        logits(&second.join().unwrap());
    });
    gate.close();
    let late = call_raw(
        address,
        INFER,
        &[("grpc-timeout", "50m")],
        &framed(&request),
    );
    assert!(
        [DEADLINE_EXCEEDED, UNAVAILABLE].contains(&late.status),
        "{late:?}"
    );
    gate.open();
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let route = "route=\"/inference.GRPCInferenceService/ModelInfer\"";
    for line in [
        format!("resnet_requests_total{{model=\"fake\",{route},status=\"200\"}} 2"),
        "resnet_requests_rejected_total{model=\"fake\",reason=\"queue_full\"} 1".into(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let keys = resnet::desk::KeySet::parse("test", "alice:alices-very-own-key-1");
    server.desk.set_keys(keys.unwrap());
    call(address, &request).fails(UNAUTHENTICATED, "a key is needed");
    let key = [("x-api-key", "alices-very-own-key-1")];
    logits(&call_raw(address, INFER, &key, &framed(&request)));
    for open in ["ServerLive", "ServerReady"] {
        let path = format!("/inference.GRPCInferenceService/{open}");
        assert_eq!(
            call_raw(address, &path, &[], b"\0\0\0\0\0").body,
            b"\0\0\0\0\x02\x08\x01"
        );
    }
    server.desk.set_draining();
    let ready = call_raw(
        address,
        "/inference.GRPCInferenceService/ServerReady",
        &[],
        b"\0\0\0\0\0",
    );
    assert_eq!(ready.body, b"\0\0\0\0\0");
}

#[test]
fn nothing_is_ready_before_the_models_are() {
    let settings = Settings {
        grpc: true,
        ..Settings::default()
    };
    let server = TestServer::start_unready(&settings);
    call(server.grpc(), &fp32(&[0.0; 12])).fails(UNAVAILABLE, "the models are still loading");
    let health = |service: &[u8]| {
        let body = [&[0, 0, 0, 0, service.len() as u8][..], service].concat();
        call_raw(server.grpc(), "/grpc.health.v1.Health/Check", &[], &body)
    };
    assert_eq!(health(b"").body, b"\0\0\0\0\x02\x08\x02", "not serving");
    let (model, _) = FakeModel::loaded("fake");
    server.replace_models(vec![model], &settings);
    assert_eq!(health(b"").body, b"\0\0\0\0\x02\x08\x01", "serving");
    assert_eq!(health(b"\x0a\x01x").status, NOT_FOUND);
}

#[test]
fn stream_answers_one_after_the_other_and_goes_on_after_an_error() {
    let (server, _) = start(Settings::default());
    let mut other = fp32(&[0.0; 12]);
    other.model_name = "nobody".into();
    let body = [
        framed(&fp32(&[0.25; 12])),
        framed(&other),
        framed(&fp32(&[0.75; 12])),
    ]
    .concat();
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let called = call_raw(server.grpc(), path, &[], &body);
    assert_eq!(called.status, OK, "{called:?}");
    let mut rest = &called.body[..];
    let mut answers = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
        answers.push(StreamInferResponse::decode(&rest[5..5 + length]).unwrap());
        rest = &rest[5 + length..];
    }
    assert_eq!(answers.len(), 3);
    assert!(answers[0].infer_response.is_some() && answers[2].infer_response.is_some());
    assert!(
        answers[1]
            .error_message
            .contains("there is no model \"nobody\""),
        "{answers:?}"
    );
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let route = "route=\"/inference.GRPCInferenceService/ModelStreamInfer\"";
    for line in [
        format!("resnet_requests_total{{model=\"fake\",{route},status=\"200\"}} 2"),
        format!("resnet_requests_total{{model=\"\",{route},status=\"404\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let cut = call_raw(server.grpc(), path, &[], &body[..body.len() - 1]);
    assert_eq!(cut.status, INVALID_ARGUMENT, "{cut:?}");
}

#[test]
fn client_of_another_protocol_is_told_what_is_spoken() {
    let (server, _) = start(Settings::default());
    let answer = raw(
        server.grpc(),
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.contains("grpc-status: 12\r\n"), "{answer}");
    let plain = [("content-type", "application/json")];
    // The first of two content types counts; that of the harness is right.
    logits(&call_raw(
        server.grpc(),
        INFER,
        &plain,
        &framed(&fp32(&[0.0; 12])),
    ));
}

#[test]
fn port_is_closed_without_its_flag_and_named_in_the_log_with_it() {
    let mut server = Process::start(&["--grpc-port", "0"]);
    let line = server.log.message("gRPC");
    let address: SocketAddr = line["grpc_address"].as_str().unwrap().parse().unwrap();
    let mut request = tensor("BYTES", &[1], None);
    request.model_name = "resnet18-tiny".into();
    let photo = crate::harness::fixture_bytes("photos/espresso.png");
    request.raw_input_contents = vec![[&(photo.len() as u32).to_le_bytes()[..], &photo].concat()];
    let response = call(address, &request).infer();
    assert_eq!(response.raw_output_contents[0].len(), 800);
    let line = server.log.line("the call's", |l| l["path"] == INFER);
    assert_eq!(
        (&line["model"], &line["images"], &line["status"]),
        (&json!("resnet18-tiny"), &json!(1), &json!(200))
    );
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    drop(server);
    let server = Process::start(&[]);
    let log = server.log.so_far();
    assert!(
        !log.iter().any(|l| l["grpc_address"].is_string()),
        "{log:?}"
    );
}

#[test]
fn drain_ends_streams_between_two_requests() {
    let (server, _) = start(Settings {
        server: resnet::server::ServerOptions {
            shutdown_timeout: Duration::from_secs(60),
            ..Default::default()
        },
        ..Settings::default()
    });
    let address = server.grpc();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let path = "/inference.GRPCInferenceService/ModelStreamInfer";
        let request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (response, mut upload) = send.send_request(request, false).unwrap();
        upload
            .send_data(framed(&fp32(&[0.0; 12])).into(), false)
            .unwrap();
        let mut body = response.await.unwrap().into_body();
        let first = body.data().await.unwrap().unwrap();
        assert!(first.len() > 5);
        server.desk.set_draining();
        assert!(body.data().await.is_none());
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], UNAVAILABLE.to_string());
    });
}
