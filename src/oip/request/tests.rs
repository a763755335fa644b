//! What the reading of a request refuses and takes, on a model of 2×2 pixels and two classes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::oip::{InputForm, OutputForm};
use crate::tensor::Size;

const MAX_IMAGES: usize = 4;

fn form() -> ModelForm {
    let output = |name, values| OutputForm { name, values };
    ModelForm {
        input: InputForm {
            name: "data".into(),
            size: Size::square(2),
        },
        outputs: vec![
            output("logits", Values::Raw),
            output("probabilities", Values::Probabilities),
        ],
        own_output: "dense0_fwd".into(),
        classes: 2,
    }
}

/// The work of a body with this JSON and this tail.
fn with_tail(json: &Value, tail: &[u8]) -> Result<Work, String> {
    let json = json.to_string();
    let body = [json.as_bytes(), tail].concat();
    take_apart(body.into(), Some(json.len() as u64), &form(), MAX_IMAGES).map_err(|e| e.to_string())
}

/// The work of a body that is this JSON.
fn of(json: &Value) -> Result<Work, String> {
    let body = json.to_string().into_bytes().into();
    take_apart(body, None, &form(), MAX_IMAGES).map_err(|e| e.to_string())
}

fn input(datatype: &str, shape: &Value, data: &Value) -> Value {
    json!({"inputs": [{"name": "input", "datatype": datatype, "shape": shape, "data": data}]})
}

fn error(work: Result<Work, String>) -> String {
    work.expect_err("it is wrong")
}

/// Twelve values, flat and nested to `[1, 3, 2, 2]`.
fn flat() -> Value {
    json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11.5])
}

fn nested() -> Value {
    json!([[[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11.5]]]])
}

fn values() -> Vec<u8> {
    let values = (0..11_u8).map(f32::from).chain([11.5]);
    values.flat_map(f32::to_le_bytes).collect()
}

#[test]
fn numbers_are_the_same_flat_nested_and_binary() {
    let shape = json!([1, 3, 2, 2]);
    let expected = vec![Source::Values(values().into())];
    for data in [flat(), nested()] {
        let work = of(&input("FP32", &shape, &data)).expect("it is right");
        assert_eq!(work.images, expected);
    }
    let mut binary = input("FP32", &shape, &Value::Null);
    binary["inputs"][0]["parameters"] = json!({"binary_data_size": 48});
    let work = with_tail(&binary, &values()).expect("it is right");
    assert_eq!(work.images, expected);
}

#[test]
fn batch_becomes_one_image_after_the_other() {
    let pixels: Vec<u8> = (0..24).collect();
    let shape = json!([2, 2, 2, 3]);
    let expected: Vec<_> = pixels
        .chunks(12)
        .map(|p| Source::Pixels(Bytes::copy_from_slice(p)))
        .collect();
    let json = of(&input("UINT8", &shape, &json!(pixels))).expect("it is right");
    assert_eq!(json.images, expected);
    // An only input may leave its size out.
    let binary = with_tail(&input("UINT8", &shape, &Value::Null), &pixels);
    assert_eq!(binary.expect("it is right").images, expected);
}

#[test]
fn photos_are_base64_in_json_and_have_their_length_before_them_in_the_tail() {
    let photos = |parts: &[&'static [u8]]| -> Vec<Source> {
        let source = |part: &&'static [u8]| Source::Encoded(Bytes::from_static(part));
        parts.iter().map(source).collect()
    };
    let expected = photos(&[b"hello", b"", b"x"]);
    let data = json!(["aGVsbG8=", "", "eA=="]);
    let json = of(&input("BYTES", &json!([3]), &data)).expect("it is right");
    assert_eq!(json.images, expected);
    let column = json!([["aGVsbG8="], [""], ["eA=="]]);
    let json = of(&input("BYTES", &json!([3, 1]), &column)).expect("it is right");
    assert_eq!(json.images, expected);
    let tail = b"\x05\0\0\0hello\0\0\0\0\x01\0\0\0x";
    let binary = with_tail(&input("BYTES", &json!([3]), &Value::Null), tail);
    assert_eq!(binary.expect("it is right").images, expected);
    let raw = take_apart(Bytes::from_static(b"hello"), Some(0), &form(), MAX_IMAGES);
    let raw = raw.expect("it is right");
    assert_eq!(raw.images, photos(&[b"hello"]));
    assert!(raw.wanted.outputs.iter().all(|output| output.is_binary));
}

