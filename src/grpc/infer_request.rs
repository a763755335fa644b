//! `ModelInferRequest` from its bytes: elements of tensors stay slices of them, and lists have an end.
//!
//! Read by hand, because a derived reader makes a structure of a hundred bytes of two that a client sends, as often as
//! they come. Source of the encoding: protobuf.dev/programming-guides/encoding.

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::oip::{
    InputTensor, NOTHING, OipError, Parameter, Parameters, Request, RequestedOutput, TensorData,
};

/// A request, and the model that it is for.
#[derive(Debug)]
pub(super) struct ModelInferRequest {
    pub(super) model: String,
    /// The version that is asked for; empty where any will do.
    pub(super) version: String,
    pub(super) request: Request<'static>,
}

/// Most entries of one list: inputs, outputs, extents, parameters.
const MOST: usize = 64;

/// Most strings of one tensor: the largest `--max-images`, and one by which more are noticed.
const MOST_STRINGS: usize = 1025;

/// Reads a message.
///
/// # Errors
/// [`OipError::Message`], [`OipError::Data`].
pub(super) fn read(message: Bytes) -> Result<ModelInferRequest, OipError> {
    let (mut model, mut version, mut id) = (String::new(), String::new(), String::new());
    let (mut parameters, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut raw = Vec::new();
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(text)) => model = utf8(&text)?,
            (2, Value::Bytes(text)) => version = utf8(&text)?,
            (3, Value::Bytes(text)) => id = utf8(&text)?,
            (4, Value::Bytes(entry)) => push(&mut parameters, parameter(entry)?, "parameters")?,
            (5, Value::Bytes(tensor)) => push(&mut inputs, input(tensor)?, "inputs")?,
            (6, Value::Bytes(output)) => push(&mut outputs, requested(output)?, "outputs")?,
            (7, Value::Bytes(data)) => push(&mut raw, data, "raw_input_contents")?,
            _ => {}
        }
    }
    if !raw.is_empty() {
        fill(&mut inputs, raw)?;
    }
    Ok(ModelInferRequest {
        model,
        version,
        request: Request {
            id: (!id.is_empty()).then_some(id),
            parameters: Parameters(parameters),
            inputs,
            outputs,
        },
    })
}

/// Gives each tensor its raw contents, which there are for all or for none.
fn fill(inputs: &mut [InputTensor<'static>], raw: Vec<Bytes>) -> Result<(), OipError> {
    if raw.len() != inputs.len() {
        return Err(OipError::Data(format!(
            "raw_input_contents has {} entries, allowed is one for each of the {} inputs",
            raw.len(),
            inputs.len()
        )));
    }
    for (input, raw) in inputs.iter_mut().zip(raw) {
        if !matches!(input.data, TensorData::Other(NOTHING)) {
            return Err(OipError::Data(
                "there are raw_input_contents, and contents in a tensor: allowed is one of them"
                    .into(),
            ));
        }
        input.data = TensorData::Raw(raw);
    }
    Ok(())
}

/// A field's value, as far as the wire tells it.
enum Value {
    Varint(u64),
    Fixed32,
    Fixed64([u8; 8]),
    Bytes(Bytes),
}

/// The fields of a message, one after the other.
struct Fields(Bytes);

impl Iterator for Fields {
    type Item = Result<(u32, Value), OipError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.0.has_remaining() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0.clear();
        }
        Some(field)
    }
}

impl Fields {
    fn field(&mut self) -> Result<(u32, Value), OipError> {
        let (tag, wire_type) = decode_key(&mut self.0).map_err(wrong)?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(decode_varint(&mut self.0).map_err(wrong)?),
            WireType::ThirtyTwoBit => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            WireType::SixtyFourBit => Value::Fixed64(self.fixed()?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.0).map_err(wrong)?;
                match usize::try_from(length) {
                    Ok(length) if length <= self.0.len() => Value::Bytes(self.0.split_to(length)),
                    _ => return Err(cut()),
                }
            }
            WireType::StartGroup | WireType::EndGroup => {
                let context = DecodeContext::default();
                skip_field(wire_type, tag, &mut self.0, context).map_err(wrong)?;
                Value::Varint(0)
            }
        };
        Ok((tag, value))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], OipError> {
        if self.0.len() < N {
            return Err(cut());
        }
        let mut bytes = [0; N];
        self.0.copy_to_slice(&mut bytes);
        Ok(bytes)
    }
}

