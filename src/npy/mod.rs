//! Arrays as `.npy` files, numpy's format: version 1.0, `uint8` and `float32`, C order.
//!
//! Used by `resnet preprocess`. A file is a stranger's: nothing in its header makes room for more than the file holds.
//!
//! Source: numpy's `numpy.lib.format`, restated here.

mod header;

use std::io::{self, Read, Write};

use self::header::Header;

const MAGIC: &[u8] = b"\x93NUMPY";

/// Largest array that is read, in bytes: a float32 image of 85 megapixels.
const MAX_BYTES: usize = 1 << 30;

/// Most axes of an array. Source: numpy's own limit before version 2.
const MAX_AXES: usize = 32;

/// What precedes the values is padded to a multiple of this. Source: `ARRAY_ALIGN` of numpy.
const ALIGN: usize = 64;

/// The values of an array, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// numpy's `uint8`.
    U8(Vec<u8>),
    /// numpy's `float32`.
    F32(Vec<f32>),
}

/// A dense array with its shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    values: Values,
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The file system's reason.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// It starts as another kind of file.
    #[error("is no .npy file: it does not start with \\x93NUMPY")]
    NotNpy,
    /// A version of the format that numpy writes only for records and very long headers.
    #[error(
        "is .npy of version {0}.{1}, only 1.0 is read: that is what numpy.save writes for a plain array"
    )]
    Version(u8, u8),
    /// The header contradicts the format.
    #[error("has a damaged header: {0}")]
    Header(String),
    /// Values of another type.
    #[error(
        "holds values of type {0:?}, only uint8 (|u1) and float32 (<f4) are read: save x.astype(numpy.float32)"
    )]
    Type(String),
    /// Columns first.
    #[error("is in Fortran order, only C order is read: save numpy.ascontiguousarray(x)")]
    FortranOrder,
    /// Larger than this program reads.
    #[error("is an array of {shape:?}, allowed are {max} bytes and {MAX_AXES} axes", max = MAX_BYTES)]
    TooLarge {
        /// The shape in the header.
        shape: Vec<usize>,
    },
    /// Fewer or more bytes than shape and type call for.
    #[error("has {got} bytes of values, shape {shape:?} needs {expected}")]
    Length {
        /// Bytes after the header; one more than needed stands for any surplus.
        got: usize,
        /// Bytes that the shape needs.
        expected: usize,
        /// The shape in the header.
        shape: Vec<usize>,
    },
}

impl Values {
    /// The number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Values::U8(v) => v.len(),
            Values::F32(v) => v.len(),
        }
    }

    /// Whether the array has no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// numpy's name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Values::U8(_) => "uint8",
            Values::F32(_) => "float32",
        }
    }
}

