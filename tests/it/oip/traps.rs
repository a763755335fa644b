//! What real clients do that the protocol's text does not say, one test a trap.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{JSON_LENGTH, bytes_of, error, message, outputs, post_binary, post_with};
use crate::fake::{FakeModel, plain_png};
use crate::harness::{Settings, TestServer, raw, read_answer};

const INFER: &str = "/v2/models/fake/infer";

fn serving() -> TestServer {
    let (model, _) = FakeModel::loaded("fake");
    TestServer::start(vec![model], &Settings::default())
}

fn tensor() -> Value {
    message("FP32", &[1, 3, 2, 2], &json!({"data": vec![0.5; 12]}))
}

/// A request without any header that a library would add.
fn bare(server: &TestServer, lines: &str, body: &[u8]) -> String {
    let head = format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n");
    raw(server.address, &[head.as_bytes(), body].concat())
}

#[test]
fn no_content_type_is_needed_and_none_misleads() {
    let server = serving();
    let json = tensor().to_string();
    let length = format!("Content-Length: {}\r\n", json.len());
    for kind in [
        "",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: text/plain\r\n",
    ] {
        let answer = bare(&server, &format!("{length}{kind}"), json.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let mut binary = message(
        "FP32",
        &[1, 3, 2, 2],
        &json!({"parameters": {"binary_data_size": 48}}),
    );
    binary["outputs"] = json!([{"name": "logits"}]);
    let binary = binary.to_string();
    let tail = bytes_of(&[0.5; 12]);
    let lines = format!(
        "Content-Length: {}\r\n{JSON_LENGTH}: {}\r\nContent-Type: application/json\r\n",
        binary.len() + 48,
        binary.len()
    );
    let answer = bare(&server, &lines, &[binary.as_bytes(), &tail].concat());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn binary_outputs_come_when_asked_for_and_their_header_only_then() {
    let server = serving();
    let mut request = tensor();
    assert!(
        server
            .post_json(INFER, &request)
            .header(JSON_LENGTH)
            .is_none()
    );
    let plain = outputs(&server.post_json(INFER, &request));
    request["parameters"] = json!({"binary_data_output": true});
    let answer = server.post_json(INFER, &request);
    assert!(answer.header(JSON_LENGTH).is_some());
    assert_eq!(outputs(&answer), plain);
    request["outputs"] = json!([
        {"name": "probabilities", "parameters": {"binary_data": false}},
        {"name": "logits"},
    ]);
    let mixed = server.post_json(INFER, &request);
    let expected = [plain[1].clone(), plain[0].clone()];
    assert_eq!(
        outputs(&mixed),
        expected,
        "in the order in which they were asked for"
    );
    let length = mixed.header(JSON_LENGTH).unwrap().parse::<usize>().unwrap();
    assert_eq!(
        mixed.body.len() - length,
        8,
        "one of two is behind the JSON"
    );
}

#[test]
fn id_is_repeated_as_it_came_and_made_up_by_nobody() {
    let server = serving();
    let mut request = tensor();
    assert!(server.post_json(INFER, &request).ok().get("id").is_none());
    for id in ["42", "", "ä\u{1F980}\"", &"x".repeat(1000)] {
        request["id"] = json!(id);
        assert_eq!(server.post_json(INFER, &request).ok()["id"], id);
    }
}

#[test]
fn names_are_decoded_once_and_compared_as_they_are() {
    let (model, _) = FakeModel::loaded("a/b c%41");
    let server = TestServer::start(vec![model], &Settings::default());
    server
        .post_json("/v2/models/a%2Fb%20c%2541/infer", &tensor())
        .ok();
    error(
        &server.post_json("/v2/models/a%2Fb%20c%41/infer", &tensor()),
        404,
    );
}

#[test]
fn json_length_that_is_wrong_is_named_and_the_body_is_not_read_as_something_else() {
    let server = serving();
    let body = tensor().to_string();
    let beyond = (body.len() + 1).to_string();
    for wrong in [
        "-1",
        "x",
        "1.5",
        "+5",
        "",
        "0x5",
        &beyond,
        "2147483648",
        "9223372036854775808",
        "18446744073709551616",
    ] {
        let text = error(
            &post_with(&server, INFER, &[(JSON_LENGTH, wrong)], body.as_bytes()),
            400,
        );
        assert!(
            text.contains(&format!("Inference-Header-Content-Length is \"{wrong}\"")),
            "{text}"
        );
    }
    let twice = [(JSON_LENGTH, "5"), (JSON_LENGTH, "5")];
    let text = error(&post_with(&server, INFER, &twice, body.as_bytes()), 400);
    assert!(text.contains("\"5, 5\", allowed is one value"), "{text}");
    let short = post_with(&server, INFER, &[(JSON_LENGTH, "5")], body.as_bytes());
    assert!(error(&short, 400).contains("it ends early, at line 1 column 5"));
    let whole = post_with(
        &server,
        INFER,
        &[(JSON_LENGTH, &body.len().to_string())],
        body.as_bytes(),
    );
    assert_eq!(whole.status, 200, "a tail may be empty");
}

#[test]
fn json_length_is_compared_with_a_body_in_chunks_when_it_is_there() {
    let server = serving();
    let request = message(
        "FP32",
        &[1, 3, 2, 2],
        &json!({"parameters": {"binary_data_size": 48}}),
    )
    .to_string();
    let body = [request.as_bytes(), &bytes_of(&[0.5; 12])].concat();
    for (length, status) in [
        (request.len(), 200),
        (body.len() + 1, 400),
        (usize::MAX, 400),
    ] {
        let mut chunks = Vec::new();
        for chunk in body.chunks(7) {
            write!(chunks, "{:x}\r\n", chunk.len()).unwrap();
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\n\r\n");
        let lines = format!("Transfer-Encoding: chunked\r\n{JSON_LENGTH}: {length}\r\n");
        let answer = bare(&server, &lines, &chunks);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[test]
fn compressed_bodies_are_refused_by_name() {
    let server = serving();
    for encoding in ["gzip", "deflate", "br"] {
        let answer = post_with(&server, INFER, &[("content-encoding", encoding)], b"x");
        let text = error(&answer, 415);
        assert!(
            text.contains(&format!("content-encoding \"{encoding}\" is not supported")),
            "{text}"
        );
    }
    let body = tensor().to_string();
    let plain = post_with(
        &server,
        INFER,
        &[("content-encoding", "identity")],
        body.as_bytes(),
    );
    assert_eq!(plain.status, 200);
}

#[test]
fn image_alone_is_the_body_of_a_request_with_no_json() {
    let server = serving();
    let answer = post_with(&server, INFER, &[(JSON_LENGTH, "0")], &plain_png(51));
    let found = outputs(&answer);
    assert_eq!(found.len(), 2);
    assert!(
        answer.header(JSON_LENGTH).is_some(),
        "all outputs are binary"
    );
    error(&post_with(&server, INFER, &[(JSON_LENGTH, "0")], b""), 400);
    error(
        &post_with(&server, INFER, &[(JSON_LENGTH, "0")], b"no image"),
        415,
    );
}

#[test]
fn numbers_in_json_are_the_shortest_that_give_the_same_bits() {
    let server = serving();
    for value in [
        0.1_f32,
        1.0 / 3.0,
        f32::MIN_POSITIVE,
        1e-45,
        1e37,
        -0.0,
        16_777_216.0,
    ] {
        let request = message("FP32", &[1, 3, 2, 2], &json!({"data": vec![value; 12]}));
        let answer = server.post_json(INFER, &request);
        let got = outputs(&answer)[0].1.numbers()[1];
        assert_eq!(got.to_bits(), value.to_bits(), "{value}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(
            text.contains(&serde_json::to_string(&value).unwrap()),
            "{text}"
        );
        assert!(!text.contains("null"), "{text}");
    }
}

#[test]
fn next_request_on_the_connection_is_served_after_an_error() {
    let server = serving();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let right = tensor().to_string();
    for (body, status) in [
        ("{}", 400),
        (right.as_str(), 200),
        ("[", 400),
        (right.as_str(), 200),
    ] {
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), body.as_bytes()].concat())
            .unwrap();
        let (head, _) = read_answer(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[test]
fn rows_may_be_mixed_between_json_and_tail_only_as_announced() {
    let server = serving();
    let both = message(
        "FP32",
        &[1, 3, 2, 2],
        &json!({"data": vec![0.5; 12], "parameters": {"binary_data_size": 48}}),
    );
    let answer = post_binary(&server, INFER, &both, &bytes_of(&[0.5; 12]));
    assert!(error(&answer, 400).contains("has both \"data\" and a binary_data_size"));
    let left = post_binary(&server, INFER, &tensor(), b"x");
    assert!(error(&left, 400).contains("1 bytes are left behind"));
}
