//! An input tensor as it came, and the images in it.
//!
//! The checks are here whatever brought the tensor: name, datatype and shape first, then as much data as they announce.

use bytes::{Buf, Bytes};
use serde_json::value::RawValue;

use super::numbers;
use super::{Datatype, InputForm, OipError, Parameters};
use crate::desk::cut;
use crate::preprocess::{Source, sniff};
use crate::tensor::Size;

/// A tensor as it came.
#[derive(Debug)]
pub struct InputTensor<'a> {
    /// Its name.
    pub name: String,
    /// Its datatype's name.
    pub datatype: String,
    /// Its extents.
    pub shape: Vec<i64>,
    /// The tensor's parameters.
    pub parameters: Parameters,
    /// Its elements.
    pub data: TensorData<'a>,
}

/// A tensor's elements in one of the forms in which they come.
#[derive(Debug)]
pub enum TensorData<'a> {
    /// Little-endian, row-major; strings have their length in four bytes before them.
    Raw(Bytes),
    /// A list in JSON, flat or nested.
    Json(&'a RawValue),
    /// 32-bit floats, little-endian.
    Floats(Bytes),
    /// Numbers that should be bytes; what is larger than the type is its largest.
    Unsigned(Vec<u16>),
    /// Strings of bytes.
    Strings(Vec<Bytes>),
    /// No elements, or those of another datatype: the name of the list that they are in.
    Other(&'static str),
}

/// The name in place of a list's where a tensor has no elements.
pub const NOTHING: &str = "nothing";

/// An output that is asked for.
#[derive(Debug)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// The output's parameters.
    pub parameters: Parameters,
}

/// The images of a tensor.
///
/// # Errors
/// [`OipError::Input`], [`OipError::Data`], [`OipError::TooManyImages`], [`OipError::Unsupported`].
pub(super) fn images(
    tensor: InputTensor<'_>,
    form: &InputForm,
    max_images: usize,
) -> Result<Vec<Source>, OipError> {
    tensor.parameters.check()?;
    let InputTensor {
        name, shape, data, ..
    } = tensor;
    if !form.is_called(&name) {
        return Err(OipError::Input(format!(
            "there is no input \"{}\", there is: {}",
            cut(&name),
            form.name
        )));
    }
    let datatype = datatype(&name, &tensor.datatype, form)?;
    let count = count(&name, datatype, &shape, form, max_images)?;
    let [_, height, width] = form.size.shape();
    let dims: Vec<usize> = match datatype {
        Datatype::Fp32 => vec![count, 3, height, width],
        Datatype::Uint8 => vec![count, height, width, 3],
        Datatype::Bytes => shape.iter().map(|d| *d as usize).collect(), // checked: the count and ones
    };
    let announced = Announced {
        name: &name,
        datatype,
        dims,
    };
    match datatype {
        Datatype::Bytes => {
            let images = announced.strings(data)?;
            Ok(images.into_iter().map(Source::Encoded).collect())
        }
        Datatype::Fp32 => {
            let values = announced.floats(data)?;
            Ok(parts(&values, 4 * form.values())
                .map(Source::Values)
                .collect())
        }
        Datatype::Uint8 => {
            let pixels = announced.bytes(data)?;
            Ok(parts(&pixels, form.values()).map(Source::Pixels).collect())
        }
    }
}

fn datatype(name: &str, datatype: &str, form: &InputForm) -> Result<Datatype, OipError> {
    let Size { height, width } = form.size;
    Datatype::find(datatype).ok_or_else(|| {
        let kind = match Datatype::is_name(datatype) {
            true => "",
            false => ", which is no datatype of the protocol",
        };
        OipError::Input(format!(
            "input \"{name}\" is of datatype \"{}\"{kind}; allowed are FP32 of shape [-1, 3, {height}, {width}], UINT8 of \
             shape [-1, {height}, {width}, 3] and BYTES of shape [-1], an encoded image each",
            cut(datatype)
        ))
    })
}

