//! numpy's `.npy` and `.npz` files, read without the code under test.
//!
//! Source: numpy's `numpy.lib.format`; an `.npz` is a zip archive with a `.npy` for each array.

use std::io::Read as _;
use std::path::Path;

/// An array of version 1.0 in C order.
pub(crate) struct Npy {
    /// The type of its values, as numpy writes it.
    descr: String,
    pub(crate) shape: Vec<usize>,
    data: Vec<u8>,
}

/// Values of a type that numpy names.
pub(crate) trait Value: Sized {
    const DESCR: &str;
    fn of(bytes: &[u8]) -> Self;
}

impl Value for u8 {
    const DESCR: &str = "|u1";
    fn of(bytes: &[u8]) -> u8 {
        bytes[0]
    }
}

impl Value for f32 {
    const DESCR: &str = "<f4";
    fn of(bytes: &[u8]) -> f32 {
        f32::from_le_bytes(bytes.try_into().unwrap())
    }
}

impl Npy {
    /// Takes a file apart; its header must be what numpy itself would write.
    pub(crate) fn parse(file: &[u8]) -> Npy {
        let rest = file
            .strip_prefix(b"\x93NUMPY\x01\x00")
            .expect("a .npy of version 1.0");
        let (length, rest) = rest.split_at(2);
        let length = u16::from_le_bytes(length.try_into().unwrap());
        let (header, data) = rest.split_at(length.into());
        assert_eq!((10 + header.len()) % 64, 0, "the data is aligned");
        let header = std::str::from_utf8(header).unwrap();
        let text = header.trim_end_matches([' ', '\n']);
        let fields = text
            .strip_prefix("{'descr': '")
            .and_then(|t| t.strip_suffix("), }"));
        let (descr, shape) = fields
            .and_then(|f| f.split_once("', 'fortran_order': False, 'shape': ("))
            .unwrap_or_else(|| panic!("no header of numpy's: {header:?}"));
        let shape = shape.split(',').map(str::trim).filter(|n| !n.is_empty());
        Npy {
            descr: descr.to_owned(),
            shape: shape.map(|n| n.parse().unwrap()).collect(),
            data: data.to_vec(),
        }
    }

    /// An array of an archive.
    pub(crate) fn in_archive(path: &Path, name: &str) -> Npy {
        let file = std::fs::File::open(path).unwrap();
        let mut archive = zip::ZipArchive::new(file).unwrap();
        let mut bytes = Vec::new();
        let mut member = archive.by_name(&format!("{name}.npy")).unwrap();
        member.read_to_end(&mut bytes).unwrap();
        Npy::parse(&bytes)
    }

    pub(crate) fn values<T: Value>(&self) -> Vec<T> {
        assert_eq!(self.descr, T::DESCR);
        let values = self.data.chunks_exact(size_of::<T>());
        assert_eq!(values.len(), self.shape.iter().product::<usize>());
        values.map(T::of).collect()
    }

    /// Values of a type `<Un`: `n` characters of 4 bytes each, padded with zeros.
    pub(crate) fn strings(&self) -> Vec<String> {
        let n: usize = self.descr.strip_prefix("<U").unwrap().parse().unwrap();
        let string = |bytes: &[u8]| {
            let codes = bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|c| u32::from_le_bytes(*c));
            let codes = codes.take_while(|c| *c != 0);
            codes.map(|c| char::from_u32(c).unwrap()).collect()
        };
        self.data.chunks_exact(4 * n).map(string).collect()
    }
}
