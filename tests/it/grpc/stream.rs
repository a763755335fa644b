//! `ModelStreamInfer`: one request after the other on one call.

use std::time::Duration;

use prost::Message;

use super::{
    INVALID_ARGUMENT, OK, StreamInferResponse, UNAVAILABLE, UNIMPLEMENTED, call_raw, fp32, framed,
    request, start,
};
use crate::harness::Settings;
use crate::harness::http2::{block_on, connect};

const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

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
    let called = call_raw(server.grpc(), STREAM, &[], &body);
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
    let metrics = || String::from_utf8(server.get("/metrics").body).unwrap();
    let counted = |status: u16| -> u64 {
        let start =
            format!("resnet_requests_total{{model=\"\",route=\"{STREAM}\",status=\"{status}\"}} ");
        let metrics = metrics();
        let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
        value.map_or(0, |value| value.parse().unwrap())
    };
    let metrics = metrics();
    let route = "route=\"/inference.GRPCInferenceService/ModelStreamInfer\"";
    for line in [
        format!("resnet_requests_total{{model=\"fake\",{route},status=\"200\"}} 2"),
        format!("resnet_requests_total{{model=\"\",{route},status=\"404\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
    let cut = call_raw(server.grpc(), STREAM, &[], &body[..body.len() - 1]);
    assert_eq!(cut.status, INVALID_ARGUMENT, "{cut:?}");
    // What ends a call is counted as the request that it is.
    for (body, grpc, status) in [
        (&b"\x01\0\0\0\0"[..], UNIMPLEMENTED, 501),
        (b"\0\0", INVALID_ARGUMENT, 400),
    ] {
        let before = counted(status);
        assert_eq!(call_raw(server.grpc(), STREAM, &[], body).status, grpc);
        assert_eq!(counted(status), before + 1, "{status}");
    }
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
    block_on(async {
        let stream = connect(address).await;
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = request(&format!("http://{address}"), STREAM, &[]);
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