/// How many images a tensor of this shape has.
fn count(
    name: &str,
    datatype: Datatype,
    shape: &[i64],
    form: &InputForm,
    max_images: usize,
) -> Result<usize, OipError> {
    let Size { height, width } = form.size;
    let is_whole = |h: i64, w: i64| h == i64::from(height) && w == i64::from(width);
    let count = match (datatype, shape) {
        (Datatype::Fp32, [n, 3, h, w]) if is_whole(*h, *w) => Some(*n),
        (Datatype::Uint8, [n, h, w, 3]) if is_whole(*h, *w) => Some(*n),
        // Clients that know of batches alone send a column.
        (Datatype::Bytes, [n] | [n, 1]) => Some(*n),
        _ => None,
    };
    let Some(count) = count.filter(|n| *n > 0) else {
        let expected = match datatype {
            Datatype::Fp32 => format!("[N, 3, {height}, {width}]"),
            Datatype::Uint8 => format!("[N, {height}, {width}, 3]"),
            Datatype::Bytes => "[N]".to_owned(),
        };
        return Err(OipError::Input(format!(
            "input \"{name}\" of datatype {datatype} has shape {}, allowed are {expected} with N from 1 to {max_images}",
            shown(shape)
        )));
    };
    let got = count.unsigned_abs();
    match usize::try_from(got) {
        Ok(count) if count <= max_images => Ok(count),
        _ => Err(OipError::TooManyImages {
            got,
            max: max_images,
        }),
    }
}

/// A shape for a message, as much of it as one needs to find it.
fn shown(shape: &[i64]) -> String {
    let dims: Vec<String> = shape.iter().take(8).map(i64::to_string).collect();
    let more = if shape.len() > 8 { ", …" } else { "" };
    format!("[{}{more}]", dims.join(", "))
}

/// Equal parts of some bytes, without a copy.
fn parts(bytes: &Bytes, size: usize) -> impl Iterator<Item = Bytes> {
    let bytes = bytes.clone();
    (0..bytes.len() / size).map(move |i| bytes.slice(i * size..(i + 1) * size))
}

/// What a tensor's name, datatype and shape say of its data.
pub(super) struct Announced<'a> {
    pub(super) name: &'a str,
    pub(super) datatype: Datatype,
    pub(super) dims: Vec<usize>,
}

