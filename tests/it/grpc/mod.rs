//! The Open Inference Protocol by gRPC, asked by bare HTTP/2: statuses, limits and what no library would send. Real
//! clients ask in tests/clients.

mod calls;
mod carried;
mod desk;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, Request};
use prost::Message;

use crate::fake::{FakeModel, Gate};
use crate::harness::http2::{Exchanged, block_on, connect, exchange};
use crate::harness::{Process, Settings, TestServer, fixture_bytes};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) outputs: Vec<RequestedOutput>,
    #[prost(bytes, repeated, tag = "7")]
    pub(crate) raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct RequestedOutput {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contents {
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
pub(crate) struct InferResponse {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Input>,
    #[prost(bytes, repeated, tag = "6")]
    pub(crate) raw_output_contents: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct StreamInferResponse {
    #[prost(string, tag = "1")]
    error_message: String,
    #[prost(message, optional, tag = "2")]
    infer_response: Option<InferResponse>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct IndexRequest {
    #[prost(bool, tag = "2")]
    ready: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Index {
    #[prost(message, repeated, tag = "1")]
    models: Vec<ModelIndex>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ModelIndex {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    state: String,
    #[prost(string, tag = "4")]
    reason: String,
}

pub(crate) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

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
pub(crate) struct Called {
    pub(crate) status: u32,
    message: String,
    head: HeaderMap,
    body: Vec<u8>,
}

impl Called {
    fn of(exchanged: Exchanged) -> Called {
        let Exchanged {
            status,
            head,
            body,
            trailers,
        } = exchanged;
        assert_eq!(status, 200, "{head:?}");
        let found = |name| trailers.get(name).or(head.get(name));
        let text = |name| found(name).map(|v| v.to_str().unwrap().to_owned());
        Called {
            status: text("grpc-status").expect("a status").parse().unwrap(),
            message: unescaped(&text("grpc-message").unwrap_or_default()),
            head,
            body,
        }
    }

    /// The only message of a call that succeeded.
    pub(crate) fn infer(&self) -> InferResponse {
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

/// A call of this method.
fn request(origin: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::post(format!("{origin}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Sends a body as it is, and reads everything.
pub(crate) fn call_raw(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Called {
    let request = request(&format!("http://{address}"), path, headers);
    let exchange = async { exchange(connect(address).await, request, body.to_vec()).await };
    Called::of(block_on(exchange))
}

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &bytes].concat()
}

pub(crate) fn call(address: SocketAddr, request: &InferRequest) -> Called {
    call_raw(address, INFER, &[], &framed(request))
}

/// Where a process speaks gRPC.
pub(crate) fn address_of(server: &Process) -> SocketAddr {
    let line = server.log.message("gRPC");
    line["grpc_address"].as_str().unwrap().parse().unwrap()
}

/// What the index has: names, versions, states and reasons; of the models that are ready, or of all.
pub(crate) fn index(address: SocketAddr, ready: bool) -> Vec<[String; 4]> {
    let request = framed(&IndexRequest { ready });
    let path = "/inference.GRPCInferenceService/RepositoryIndex";
    let called = call_raw(address, path, &[], &request);
    assert_eq!(called.status, OK, "{called:?}");
    let index = Index::decode(&called.body[5..]).unwrap();
    let entry = |m: ModelIndex| [m.name, m.version, m.state, m.reason];
    index.models.into_iter().map(entry).collect()
}

fn start(settings: Settings) -> (TestServer, Arc<Gate>) {
    let (model, gate) = FakeModel::loaded("fake");
    let settings = Settings {
        grpc: true,
        ..settings
    };
    (TestServer::start(vec![model], &settings), gate)
}

pub(crate) fn tensor(datatype: &str, shape: &[i64], contents: Option<Contents>) -> InferRequest {
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

/// An output that is asked for by its name.
pub(crate) fn requested(name: &str) -> RequestedOutput {
    RequestedOutput { name: name.into() }
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

/// The sample photo for the built-in model, in one message.
fn photo() -> InferRequest {
    let photo = fixture_bytes("photos/espresso.png");
    let mut request = tensor("BYTES", &[1], None);
    request.model_name = "resnet18-tiny".into();
    request.raw_input_contents = vec![[&(photo.len() as u32).to_le_bytes()[..], &photo].concat()];
    request
}