#[test]
fn wrong_tensors_are_named_with_what_is_allowed() {
    let fp32 = json!([1, 3, 2, 2]);
    for (datatype, shape, data, want) in [
        (
            "FP16",
            fp32.clone(),
            flat(),
            "is of datatype \"FP16\"; allowed are FP32 of shape [-1, 3, 2, 2], UINT8",
        ),
        (
            "STRING",
            json!([1]),
            json!(["eA=="]),
            "\"STRING\", which is no datatype of the protocol",
        ),
        (
            "FP32",
            json!([1, 2, 2, 3]),
            flat(),
            "has shape [1, 2, 2, 3], allowed are [N, 3, 2, 2] with N from 1 to 4",
        ),
        (
            "FP32",
            json!([3, 2, 2]),
            flat(),
            "has shape [3, 2, 2], allowed",
        ),
        (
            "FP32",
            json!([0, 3, 2, 2]),
            json!([]),
            "has shape [0, 3, 2, 2], allowed",
        ),
        (
            "FP32",
            json!([-1, 3, 2, 2]),
            flat(),
            "has shape [-1, 3, 2, 2], allowed",
        ),
        ("FP32", json!([]), flat(), "has shape [], allowed"),
        (
            "FP32",
            json!([1, 3, 2, 2, 1, 1, 1, 1, 1, 1]),
            flat(),
            "1, 1, …], allowed",
        ),
        (
            "FP32",
            json!([5, 3, 2, 2]),
            flat(),
            "the request has 5 images, allowed are 4",
        ),
        (
            "FP32",
            json!([i64::MAX, 3, 2, 2]),
            flat(),
            "the request has 9223372036854775807 images",
        ),
        (
            "FP32",
            json!([i64::MIN, 3, 2, 2]),
            flat(),
            "has shape [-9223372036854775808, 3",
        ),
        (
            "UINT8",
            json!([1, 3, 2, 2]),
            flat(),
            "allowed are [N, 2, 2, 3]",
        ),
        (
            "BYTES",
            json!([1, 2]),
            json!(["eA==", "eA=="]),
            "allowed are [N] with",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([1, 2]),
            "has 2 elements, its shape [1, 3, 2, 2] has 12",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([]),
            "has a list of 0 at depth 1",
        ),
        (
            "FP32",
            fp32.clone(),
            json!((0..13).collect::<Vec<_>>()),
            "has more elements than its shape [1, 3, 2, 2], which has 12",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]),
            "has a list of 2 at depth 2 of its data",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]),
            "has element 0 in 2 lists",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([0, [1]]),
            "has element 1 in 2 lists",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([[[[[0]]]]]),
            "nested deeper than its shape, 4 deep",
        ),
        (
            "FP32",
            fp32.clone(),
            json!([1e39, 1]),
            "has 1e39 as element 0, allowed are finite",
        ),
        (
            "FP32",
            fp32.clone(),
            json!(["aGVsbG8="]),
            "base64 of an image is of datatype BYTES",
        ),
        ("FP32", fp32.clone(), json!([null]), "has null as element 0"),
        ("FP32", fp32.clone(), json!([true]), "has true as element 0"),
        (
            "FP32",
            fp32.clone(),
            json!([{"b64": "eA=="}]),
            "has an object as element 0",
        ),
        (
            "FP32",
            fp32.clone(),
            json!("eA=="),
            "has data that is no list",
        ),
        (
            "UINT8",
            json!([1, 2, 2, 3]),
            flat(),
            "has 11.5 as element 11, allowed are whole numbers from 0 to 255",
        ),
        (
            "UINT8",
            json!([1, 2, 2, 3]),
            json!([256]),
            "has 256 as element 0",
        ),
        (
            "UINT8",
            json!([1, 2, 2, 3]),
            json!([-1]),
            "has -1 as element 0",
        ),
        (
            "BYTES",
            json!([1]),
            json!([7]),
            "has a number as element 0, expected is an encoded image as base64",
        ),
        (
            "BYTES",
            json!([2]),
            json!(["eA=="]),
            "has 1 elements, its shape [2] has 2",
        ),
        (
            "BYTES",
            json!([1]),
            json!(["https://example.com/a.jpg"]),
            "an element 0 that is not base64: it is a URL",
        ),
        (
            "BYTES",
            json!([1]),
            json!(["{}"]),
            "an element 0 that is not base64",
        ),
    ] {
        let got = error(of(&input(datatype, &shape, &data)));
        assert!(got.contains(want), "{datatype} {shape}: {got}");
    }
}

