//! The metadata of an ONNX file, read without decoding its graph.
//!
//! Called by `registry`, which knows what the keys mean.

use prost::encoding::decode_varint;
use tract_onnx::pb::StringStringEntryProto;

/// Field of `ModelProto` that holds them.
///
/// Source: `onnx.proto`.
const METADATA_PROPS: u64 = 14;

/// Keys and values of the file's `metadata_props`, in their order; those before the place where the bytes are damaged.
#[must_use]
pub fn metadata_of(onnx: &[u8]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = onnx;
    while let Some((field, content)) = next_field(&mut rest) {
        if field == METADATA_PROPS
            && let Ok(pair) = <StringStringEntryProto as prost::Message>::decode(content)
        {
            pairs.push((pair.key, pair.value));
        }
    }
    pairs
}

/// The number of the next field and, if it has a length, its content; none at the end, or where none can be.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = decode_varint(bytes).ok()?;
    let length = match key & 7 {
        0 => {
            decode_varint(bytes).ok()?;
            0
        }
        1 => 8,
        2 => decode_varint(bytes).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some((key >> 3, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use tract_onnx::pb::{GraphProto, ModelProto};

    #[test]
    fn pairs_are_found_around_a_graph_and_up_to_damage() {
        let pair = |key: &str, value: &str| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let model = ModelProto {
            ir_version: 8,
            producer_name: "somebody".into(),
            graph: Some(GraphProto {
                name: "g".repeat(300),
                ..GraphProto::default()
            }),
            metadata_props: vec![pair("names", "{0: 'é'}"), pair("task", "")],
            ..ModelProto::default()
        };
        let bytes = model.encode_to_vec();
        let expected =
            [("names", "{0: 'é'}"), ("task", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(metadata_of(&bytes), expected);
        for length in 0..bytes.len() {
            let found = metadata_of(&bytes[..length]);
            assert_eq!(found, expected[..found.len()], "{length}");
        }
        assert_eq!(metadata_of(&[0xFF; 40]), []);
        assert_eq!(metadata_of(b"This is a text file."), []);
    }
}
