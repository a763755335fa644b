//! The extension `binary_tensor_data`: a body of JSON with the tensors' bytes behind it.
//!
//! Called with a whole body and the header that tells where its JSON ends. The tail is handed out in the order in which
//! the inputs ask for it, and must be used up.

use bytes::Bytes;

use super::OipError;
use crate::desk::cut;

/// The name, as clients write it, of the header with the length of the JSON.
pub const HEADER: &str = "inference-header-content-length";

/// A body taken apart.
#[derive(Debug)]
pub enum Body {
    /// A message.
    Message {
        /// Its JSON.
        json: Bytes,
        /// The bytes behind the JSON; none where no header tells that there are any.
        tail: Option<Bytes>,
    },
    /// One image and nothing else.
    Photo(Bytes),
}

/// Reads the header's values, of which there may be one.
///
/// # Errors
/// [`OipError::JsonLength`].
pub fn json_length<'a>(
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<u64>, OipError> {
    let Some(first) = values.next() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(first);
    if let Some(second) = values.next() {
        return Err(OipError::JsonLength {
            value: cut(&format!("{text}, {}", String::from_utf8_lossy(second))),
            allowed: "one value".into(),
        });
    }
    // No sign and no blanks, which Rust's own reading of a number would let pass in part.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let length = text.parse().ok().filter(|_| digits);
    length.map(Some).ok_or_else(|| OipError::JsonLength {
        value: cut(&text),
        allowed: "a whole number of bytes, from 0 to the body's length".into(),
    })
}

/// Takes a body apart by the header's value.
///
/// # Errors
/// [`OipError::JsonLength`] if the body is shorter.
pub fn split(body: Bytes, json_length: Option<u64>) -> Result<Body, OipError> {
    let Some(length) = json_length else {
        return Ok(Body::Message {
            json: body,
            tail: None,
        });
    };
    match usize::try_from(length) {
        Ok(0) => Ok(Body::Photo(body)),
        Ok(length) if length <= body.len() => Ok(Body::Message {
            json: body.slice(..length),
            tail: Some(body.slice(length..)),
        }),
        _ => Err(OipError::JsonLength {
            value: length.to_string(),
            allowed: format!("at most {}, the body's length", body.len()),
        }),
    }
}

/// The bytes behind the JSON, as far as no input has taken them.
#[derive(Debug)]
pub(super) struct Tail(Option<Bytes>);

impl Tail {
    pub(super) fn new(tail: Option<Bytes>) -> Tail {
        Tail(tail)
    }

    /// Takes the `size` bytes of an input.
    ///
    /// # Errors
    /// [`OipError::Data`].
    pub(super) fn take(&mut self, name: &str, size: u64) -> Result<Bytes, OipError> {
        let name = cut(name);
        let Some(tail) = &mut self.0 else {
            return Err(OipError::Data(format!(
                "input \"{name}\" has a binary_data_size of {size}, but no header Inference-Header-Content-Length tells \
                 where the JSON ends and the data begins"
            )));
        };
        match usize::try_from(size) {
            Ok(size) if size <= tail.len() => Ok(tail.split_to(size)),
            _ => Err(OipError::Data(format!(
                "input \"{name}\" has a binary_data_size of {size}, {} bytes are left behind the JSON",
                tail.len()
            ))),
        }
    }

    /// Takes all of it, for an only input that does not tell its size.
    pub(super) fn take_all(&mut self) -> Option<Bytes> {
        let tail = self.0.as_mut().filter(|tail| !tail.is_empty())?;
        Some(std::mem::take(tail))
    }

    /// Checks that no bytes are left.
    ///
    /// # Errors
    /// [`OipError::Data`].
    pub(super) fn end(self) -> Result<(), OipError> {
        match self.0.map_or(0, |tail| tail.len()) {
            0 => Ok(()),
            left => Err(OipError::Data(format!(
                "{left} bytes are left behind the data of the last input: binary_data_size counts all of an input's \
                 bytes, lengths before strings included"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(values: &[&str]) -> Result<Option<u64>, OipError> {
        json_length(values.iter().map(|v| v.as_bytes()))
    }

    #[test]
    fn header_is_one_whole_number() {
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&["0"]), Ok(Some(0)));
        assert_eq!(length(&["9223372036854775808"]), Ok(Some(1 << 63)));
        for wrong in [
            "",
            "-1",
            "+1",
            "1.0",
            " 1",
            "0x10",
            "1e3",
            "x",
            "99999999999999999999",
        ] {
            let error = length(&[wrong]).expect_err(wrong).to_string();
            assert!(error.contains(&format!("\"{wrong}\"")), "{error}");
        }
        assert!(length(&["5", "5"]).is_err());
    }

    #[test]
    fn body_is_split_where_the_header_says_and_nowhere_else() {
        let body = Bytes::from_static(b"{}tail");
        assert!(matches!(
            split(body.clone(), None),
            Ok(Body::Message { tail: None, .. })
        ));
        assert!(matches!(split(body.clone(), Some(0)), Ok(Body::Photo(photo)) if photo == body));
        let at = |n| match split(body.clone(), Some(n)) {
            Ok(Body::Message { json, tail }) => Some((json, tail.unwrap_or_default())),
            _ => None,
        };
        assert_eq!(at(2), Some((body.slice(..2), body.slice(2..))));
        assert_eq!(at(6), Some((body.clone(), Bytes::new())));
        for beyond in [7, 1 << 31, 1 << 63, u64::MAX] {
            assert!(split(body.clone(), Some(beyond)).is_err(), "{beyond}");
        }
    }
}