#[test]
fn wrong_lengths_of_the_tail_are_named() {
    let sized = |datatype: &str, shape: Value, size: Value| {
        let mut request = input(datatype, &shape, &Value::Null);
        request["inputs"][0]["parameters"] = json!({"binary_data_size": size});
        request
    };
    let (fp32, bytes) = (json!([1, 3, 2, 2]), json!([1]));
    let jpeg = b"\xFF\xD8\xFF\xE0\0\x10JFIF".as_slice();
    for (request, tail, want) in [
        (
            sized("FP32", fp32.clone(), json!(47)),
            &values()[..47],
            "has 47 bytes of data, its shape [1, 3, 2, 2] has 48",
        ),
        (
            sized("FP32", fp32.clone(), json!(48)),
            &values()[..47],
            "a binary_data_size of 48, 47 bytes are left",
        ),
        (
            sized("FP32", fp32.clone(), json!(44)),
            &values()[..],
            "4 bytes are left behind the data of the last input",
        ),
        (
            sized("FP32", fp32.clone(), json!(-1)),
            &values()[..],
            "parameter binary_data_size is -1, allowed are whole numbers from 0",
        ),
        (
            sized("FP32", fp32.clone(), json!(1.5)),
            &values()[..],
            "parameter binary_data_size is 1.5",
        ),
        (
            sized("FP32", fp32.clone(), json!(u64::MAX)),
            &values()[..],
            "a binary_data_size of 18446744073709551615, 48",
        ),
        (
            sized("FP32", fp32.clone(), json!("48")),
            &values()[..],
            "parameter binary_data_size is \"48\"",
        ),
        (
            input("FP32", &fp32, &flat()),
            b"x",
            "1 bytes are left behind the data",
        ),
        (
            input("FP32", &fp32, &Value::Null),
            b"",
            "has neither \"data\" nor a binary_data_size",
        ),
        (
            sized("BYTES", bytes.clone(), json!(3)),
            b"\0\0\0",
            "ends before element 0 of 1: 3 bytes are left",
        ),
        (
            sized("BYTES", bytes.clone(), json!(5)),
            b"\x02\0\0\0x",
            "an element 0 of 2 bytes by the 4 bytes before it, 1 bytes",
        ),
        (
            sized("BYTES", bytes.clone(), json!(6)),
            b"\x01\0\0\0xy",
            "has 1 bytes behind its last element of 1",
        ),
        (
            sized("BYTES", json!([2]), json!(5)),
            b"\x01\0\0\0x",
            "ends before element 1 of 2: 0 bytes",
        ),
        (
            sized("BYTES", bytes, json!(jpeg.len())),
            jpeg,
            "begins as an image does, put its length in 4 bytes",
        ),
    ] {
        let got = error(with_tail(&request, tail));
        assert!(got.contains(want), "{request}: {got}");
    }
    let without_header = error(of(&sized("FP32", fp32.clone(), json!(48))));
    assert!(
        without_header.contains("no header Inference-Header-Content-Length"),
        "{without_header}"
    );
    let mut both = sized("FP32", fp32, json!(48));
    both["inputs"][0]["data"] = flat();
    assert!(
        error(with_tail(&both, &values())).contains("has both \"data\" and a binary_data_size")
    );
}

#[test]
fn values_that_are_no_numbers_are_found() {
    for (wrong, shown) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let mut tail = values();
        tail[28..32].copy_from_slice(&wrong.to_le_bytes());
        let request = input("FP32", &json!([1, 3, 2, 2]), &Value::Null);
        let got = error(with_tail(&request, &tail));
        assert!(
            got.contains(&format!(
                "has {shown} as element 7, allowed are finite numbers"
            )),
            "{got}"
        );
    }
}

#[test]
fn messages_that_are_none_are_refused_in_our_words() {
    let of_text = |text: &str| {
        let body = Bytes::copy_from_slice(text.as_bytes());
        error(take_apart(body, None, &form(), MAX_IMAGES).map_err(|e| e.to_string()))
    };
    for (text, want) in [
        ("", "there is none"),
        ("[]", "it is no object"),
        ("\u{FFFD}JFIF", "it is no object; for one encoded image"),
        ("{}", "it has no \"inputs\""),
        ("{\"inputs\": null}", "it has no \"inputs\""),
        (
            "{\"inputs\": []}",
            "there is no input, the model has one: data",
        ),
        ("{\"inputs\": [}", "no valid JSON at line 1 column 13"),
        ("{\"inputs\": [", "it ends early, at line 1 column 12"),
        ("{\"inputs\": [NaN]}", "no valid JSON"),
        (
            "{\"inputs\": 5}",
            "what ends at line 1 column 12 is there twice or of the wrong type",
        ),
        (
            "{\"id\": 5, \"inputs\": []}",
            "of the wrong type: id, name and datatype are strings",
        ),
        ("{\"inputs\": [], \"inputs\": []}", "is there twice"),
        ("{\"inputs\": [{}]}", "input 0 has no \"name\""),
        (
            "{\"inputs\": [{\"name\": \"a\", \"data\": []}]}",
            "input 0 has no \"datatype\"",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"data\": []}]}",
            "input 0 has no \"shape\"",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": [1.5]}]}",
            "shape is a list of whole numbers",
        ),
        (
            "{\"inputs\": [{\"name\": \"a\", \"datatype\": \"FP32\", \"shape\": [9223372036854775808]}]}",
            "of 64 bits",
        ),
        (
            "{\"inputs\": [], \"parameters\": {\"a\": []}}",
            "parameters is an object",
        ),
    ] {
        let got = of_text(text);
        assert!(got.contains(want), "{text}: {got}");
    }
    let deep = format!(
        "{{\"inputs\": [{{\"name\": \"a\", \"data\": {}",
        "[".repeat(100_000)
    );
    assert!(of_text(&deep).contains("ends early"));
    let many = json!({"inputs": vec![json!({}); 65]});
    assert!(error(of(&many)).contains("a list of 65 inputs or outputs, allowed are 64"));
}

