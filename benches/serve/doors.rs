//! What a door costs: one image, one connection, a tensor by every door of the Open Inference Protocol, in turn with the
//! engine alone; and what each request takes beyond the run of the network that the server has timed for it.

use std::net::SocketAddr;
use std::time::Instant;

use h2::client::SendRequest;
use prost::Message;
use resnet::engine::EngineOptions;
use resnet::registry::{ModelRef, load};
use resnet::tensor::{Image, Tensor};
use serde_json::json;

use crate::{Addresses, median, millis, start};

/// Rounds of which each asks once by every door; the first ones warm up.
const ROUNDS: usize = 205;
const WARM_UP: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<Output>,
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
}

#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(string, tag = "1")]
    name: String,
}

/// An open connection for calls.
struct Calls {
    runtime: tokio::runtime::Runtime,
    send: SendRequest<bytes::Bytes>,
    url: String,
}

impl Calls {
    fn connect(address: SocketAddr) -> Calls {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let send = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut builder = h2::client::Builder::new();
            // As the clients of gRPC do, so that an answer waits for no window.
            builder.initial_window_size(1 << 20);
            let (send, connection) = builder.handshake(stream).await.unwrap();
            tokio::spawn(connection);
            send
        });
        Calls {
            runtime,
            send,
            url: format!("http://{address}/inference.GRPCInferenceService/ModelInfer"),
        }
    }

    /// Bytes of the answer.
    fn call(&self, frame: &bytes::Bytes) -> usize {
        self.runtime.block_on(async {
            let mut send = self.send.clone().ready().await.unwrap();
            let request = axum::http::Request::post(&self.url)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .unwrap();
            let (response, mut upload) = send.send_request(request, false).unwrap();
            upload.send_data(frame.clone(), true).unwrap();
            let mut body = response.await.unwrap().into_body();
            let mut size = 0;
            while let Some(chunk) = body.data().await {
                let chunk = chunk.unwrap();
                let _ = body.flow_control().release_capacity(chunk.len());
                size += chunk.len();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            assert_eq!(trailers["grpc-status"], "0");
            size
        })
    }
}

/// Measures and prints.
pub(crate) fn run(reference: &ModelRef) {
    let model = load(reference, &EngineOptions::default()).unwrap();
    let shape = model.model.spec().size.shape();
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|i: usize| (i % 255) as f32 / 127.0 - 1.0)
        .collect();
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let name = model.name.clone();
    let tensor = Tensor::new(shape.to_vec(), values.clone());
    let mut engine = model.model.spawn().unwrap();

    let Addresses { http, grpc } = start(reference, 1);
    let url = format!("http://{http}/v2/models/{name}/infer");
    let agent = ureq::Agent::new_with_defaults();
    let [_, height, width] = shape;
    let input = |rest: (&str, serde_json::Value)| {
        let mut input =
            json!({"name": "input", "datatype": "FP32", "shape": [1, 3, height, width]});
        input[rest.0] = rest.1;
        json!({
            "inputs": [input],
            "outputs": [{"name": "output", "parameters": {"binary_data": rest.0 == "parameters"}}],
        })
    };
    let output = model.model.spec().output_name().to_owned();
    let named = |message: serde_json::Value| {
        message
            .to_string()
            .replace("\"output\"", &format!("\"{output}\""))
    };
    let head = named(input((
        "parameters",
        json!({"binary_data_size": raw.len()}),
    )));
    let binary = [head.as_bytes(), &raw].concat();
    let text = named(input(("data", json!(values))));
    let message = InferRequest {
        model_name: name.clone(),
        inputs: vec![Input {
            name: "input".into(),
            datatype: "FP32".into(),
            shape: vec![1, 3, height as i64, width as i64],
        }],
        outputs: vec![Output {
            name: output.clone(),
        }],
        raw_input_contents: vec![raw],
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = bytes::Bytes::from([&[0][..], &length, &message].concat());
    let calls = Calls::connect(grpc);

    let post = |body: &[u8], json_length: Option<usize>| {
        let mut request = agent.post(&url);
        if let Some(length) = json_length {
            request = request.header("inference-header-content-length", length.to_string());
        }
        let mut response = request.send(body).unwrap();
        response.body_mut().read_to_vec().unwrap().len()
    };
    // Milliseconds that the network has run in the server so far.
    let stats = format!("http://{http}/v2/models/{name}/stats");
    let ran = || {
        let text = agent
            .get(&stats)
            .call()
            .unwrap()
            .body_mut()
            .read_to_string();
        let stats: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
        let infer = &stats["model_stats"][0]["inference_stats"]["compute_infer"];
        infer["ns"].as_f64().unwrap() / 1e6
    };
    let (mut alone, mut doors) = (
        Vec::new(),
        [const {
            Door {
                whole: Vec::new(),
                beyond: Vec::new(),
            }
        }; 3],
    );
    for round in 0..ROUNDS {
        let image = Image::from(tensor.clone());
        let begin = Instant::now();
        engine.run(std::slice::from_ref(&image)).unwrap();
        let time = millis(begin);
        if round >= WARM_UP {
            alone.push(time);
        }
        let asks: [&dyn Fn() -> usize; 3] = [
            &|| post(&binary, Some(head.len())),
            &|| calls.call(&frame),
            &|| post(text.as_bytes(), None),
        ];
        for (door, ask) in doors.iter_mut().zip(asks) {
            let before = ran();
            let begin = Instant::now();
            assert!(
                ask() > 4 * model.labels.len().min(2),
                "an answer has the numbers"
            );
            let whole = millis(begin);
            if round >= WARM_UP {
                door.whole.push(whole);
                door.beyond.push(whole - (ran() - before));
            }
        }
    }
    let count = ROUNDS - WARM_UP;
    println!("one tensor of {height}×{width}, one connection, medians of {count} in turn:");
    println!("  engine alone   {:8.2} ms", median(alone));
    let names = ["REST, binary", "gRPC", "REST, JSON"];
    let sizes = [binary.len(), frame.len(), text.len()];
    for ((name, size), mut door) in names.into_iter().zip(sizes).zip(doors) {
        door.beyond.sort_by(f64::total_cmp);
        println!(
            "  {name:<14} {:8.2} ms, {:.2} ms beyond its own run of the network (p90 {:.2} ms), {size} bytes sent",
            median(door.whole),
            door.beyond[count / 2],
            door.beyond[count * 9 / 10],
        );
    }
}

/// Milliseconds of the requests by one door.
struct Door {
    whole: Vec<f64>,
    /// What they took beside the run of the network that the server itself has timed.
    beyond: Vec<f64>,
}
