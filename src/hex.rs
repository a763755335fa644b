//! Bytes as hexadecimal digits, and back.
//!
//! Used for digests of models and API keys, for the ids of traces, and in the tests.

use std::fmt::Write as _;

/// Writes two lower-case digits for each byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The `N` bytes of a text of exactly so many pairs of digits, upper or lower case.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_nothing_else_is_taken() {
        let all: [u8; 256] = std::array::from_fn(|i| i as u8);
        let text = encode(&all);
        assert_eq!(&text[..8], "00010203");
        assert_eq!(decode(&text), Some(all));
        assert_eq!(decode(&text.to_uppercase()), Some(all));
        assert_eq!(decode::<2>("0aF0"), Some([10, 240]));
        for wrong in ["", "0", "0aF", "0aF00", "0aG0", "+1+1", "é1"] {
            assert_eq!(decode::<2>(wrong), None, "{wrong}");
        }
    }
}