/// The library's words name its types; which byte it was helps nobody.
#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn wrong(_: DecodeError) -> OipError {
    OipError::Message("it is no protobuf message of the call's type".into())
}

fn cut() -> OipError {
    OipError::Message("it ends within a field".into())
}

fn utf8(bytes: &Bytes) -> Result<String, OipError> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| OipError::Message("a text in it is not UTF-8".into()))?;
    Ok(text.to_owned())
}

fn push<T>(list: &mut Vec<T>, item: T, what: &str) -> Result<(), OipError> {
    if list.len() == MOST {
        let text = format!("it has more than {MOST} {what} in one list, allowed are {MOST}");
        return Err(OipError::Message(text));
    }
    list.push(item);
    Ok(())
}

/// An entry of a map of parameters.
fn parameter(entry: Bytes) -> Result<(String, Parameter), OipError> {
    let (mut name, mut value) = (String::new(), Parameter::Text(String::new()));
    for field in Fields(entry) {
        match field? {
            (1, Value::Bytes(text)) => name = utf8(&text)?,
            (2, Value::Bytes(choice)) => {
                for field in Fields(choice) {
                    value = match field? {
                        (1, Value::Varint(bool)) => Parameter::Bool(bool != 0),
                        (2, Value::Varint(number)) => {
                            Parameter::Integer(number.cast_signed().into())
                        }
                        (3, Value::Bytes(text)) => Parameter::Text(utf8(&text)?),
                        (4, Value::Fixed64(double)) => Parameter::Float(f64::from_le_bytes(double)),
                        (5, Value::Varint(number)) => Parameter::Integer(number.into()),
                        _ => continue,
                    };
                }
            }
            _ => {}
        }
    }
    Ok((name, value))
}

fn requested(output: Bytes) -> Result<RequestedOutput, OipError> {
    let (mut name, mut parameters) = (String::new(), Vec::new());
    for field in Fields(output) {
        match field? {
            (1, Value::Bytes(text)) => name = utf8(&text)?,
            (2, Value::Bytes(entry)) => push(&mut parameters, parameter(entry)?, "parameters")?,
            _ => {}
        }
    }
    Ok(RequestedOutput {
        name,
        parameters: Parameters(parameters),
    })
}

fn input(tensor: Bytes) -> Result<InputTensor<'static>, OipError> {
    let mut input = InputTensor {
        name: String::new(),
        datatype: String::new(),
        shape: Vec::new(),
        parameters: Parameters::default(),
        data: TensorData::Other(NOTHING),
    };
    for field in Fields(tensor) {
        match field? {
            (1, Value::Bytes(text)) => input.name = utf8(&text)?,
            (2, Value::Bytes(text)) => input.datatype = utf8(&text)?,
            (3, Value::Varint(extent)) => push(&mut input.shape, extent.cast_signed(), "extents")?,
            (3, Value::Bytes(mut packed)) => {
                while packed.has_remaining() {
                    let extent = decode_varint(&mut packed).map_err(wrong)?;
                    push(&mut input.shape, extent.cast_signed(), "extents")?;
                }
            }
            (4, Value::Bytes(entry)) => {
                push(&mut input.parameters.0, parameter(entry)?, "parameters")?;
            }
            (5, Value::Bytes(contents)) => input.data = self::contents(contents)?,
            _ => {}
        }
    }
    Ok(input)
}