#[test]
fn names_are_checked_and_unknown_members_are_not() {
    let mut request = input("FP32", &json!([1, 3, 2, 2]), &flat());
    request["model_name"] = json!("whatever");
    request["parameters"] = json!({"mine": "x", "priority": 3, "timeout": 250_000});
    request["id"] = json!("42");
    let work = of(&request).expect("it is right");
    assert_eq!(work.wanted.id.as_deref(), Some("42"));
    assert_eq!(work.timeout, Some(Duration::from_millis(250)));
    request["inputs"][0]["name"] = json!("data");
    assert!(of(&request).is_ok(), "the file's own name");
    request["inputs"][0]["name"] = json!("Input");
    assert!(error(of(&request)).contains("there is no input \"Input\", there is: data"));
    let two = json!({"inputs": [request["inputs"][0], request["inputs"][0]]});
    assert!(error(of(&two)).contains("there are 2 inputs, one of them twice"));
}

#[test]
fn outputs_are_as_they_were_asked_for() {
    let outputs = |outputs: Value| {
        let mut request = input("FP32", &json!([1, 3, 2, 2]), &flat());
        request["parameters"] = json!({"binary_data_output": true});
        request["outputs"] = outputs;
        of(&request).map(|work| work.wanted.outputs)
    };
    let default = outputs(json!([])).expect("it is right");
    assert_eq!(default.len(), 2);
    assert!(default.iter().all(|o| o.is_binary && o.classes.is_none()));
    let named = outputs(json!([
        {"name": "probabilities", "parameters": {"binary_data": false, "classification": 9}},
        {"name": "dense0_fwd"},
    ]));
    let named = named.expect("it is right");
    assert_eq!(named[0].classes, Some(2), "no more than there are");
    assert_eq!(
        (named[0].is_binary, named[0].values),
        (false, Values::Probabilities)
    );
    assert_eq!(
        (named[1].is_binary, named[1].values, &*named[1].name),
        (true, Values::Raw, "dense0_fwd")
    );
    for (wrong, want) in [
        (
            json!([{"name": "scores"}]),
            "there is no output \"scores\", there are: logits, probabilities",
        ),
        (
            json!([{"name": "logits"}, {"name": "logits"}]),
            "output \"logits\" is asked for twice",
        ),
        (json!([{}]), "output 0 has no \"name\""),
        (
            json!([{"name": "logits", "parameters": {"classification": 0}}]),
            "parameter classification is 0, allowed are whole numbers from 1",
        ),
        (
            json!([{"name": "logits", "parameters": {"binary_data": 1}}]),
            "parameter binary_data is 1, allowed are true and false",
        ),
        (
            json!([{"name": "logits", "parameters": {"shared_memory_region": "a"}}]),
            "no shared memory here",
        ),
    ] {
        let got = outputs(wrong.clone()).expect_err("it is wrong");
        assert!(got.contains(want), "{wrong}: {got}");
    }
}

proptest! {
    /// Shortest digits, as Python and Rust write them, and those of a double.
    #[test]
    fn floats_survive_the_way_through_json(bits in prop::collection::vec(any::<u32>(), 12)) {
        let floats = bits.into_iter().map(f32::from_bits);
        let floats: Vec<f32> = floats.map(|f| if f.is_finite() { f } else { 0.5 }).collect();
        let expected: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
        let doubles: Vec<f64> = floats.iter().map(|f| f64::from(*f)).collect();
        let texts = [serde_json::to_string(&floats), serde_json::to_string(&doubles)];
        for data in texts.map(|text| text.expect("finite numbers")) {
            let text = format!(
                "{{\"inputs\":[{{\"name\":\"input\",\"datatype\":\"FP32\",\"shape\":[1,3,2,2],\"data\":{data}}}]}}"
            );
            let work = take_apart(text.into(), None, &form(), MAX_IMAGES).expect("it is right");
            prop_assert_eq!(&work.images, &[Source::Values(expected.clone().into())]);
        }
    }

    #[test]
    fn no_body_panics(json in "\\PC*", tail in prop::collection::vec(any::<u8>(), 0..64), length in any::<u8>()) {
        let body = [json.as_bytes(), &tail].concat();
        let _ = take_apart(body.into(), Some(length.into()), &form(), MAX_IMAGES);
    }
}
