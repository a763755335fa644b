//! The protocol's names of what a tensor's elements are.

use std::fmt;

/// What a tensor's elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    /// 32-bit floats.
    Fp32,
    /// Bytes as numbers.
    Uint8,
    /// Strings of bytes: an encoded image each, or a line of text.
    Bytes,
}

/// All datatypes of the protocol; those of no use for images are known by name, so that they can be refused by it.
const NAMES: [&str; 14] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "FP32", "FP64", "BYTES", "BF16",
];

impl Datatype {
    /// The datatype of this name, if an image can be of it.
    #[must_use]
    pub fn find(name: &str) -> Option<Datatype> {
        match name {
            "FP32" => Some(Datatype::Fp32),
            "UINT8" => Some(Datatype::Uint8),
            "BYTES" => Some(Datatype::Bytes),
            _ => None,
        }
    }

    /// Whether the protocol has a datatype of this name.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        NAMES.contains(&name)
    }

    /// The protocol's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Datatype::Fp32 => "FP32",
            Datatype::Uint8 => "UINT8",
            Datatype::Bytes => "BYTES",
        }
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
