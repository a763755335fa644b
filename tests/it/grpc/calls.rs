//! What a call may hold and what it is answered: tensors, photos, and everything that is wrong with them.

use super::{
    Contents, INFER, INVALID_ARGUMENT, InferRequest, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED,
    call, call_raw, fp32, framed, logits, start, tensor,
};
use crate::fake::plain_png;
use crate::harness::{Settings, raw};

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
fn any_other_path_is_a_method_that_is_not_there() {
    let (server, _) = start(Settings::default());
    let long = format!("/{}", "x".repeat(12 << 10));
    for path in [
        "/",
        "/a",
        "//",
        "///",
        "/a.B/",
        "/a.B/c?d",
        "/a.B/{x}",
        "/a.B/%3Cx%3E",
        "/%ff%fe",
        "/%",
        "/%00",
        "/é",
        "/../..",
        "/inference.GRPCInferenceService",
        "/inference.GRPCInferenceService/",
        "/inference.GRPCInferenceService/modelInfer",
        "/inference.GRPCInferenceService/ModelInfer/",
        "//inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/Model%49nfer",
        "/grpc.health.v1.Health/Chec",
        "/grpc.reflection.v1.ServerReflection/",
        &long,
    ] {
        let called = call_raw(server.grpc(), path, &[], b"\0\0\0\0\0");
        assert_eq!(called.status, UNIMPLEMENTED, "{path}: {called:?}");
    }
    assert_eq!(logits(&call(server.grpc(), &fp32(&[0.0; 12]))), [0.0; 2]);
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
