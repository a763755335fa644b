//! An inference request in JSON, its tensors' elements left as text or taken from behind it.
//!
//! Members that the protocol does not have mean nothing, as it says; those that it has are checked by hand, so that a
//! message names what is wrong and not our types.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::binary::Tail;
use super::{InputTensor, OipError, Parameter, Parameters, Request, RequestedOutput, TensorData};
use crate::desk::cut;

/// Most inputs, outputs and parameters of one thing that are read: more than any request has.
const MOST: usize = 64;

/// An object, and nothing else: what serde derives takes a list of the members' values for one too.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[derive(serde::Deserialize)]
struct JsonRequest<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Option<Vec<Object<JsonInput<'a>>>>,
    outputs: Option<Vec<Object<JsonOutput>>>,
}

#[derive(serde::Deserialize)]
struct JsonInput<'a> {
    name: Option<String>,
    shape: Option<Vec<i64>>,
    datatype: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
struct JsonOutput {
    name: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Parameters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_unit<E>(self) -> Result<Parameters, E> {
                Ok(Parameters::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == MOST {
                        return Err(serde::de::Error::custom("too many"));
                    }
                    pairs.push(pair);
                }
                Ok(Parameters(pairs))
            }
        }
        deserializer.deserialize_any(Pairs)
    }
}

impl<'de> Deserialize<'de> for Parameter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl Visitor<'_> for Value {
            type Value = Parameter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, number or boolean")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Parameter, E> {
                Ok(Parameter::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Parameter, E> {
                Ok(Parameter::Integer(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Parameter, E> {
                Ok(Parameter::Integer(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Parameter, E> {
                Ok(Parameter::Float(value))
            }

            fn visit_str<E>(self, text: &str) -> Result<Parameter, E> {
                Ok(Parameter::Text(text.into()))
            }
        }
        deserializer.deserialize_any(Value)
    }
}

/// Reads JSON, which may have a byte order mark in front: RFC 8259 lets a reader skip it.
///
/// # Errors
/// `serde_json`'s.
pub fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(json.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(json))
}

/// Reads a request, and hands out the bytes that stand behind it.
///
/// # Errors
/// [`OipError::Json`], [`OipError::Data`], [`OipError::Input`], [`OipError::Output`].
pub fn read(json: &[u8], tail: Option<Bytes>) -> Result<Request<'_>, OipError> {
    let Object(request): Object<JsonRequest<'_>> =
        from_slice(json).map_err(|e| OipError::Json(reason(&e, json)))?;
    let Some(inputs) = request.inputs else {
        return Err(OipError::Json("it has no \"inputs\"".into()));
    };
    let outputs = request.outputs.unwrap_or_default();
    if inputs.len().max(outputs.len()) > MOST {
        let got = inputs.len().max(outputs.len());
        let text = format!("it has a list of {got} inputs or outputs, allowed are {MOST}");
        return Err(OipError::Json(text));
    }
    let (alone, mut tail) = (inputs.len() == 1, Tail::new(tail));
    let tensor = |(index, Object(input))| tensor(index, input, alone, &mut tail);
    let inputs = inputs.into_iter().enumerate().map(tensor);
    let inputs = inputs.collect::<Result<_, _>>()?;
    tail.end()?;
    let wanted = |(index, Object(output)): (usize, Object<JsonOutput>)| -> Result<RequestedOutput, OipError> {
        let nameless = || OipError::Output(format!("output {index} has no \"name\""));
        Ok(RequestedOutput {
            name: output.name.ok_or_else(nameless)?,
            parameters: output.parameters,
        })
    };
    Ok(Request {
        id: request.id.map(Cow::into_owned),
        parameters: request.parameters,
        inputs,
        outputs: outputs
            .into_iter()
            .enumerate()
            .map(wanted)
            .collect::<Result<_, OipError>>()?,
    })
}

/// An input with its data, from the JSON or from behind it.
fn tensor<'a>(
    index: usize,
    input: JsonInput<'a>,
    alone: bool,
    tail: &mut Tail,
) -> Result<InputTensor<'a>, OipError> {
    let missing = |what: &str| OipError::Input(format!("input {index} has no \"{what}\""));
    let name = input.name.ok_or_else(|| missing("name"))?;
    let size = input.parameters.number("binary_data_size", 0)?;
    let data = match (input.data, size) {
        (Some(_), Some(_)) => {
            return Err(OipError::Data(format!(
                "input \"{}\" has both \"data\" and a binary_data_size, allowed is one of them",
                cut(&name)
            )));
        }
        (Some(data), None) => TensorData::Json(data),
        (None, Some(size)) => TensorData::Raw(tail.take(&name, size)?),
        (None, None) => match alone.then(|| tail.take_all()).flatten() {
            Some(all) => TensorData::Raw(all),
            None => {
                return Err(OipError::Data(format!(
                    "input \"{}\" has neither \"data\" nor a binary_data_size",
                    cut(&name)
                )));
            }
        },
    };
    Ok(InputTensor {
        name,
        datatype: input.datatype.ok_or_else(|| missing("datatype"))?,
        shape: input.shape.ok_or_else(|| missing("shape"))?,
        parameters: input.parameters,
        data,
    })
}

/// Where it is wrong and what was expected; the parser's own words stay here, as they name our types.
fn reason(error: &serde_json::Error, json: &[u8]) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    let begins_as_object = json.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    match error.classify() {
        _ if json.is_empty() => "there is none".into(),
        _ if !begins_as_object => {
            "it is no object; for one encoded image without JSON send Inference-Header-Content-Length: 0".into()
        }
        Category::Data => format!(
            "what ends at {place} is there twice or of the wrong type: id, name and datatype are strings, shape is a list \
             of whole numbers of 64 bits, inputs and outputs are lists of objects, parameters is an object of at most \
             {MOST} strings, numbers and booleans"
        ),
        Category::Eof => format!("it ends early, at {place}"),
        Category::Syntax | Category::Io => format!("it is no valid JSON at {place}"),
    }
}
