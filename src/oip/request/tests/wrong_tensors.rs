//! Tensors that are wrong: names, datatypes, shapes, lengths and values, each named with what is allowed.

use super::*;

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
