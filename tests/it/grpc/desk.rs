//! Calls at the desk: admission, keys, deadlines, readiness, metrics and log are those of any request.

use std::net::SocketAddr;
use std::thread;

use serde_json::json;

use super::{
    DEADLINE_EXCEEDED, INFER, NOT_FOUND, UNAUTHENTICATED, UNAVAILABLE, UNIMPLEMENTED, call,
    call_raw, fp32, framed, logits, photo, start,
};
use crate::fake::FakeModel;
use crate::harness::{Process, Settings, TestServer, eventually};

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
fn port_is_closed_without_its_flag_and_named_in_the_log_with_it() {
    let mut server = Process::start(&["--grpc-port", "0"]);
    let line = server.log.message("gRPC");
    let address: SocketAddr = line["grpc_address"].as_str().unwrap().parse().unwrap();
    let response = call(address, &photo()).infer();
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
fn health_and_reflection_are_counted_by_what_the_client_gets() {
    let (server, _) = start(Settings::default());
    let address = server.grpc();
    let health = "/grpc.health.v1.Health";
    for (path, body, status) in [
        (format!("{health}/Check"), &b"\0\0\0\0\0"[..], 0),
        (
            format!("{health}/Check"),
            b"\0\0\0\0\x03\x0a\x01x",
            NOT_FOUND,
        ),
        (format!("{health}/Nothing"), b"\0\0\0\0\0", UNIMPLEMENTED),
    ] {
        let called = call_raw(address, &path, &[], body);
        assert_eq!(called.status, status, "{path}: {called:?}");
    }
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    for status in [200, 404, 501] {
        let line = format!(
            "resnet_requests_total{{model=\"\",route=\"{health}/{{method}}\",status=\"{status}\"}} 1"
        );
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}
