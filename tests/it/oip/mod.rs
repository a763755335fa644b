//! The Open Inference Protocol by REST: routes, tensors and photos, the extensions, and what real clients do.

mod doors;
mod features;
mod infer;
mod routes;
mod traps;

use serde_json::{Value, json};

use crate::harness::{Answer, TestServer, agent};

/// A header that tells where the JSON of a body ends, and is told of an answer.
const JSON_LENGTH: &str = "inference-header-content-length";

/// The answer to a POST with header lines.
fn post_with(server: &TestServer, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = agent().post(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send(body))
}

/// The answer to a message with bytes behind its JSON.
fn post_binary(server: &TestServer, path: &str, message: &Value, tail: &[u8]) -> Answer {
    let json = message.to_string();
    let body = [json.as_bytes(), tail].concat();
    post_with(
        server,
        path,
        &[(JSON_LENGTH, &json.len().to_string())],
        &body,
    )
}

/// A message with one input.
fn message(datatype: &str, shape: &[usize], rest: &Value) -> Value {
    let mut input = json!({"name": "input", "datatype": datatype, "shape": shape});
    for (name, value) in rest.as_object().unwrap() {
        input[name] = value.clone();
    }
    json!({"inputs": [input]})
}

/// The text of an error, checked for its form: clients look into nothing else.
fn error(answer: &Answer, status: u16) -> String {
    assert_eq!(
        answer.status,
        status,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{answer:?}"
    );
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    body["error"].as_str().unwrap().to_owned()
}

/// An answer taken apart as clients do it: each output's name with its numbers or lines.
fn outputs(answer: &Answer) -> Vec<(String, Output)> {
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let (json, mut tail) = match answer.header(JSON_LENGTH) {
        Some(length) => {
            assert_eq!(
                answer.header("content-type"),
                Some("application/octet-stream")
            );
            let length = length.parse().unwrap();
            assert!(length < answer.body.len(), "there is a tail");
            answer.body.split_at(length)
        }
        None => {
            assert_eq!(answer.header("content-type"), Some("application/json"));
            (&answer.body[..], &[][..])
        }
    };
    let body: Value = serde_json::from_slice(json).unwrap();
    let mut found = Vec::new();
    for output in body["outputs"].as_array().unwrap() {
        let is_text = output["datatype"] == "BYTES";
        let shape = output["shape"].as_array().unwrap().iter();
        let elements: u64 = shape.map(|n| n.as_u64().unwrap()).product();
        let values = match (output["parameters"]["binary_data_size"].as_u64(), is_text) {
            (None, false) => {
                let data = output["data"].as_array().unwrap().iter();
                Output::Numbers(data.map(|v| v.as_f64().unwrap() as f32).collect())
            }
            (None, true) => {
                let data = output["data"].as_array().unwrap().iter();
                Output::Lines(data.map(|v| v.as_str().unwrap().to_owned()).collect())
            }
            (Some(size), is_text) => {
                let (own, rest) = tail.split_at(size as usize);
                tail = rest;
                match is_text {
                    false => Output::Numbers(floats(own)),
                    true => Output::Lines(strings(own)),
                }
            }
        };
        let count = match &values {
            Output::Numbers(values) => values.len(),
            Output::Lines(lines) => lines.len(),
        };
        assert_eq!(count as u64, elements, "{output}");
        found.push((output["name"].as_str().unwrap().to_owned(), values));
    }
    assert!(tail.is_empty(), "the sizes tell all of the tail");
    found
}

/// What an output holds.
#[derive(Debug, Clone, PartialEq)]
enum Output {
    Numbers(Vec<f32>),
    Lines(Vec<String>),
}

impl Output {
    fn numbers(&self) -> &[f32] {
        match self {
            Output::Numbers(values) => values,
            Output::Lines(lines) => panic!("{lines:?} are no numbers"),
        }
    }

    fn lines(&self) -> &[String] {
        match self {
            Output::Lines(lines) => lines,
            Output::Numbers(_) => panic!("numbers are no lines"),
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

fn strings(mut bytes: &[u8]) -> Vec<String> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (string, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        strings.push(String::from_utf8(string.to_vec()).unwrap());
        bytes = rest;
    }
    assert!(bytes.is_empty());
    strings
}

/// Strings as a tail has them, each behind its length.
fn with_lengths(parts: &[&[u8]]) -> Vec<u8> {
    let part = |part: &&[u8]| [&(part.len() as u32).to_le_bytes()[..], part].concat();
    parts.iter().flat_map(part).collect()
}

/// Values as a tail has them.
fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