impl Array {
    /// Wraps values with their shape.
    ///
    /// # Panics
    /// If the product of `shape` is not the number of values: a caller's mistake, never a user's.
    #[must_use]
    pub fn new(shape: Vec<usize>, values: Values) -> Array {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "shape {shape:?} does not describe {} values",
            values.len()
        );
        Array { shape, values }
    }

    /// The extent of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values in row-major order.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Writes the array as numpy would.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let descr = match self.values {
            Values::U8(_) => "|u1",
            Values::F32(_) => "<f4",
        };
        let before = MAGIC.len() + 4; // the version, and the header's length
        let mut header = header::text(descr, &self.shape);
        let padded = (before + header.len() + 1).next_multiple_of(ALIGN) - before;
        header.extend(std::iter::repeat_n(' ', padded - header.len() - 1));
        header.push('\n');
        let length = u16::try_from(header.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many axes for .npy"))?;
        out.write_all(MAGIC)?;
        out.write_all(&[1, 0])?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        match &self.values {
            Values::U8(v) => out.write_all(v),
            Values::F32(v) => {
                let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
                out.write_all(&bytes)
            }
        }
    }

    /// Reads an array and expects the end of the file after it.
    ///
    /// # Errors
    /// [`NpyError`], saying how to save what is not read.
    pub fn read(file: &mut impl Read) -> Result<Array, NpyError> {
        let mut start = Vec::new();
        file.take(10).read_to_end(&mut start)?;
        let version = match start[..] {
            [b'\x93', b'N', b'U', b'M', b'P', b'Y', major, minor, ..] => (major, minor),
            _ => return Err(NpyError::NotNpy),
        };
        let &[low, high] = &start[8..] else {
            return Err(NpyError::Header("the file ends in it".into()));
        };
        if version != (1, 0) {
            return Err(NpyError::Version(version.0, version.1));
        }
        let length = u16::from_le_bytes([low, high]);
        let mut header = Vec::new();
        file.take(u64::from(length)).read_to_end(&mut header)?;
        if header.len() < usize::from(length) {
            return Err(NpyError::Header("the file ends in it".into()));
        }
        let Header {
            descr,
            fortran_order,
            shape,
        } = Header::parse(&String::from_utf8_lossy(&header)).map_err(NpyError::Header)?;
        let width = match &*descr {
            "|u1" | "u1" | "<u1" => 1,
            "<f4" => 4,
            _ => return Err(NpyError::Type(descr)),
        };
        // With one axis or none both orders are the same.
        if fortran_order && shape.len() > 1 {
            return Err(NpyError::FortranOrder);
        }
        let expected = shape
            .iter()
            .try_fold(width, |bytes: usize, &axis| bytes.checked_mul(axis))
            .filter(|&bytes| bytes <= MAX_BYTES && shape.len() <= MAX_AXES);
        let Some(expected) = expected else {
            return Err(NpyError::TooLarge { shape });
        };
        // Grows with what the file holds, not with what its header says.
        let mut bytes = Vec::new();
        file.take(expected as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() != expected {
            return Err(NpyError::Length {
                got: bytes.len(),
                expected,
                shape,
            });
        }
        let values = match width {
            1 => Values::U8(bytes),
            _ => Values::F32(
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            ),
        };
        Ok(Array { shape, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).expect("a short header");
        [
            MAGIC,
            &[1, 0],
            &length.to_le_bytes(),
            header.as_bytes(),
            values,
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Result<Array, String> {
        Array::read(&mut &bytes[..]).map_err(|e| e.to_string())
    }

    #[test]
    fn file_is_byte_for_byte_what_numpy_writes() {
        // numpy 2.4.6: numpy.save of numpy.arange(6, dtype=numpy.float32).reshape(1, 2, 3)
        let array = Array::new(
            vec![1, 2, 3],
            Values::F32((0..6u8).map(f32::from).collect()),
        );
        let mut bytes = Vec::new();
        array.write(&mut bytes).expect("a vector takes it");
        let mut want = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        want.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3), }");
        want.resize(127, b' ');
        want.push(b'\n');
        want.extend((0..6u8).flat_map(|i| f32::from(i).to_le_bytes()));
        assert_eq!(bytes, want);
        assert_eq!(bytes.len(), 152);
    }

    #[test]
    fn what_is_not_read_says_why_and_what_to_save_instead() {
        let plain = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
        };
        let with =
            |descr: &str, order: &str, shape: &str| file(&plain(descr, order, shape), &[0; 8]);
        let mut version_2 = with("|u1", "False", "(8,)");
        version_2[6] = 2;
        for (bytes, words) in [
            (b"PK\x03\x04".to_vec(), "is no .npy file"),
            (b"\x93NUMPY\x01".to_vec(), "is no .npy file"),
            (b"\x93NUMPY\x01\x00\x76".to_vec(), "the file ends in it"),
            (
                b"\x93NUMPY\x01\x00\x76\x00{".to_vec(),
                "the file ends in it",
            ),
            (version_2, "version 2.0"),
            (with("<f8", "False", "(1,)"), "\"<f8\""),
            (with(">f4", "False", "(2,)"), "\">f4\""),
            (with("<f4", "True", "(2, 1)"), "ascontiguousarray"),
            (
                with("<f4", "False", "(3,)"),
                "8 bytes of values, shape [3] needs 12",
            ),
            (
                with("|u1", "False", "(7,)"),
                "8 bytes of values, shape [7] needs 7",
            ),
            (with("|u1", "False", "(65536, 65536)"), "[65536, 65536]"),
            (
                with("<f4", "False", "(9223372036854775807, 8)"),
                "9223372036854775807",
            ),
            (with("|u1", "False", "(-1,)"), "no shape"),
            (with("|u1", "Maybe", "(8,)"), "no order"),
            (with("|u1", "False", "8"), "no shape"),
            (file("{'descr': [('a', '<f4')]}", &[]), "a record"),
            (file("{'descr': '|u1'}", &[]), "not all of"),
            (file("'descr'", &[]), "no dictionary"),
            (file("{descr: '|u1'}", &[]), "no key"),
        ] {
            let error = read(&bytes).expect_err(words);
            assert!(error.contains(words), "{words} is not in {error}");
        }
        let any_order = "{\"shape\": (2,2), 'fortran_order':False,'descr':'|u1'}";
        let array = read(&file(any_order, &[1, 2, 3, 4])).expect("the same in other words");
        assert_eq!(array, Array::new(vec![2, 2], Values::U8(vec![1, 2, 3, 4])));
    }

    proptest! {
        #[test]
        fn any_array_comes_back(shape in prop::collection::vec(0usize..5, 0..5), bytes: bool, seed: u32) {
            let n: usize = shape.iter().product();
            let value = |i: usize| (i as u32).wrapping_mul(seed);
            let values = match bytes {
                true => Values::U8((0..n).map(|i| value(i) as u8).collect()),
                false => Values::F32((0..n).map(|i| value(i) as f32).collect()),
            };
            let array = Array::new(shape, values);
            let mut file = Vec::new();
            array.write(&mut file).expect("a vector takes it");
            prop_assert_eq!(file.len() % 64, array.values().len() * if bytes { 1 } else { 4 } % 64);
            prop_assert_eq!(read(&file).expect("just written"), array);
        }

        #[test]
        fn no_bytes_make_it_panic(header in "[{}'a-z:, ()0-9<|_]{0,60}", values: Vec<u8>) {
            let _ = read(&file(&header, &values));
            let _ = read(&values);
        }
    }
}