impl Announced<'_> {
    /// The number of elements.
    pub(super) fn elements(&self) -> usize {
        self.dims.iter().product()
    }

    /// An error that begins with the tensor's name.
    pub(super) fn wrong(&self, what: &str) -> OipError {
        OipError::Data(format!(
            "input \"{}\" of datatype {} {what}",
            self.name, self.datatype
        ))
    }

    fn dims_shown(&self) -> String {
        format!("{:?}", self.dims)
    }

    /// Checks that there are as many elements as announced.
    pub(super) fn check_count(&self, got: usize) -> Result<(), OipError> {
        match self.elements() {
            expected if got == expected => Ok(()),
            expected => Err(self.wrong(&format!(
                "has {got} elements, its shape {} has {expected}",
                self.dims_shown()
            ))),
        }
    }

    fn check_size(&self, got: usize, size: usize) -> Result<(), OipError> {
        match size * self.elements() {
            expected if got == expected => Ok(()),
            expected => Err(self.wrong(&format!(
                "has {got} bytes of data, its shape {} has {expected}",
                self.dims_shown()
            ))),
        }
    }

    /// The elements as little-endian floats.
    fn floats(&self, data: TensorData<'_>) -> Result<Bytes, OipError> {
        let values = match data {
            TensorData::Raw(bytes) => {
                self.check_size(bytes.len(), 4)?;
                bytes
            }
            TensorData::Json(list) => numbers::floats(self, list)?,
            TensorData::Floats(values) => {
                self.check_size(values.len(), 4)?;
                values
            }
            other => return Err(self.other(&other)),
        };
        let (chunks, _) = values.as_chunks::<4>();
        let finite = |value: &[u8; 4]| f32::from_le_bytes(*value).is_finite();
        // All of them first: without an early end that is a few microseconds for an image.
        if chunks.iter().fold(true, |all, value| all & finite(value)) {
            return Ok(values);
        }
        let found = chunks.iter().enumerate().find(|(_, value)| !finite(value));
        let (index, value) = found.map_or((0, f32::NAN), |(i, v)| (i, f32::from_le_bytes(*v)));
        Err(self.wrong(&format!(
            "has {value} as element {index}, allowed are finite numbers"
        )))
    }

    /// The elements as bytes.
    fn bytes(&self, data: TensorData<'_>) -> Result<Bytes, OipError> {
        match data {
            TensorData::Raw(bytes) => {
                self.check_size(bytes.len(), 1)?;
                Ok(bytes)
            }
            TensorData::Json(list) => numbers::bytes(self, list),
            TensorData::Unsigned(values) => {
                self.check_count(values.len())?;
                let byte = |(index, value): (usize, &u16)| {
                    u8::try_from(*value).map_err(|_| {
                        self.wrong(&format!(
                            "has {value} as element {index}, allowed are whole numbers from 0 to 255"
                        ))
                    })
                };
                values.iter().enumerate().map(byte).collect()
            }
            other => Err(self.other(&other)),
        }
    }

    /// The elements as strings.
    fn strings(&self, data: TensorData<'_>) -> Result<Vec<Bytes>, OipError> {
        match data {
            TensorData::Raw(bytes) => self.split(bytes),
            TensorData::Json(list) => numbers::images(self, list),
            TensorData::Strings(strings) => {
                self.check_count(strings.len())?;
                Ok(strings)
            }
            other => Err(self.other(&other)),
        }
    }

    fn other(&self, data: &TensorData<'_>) -> OipError {
        let field = match data {
            TensorData::Floats(_) => "fp32_contents",
            TensorData::Unsigned(_) => "uint_contents",
            TensorData::Strings(_) => "bytes_contents",
            TensorData::Other(field) => field,
            TensorData::Raw(_) | TensorData::Json(_) => "data",
        };
        let expected = match self.datatype {
            Datatype::Fp32 => "fp32_contents",
            Datatype::Uint8 => "uint_contents",
            Datatype::Bytes => "bytes_contents",
        };
        self.wrong(&match field {
            NOTHING => format!("has no elements, expected are {expected} or raw_input_contents"),
            _ => format!(
                "has its elements in {field}, expected are {expected} or raw_input_contents"
            ),
        })
    }

    /// Strings that have their lengths before them.
    fn split(&self, mut bytes: Bytes) -> Result<Vec<Bytes>, OipError> {
        let (total, expected) = (bytes.len(), self.elements());
        let as_it_is = sniff(&bytes).is_some();
        let mut strings = Vec::with_capacity(expected.min(total / 4));
        for index in 0..expected {
            if bytes.len() < 4 {
                return Err(self.wrong(&format!(
                    "ends before element {index} of {expected}: {} bytes are left, its length alone has 4",
                    bytes.len()
                )));
            }
            let length = bytes.get_u32_le() as usize;
            if length > bytes.len() {
                let hint = match (index, as_it_is) {
                    (0, true) => {
                        "; the data begins as an image does, put its length in 4 bytes, little-endian, before it"
                    }
                    _ => "",
                };
                return Err(self.wrong(&format!(
                    "has an element {index} of {length} bytes by the 4 bytes before it, {} bytes are left{hint}",
                    bytes.len()
                )));
            }
            strings.push(bytes.split_to(length));
        }
        match bytes.len() {
            0 => Ok(strings),
            left => Err(self.wrong(&format!(
                "has {left} bytes behind its last element of {expected}"
            ))),
        }
    }
}
