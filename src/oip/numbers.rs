//! The elements of a tensor in JSON: numbers to bytes, base64 to images; one flat list, or lists nested to the shape.
//!
//! Called with the tensor's shape, so that never more is kept than it announces and the text can hold.

use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::OipError;
use super::tensor::Announced;
use crate::base64;

/// Numbers as little-endian 32-bit floats.
pub(super) fn floats(tensor: &Announced<'_>, list: &RawValue) -> Result<Bytes, OipError> {
    let bytes = Vec::with_capacity(4 * capacity(tensor, list));
    match read(tensor, list, Kept::Floats(bytes))? {
        Kept::Floats(bytes) | Kept::Bytes(bytes) => Ok(bytes.into()),
        Kept::Images(_) => Ok(Bytes::new()),
    }
}

/// Whole numbers from 0 to 255.
pub(super) fn bytes(tensor: &Announced<'_>, list: &RawValue) -> Result<Bytes, OipError> {
    let bytes = Vec::with_capacity(capacity(tensor, list));
    match read(tensor, list, Kept::Bytes(bytes))? {
        Kept::Floats(bytes) | Kept::Bytes(bytes) => Ok(bytes.into()),
        Kept::Images(_) => Ok(Bytes::new()),
    }
}

/// Images in base64.
pub(super) fn images(tensor: &Announced<'_>, list: &RawValue) -> Result<Vec<Bytes>, OipError> {
    match read(tensor, list, Kept::Images(Vec::new()))? {
        Kept::Images(images) => Ok(images),
        Kept::Floats(_) | Kept::Bytes(_) => Ok(Vec::new()),
    }
}

/// Elements that there can be at most: each has a character, and a comma or bracket behind it.
fn capacity(tensor: &Announced<'_>, list: &RawValue) -> usize {
    tensor.elements().min(list.get().len() / 2)
}

fn read(tensor: &Announced<'_>, list: &RawValue, kept: Kept) -> Result<Kept, OipError> {
    let mut reading = Reading {
        tensor,
        kept,
        count: 0,
        depth: None,
        error: None,
    };
    let text = list.get();
    if !text.starts_with('[') {
        return Err(tensor.wrong("has data that is no list"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let top = Level {
        reading: &mut reading,
        depth: 0,
    };
    // The text is JSON, or it would not have come here; what is left is a number that no float holds.
    let read = top.deserialize(&mut json);
    if let Some(error) = reading.error {
        return Err(error);
    }
    read.map_err(|_| tensor.wrong("has a number in its data that is out of range"))?;
    tensor.check_count(reading.count)?;
    Ok(reading.kept)
}

/// The elements, in the form in which they are kept.
enum Kept {
    Floats(Vec<u8>),
    Bytes(Vec<u8>),
    Images(Vec<Bytes>),
}

struct Reading<'a> {
    tensor: &'a Announced<'a>,
    kept: Kept,
    count: usize,
    /// How deep in lists the elements are: 1 in a flat one, the shape's rank where they are nested.
    depth: Option<usize>,
    error: Option<OipError>,
}

impl Reading<'_> {
    /// Notes what is wrong, and gives the parser a reason to stop.
    fn stop<E: serde::de::Error>(&mut self, error: OipError) -> E {
        self.error = Some(error);
        E::custom("stopped")
    }

    fn wrong<E: serde::de::Error>(&mut self, what: &str) -> E {
        let error = self.tensor.wrong(what);
        self.stop(error)
    }

    /// Counts an element at this depth; fails where it is the first too many.
    fn begin<E: serde::de::Error>(&mut self, depth: usize) -> Result<(), E> {
        let rank = self.tensor.dims.len();
        let expected = *self.depth.get_or_insert(depth);
        if depth != expected || (depth != 1 && depth != rank) {
            return Err(self.wrong(&format!(
                "has element {} in {depth} lists, allowed are one flat list, or lists nested to its shape, which are {rank}",
                self.count
            )));
        }
        self.count += 1;
        if self.count > self.tensor.elements() {
            let what = format!(
                "has more elements than its shape {:?}, which has {}",
                self.tensor.dims,
                self.tensor.elements()
            );
            return Err(self.wrong(&what));
        }
        Ok(())
    }

    fn number<E: serde::de::Error>(&mut self, value: f64, depth: usize) -> Result<(), E> {
        self.begin(depth)?;
        let index = self.count - 1;
        match &mut self.kept {
            Kept::Floats(bytes) => {
                let float = value as f32;
                if float.is_finite() {
                    bytes.extend(float.to_le_bytes());
                    return Ok(());
                }
                Err(self.wrong(&format!(
                    "has {value:e} as element {index}, allowed are finite numbers of 32 bits"
                )))
            }
            Kept::Bytes(bytes) => {
                if value.fract() == 0.0 && (0.0..=255.0).contains(&value) {
                    bytes.push(value as u8);
                    return Ok(());
                }
                Err(self.wrong(&format!(
                    "has {value} as element {index}, allowed are whole numbers from 0 to 255"
                )))
            }
            Kept::Images(_) => Err(self.wrong(&format!(
                "has a number as element {index}, expected is an encoded image as base64 text"
            ))),
        }
    }

    fn text<E: serde::de::Error>(&mut self, text: &str, depth: usize) -> Result<(), E> {
        self.begin(depth)?;
        let index = self.count - 1;
        let Kept::Images(images) = &mut self.kept else {
            return Err(self.wrong(&format!(
                "has text as element {index}, expected is a number; base64 of an image is of datatype BYTES"
            )));
        };
        match base64::decode(text) {
            Ok(image) => {
                images.push(image);
                Ok(())
            }
            Err(reason) => Err(self.wrong(&format!(
                "has an element {index} that is not base64: {reason}"
            ))),
        }
    }
}

/// What stands `depth` lists deep.
struct Level<'r, 'a> {
    reading: &'r mut Reading<'a>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Level<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Level { reading, depth } = self;
        let rank = reading.tensor.dims.len();
        if depth >= rank {
            let what =
                format!("has lists in its data that are nested deeper than its shape, {rank} deep");
            return Err(reading.wrong(&what));
        }
        let mut length = 0;
        let mut next = |reading: &mut Reading<'_>| {
            list.next_element_seed(Level {
                reading,
                depth: depth + 1,
            })
        };
        while next(reading)?.is_some() {
            length += 1;
        }
        let expected = reading.tensor.dims[depth];
        // A flat list is counted as a whole.
        let is_nested = reading.depth != Some(1);
        if is_nested && rank > 1 && length != expected {
            let what = format!(
                "has a list of {length} at depth {} of its data, its shape {:?} has {expected} there",
                depth + 1,
                reading.tensor.dims
            );
            return Err(reading.wrong(&what));
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.reading.number(value as f64, self.depth)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.reading.number(value as f64, self.depth)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.reading.number(value, self.depth)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.reading.text(text, self.depth)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        let what = format!("has {value} as element {}", self.reading.count);
        Err(self.reading.wrong(&what))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        let what = format!("has null as element {}", self.reading.count);
        Err(self.reading.wrong(&what))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        let what = format!(
            "has an object as element {}, in JSON an image is its base64 text alone",
            self.reading.count
        );
        self.reading.error = Some(self.reading.tensor.wrong(&what));
        Err(A::Error::custom("stopped"))
    }
}