/// `InferTensorContents`: the elements in one of its lists.
fn contents(contents: Bytes) -> Result<TensorData<'static>, OipError> {
    let mut data = TensorData::Other(NOTHING);
    for field in Fields(contents) {
        match field? {
            (4, Value::Bytes(packed)) => data = TensorData::Unsigned(bytes_of(packed)?),
            (6, Value::Bytes(packed)) => data = TensorData::Floats(packed),
            (8, Value::Bytes(string)) => match &mut data {
                TensorData::Strings(strings) if strings.len() == MOST_STRINGS => {
                    let text = format!("it has more than {MOST_STRINGS} strings in bytes_contents");
                    return Err(OipError::Message(text));
                }
                TensorData::Strings(strings) => strings.push(string),
                _ => data = TensorData::Strings(vec![string]),
            },
            // Every writer packs numbers; one by one they would be as slow to read as JSON.
            (4 | 6, _) => {
                let text = "numbers of its contents are not packed, as proto3 has them";
                return Err(OipError::Message(text.into()));
            }
            (1, _) => data = TensorData::Other("bool_contents"),
            (2, _) => data = TensorData::Other("int_contents"),
            (3, _) => data = TensorData::Other("int64_contents"),
            (5, _) => data = TensorData::Other("uint64_contents"),
            (7, _) => data = TensorData::Other("fp64_contents"),
            _ => {}
        }
    }
    Ok(data)
}

/// Numbers that should be bytes, and are as far as they can be.
fn bytes_of(mut packed: Bytes) -> Result<Vec<u16>, OipError> {
    let mut numbers = Vec::new();
    while packed.has_remaining() {
        let number = decode_varint(&mut packed).map_err(wrong)?;
        numbers.push(u16::try_from(number).unwrap_or(u16::MAX));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{encode_key, encode_varint};

    use super::*;

    fn field(tag: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key(tag, WireType::LengthDelimited, &mut bytes);
        encode_varint(value.len() as u64, &mut bytes);
        bytes.extend(value);
        bytes
    }

    fn error(message: Vec<u8>) -> String {
        read(message.into()).expect_err("it is wrong").to_string()
    }

    #[test]
    fn lists_without_end_are_refused_before_they_are_kept() {
        for (tag, name) in [
            (4, "parameters"),
            (5, "inputs"),
            (6, "outputs"),
            (7, "raw_input_contents"),
        ] {
            let text = error(field(tag, b"").repeat(65));
            assert!(text.contains(&format!("more than 64 {name}")), "{text}");
        }
        let shape = field(5, &field(3, &[1; 65]));
        assert!(error(shape).contains("more than 64 extents"));
        let strings = field(5, &field(5, &field(8, b"").repeat(1026)));
        assert!(error(strings).contains("more than 1025 strings"));
    }

    #[test]
    fn contents_are_slices_and_one_form_alone() {
        let floats = [0.5_f32, -1.0].map(f32::to_le_bytes).concat();
        let tensor = [
            field(1, b"input"),
            field(2, b"FP32"),
            field(3, &[1, 2]),
            field(5, &field(6, &floats)),
        ];
        let tensor = field(5, &tensor.concat());
        let request = read(tensor.clone().into()).expect("it is right").request;
        let input = &request.inputs[0];
        assert_eq!(
            (&*input.name, &*input.datatype, &*input.shape),
            ("input", "FP32", &[1, 2][..])
        );
        assert!(matches!(&input.data, TensorData::Floats(bytes) if bytes[..] == floats));
        let both = [tensor, field(7, &floats)].concat();
        assert!(error(both).contains("allowed is one of them"));
        let more = [field(5, b""), field(7, b""), field(7, b"")].concat();
        assert!(
            error(more).contains(
                "raw_input_contents has 2 entries, allowed is one for each of the 1 inputs"
            )
        );
    }

    #[test]
    fn messages_that_are_none_are_refused_in_our_words() {
        for (message, want) in [
            (&b"\x0a\x05ab"[..], "ends within a field"),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                "ends within a field",
            ),
            (b"\x0a\x01\xff", "not UTF-8"),
            (b"\x00", "no protobuf message"),
            (b"\x0f", "no protobuf message"),
            (b"\x0c", "no protobuf message"),
            (b"\x0d\0\0", "ends within a field"),
        ] {
            let text = error(message.to_vec());
            assert!(text.contains(want), "{message:?}: {text}");
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(message.into());
        }
    }
}
