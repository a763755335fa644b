//! Tensors that are right, in every form, and what comes out of them.

use proptest::prelude::*;

use super::*;

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
