//! base64 to bytes, and what clients do to it on the way.
//!
//! Called by whoever finds an image in JSON.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

/// The standard alphabet; padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes an image, with or without the `data:image/…;base64,` in front that browsers give and the line breaks that
/// `base64` gives. A blank is refused unless it can have been no `+`: that is what a form or a URL makes of it, and
/// without it the image is another.
///
/// # Errors
/// What is wrong with the text, and what has probably happened to it.
pub fn decode(text: &str) -> Result<Bytes, String> {
    let (start, text) = without_margins(text);
    let data = behind_data_uri(text)?;
    let is_between = |b: &u8| matches!(b, b'\r' | b'\n' | b'\t');
    let decoded = match data.bytes().any(|b| is_between(&b)) {
        true => BASE64.decode(data.bytes().filter(|b| !is_between(b)).collect::<Vec<_>>()),
        false => BASE64.decode(data),
    };
    decoded
        .map(Bytes::from)
        .map_err(|_| explain(text, data, start))
}

/// The text without the blanks at its ends that nobody can have meant as a `+`. No image begins with one: the first byte
/// would be F8 to FB. At the end it stands behind no padding, and never alone behind whole groups of four. Also tells
/// where the rest begins.
fn without_margins(text: &str) -> (usize, &str) {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let whole = text;
    let text = whole.trim_start_matches(is_space);
    let start = whole.len() - text.len();
    let inner = text.trim_end_matches(is_space);
    let blanks = text[inner.len()..].matches(' ').count();
    let groups_are_whole = || {
        let data = inner.rsplit(',').next().unwrap_or(inner);
        data.bytes().filter(|b| !b.is_ascii_whitespace()).count() % 4 == 0
    };
    let text = match blanks {
        _ if inner.ends_with('=') => inner,
        1 if groups_are_whole() => inner,
        _ => text,
    };
    (start, text)
}

/// The text without a data URI's head.
fn behind_data_uri(text: &str) -> Result<&str, String> {
    let is_uri = text
        .get(..5)
        .is_some_and(|t| t.eq_ignore_ascii_case("data:"));
    if !is_uri {
        return Ok(text);
    }
    match text.split_once(',') {
        Some((head, data)) if head.to_ascii_lowercase().trim_end().ends_with(";base64") => Ok(data),
        _ => Err("it is a data URI without \";base64,\"".into()),
    }
}

/// Where the text leaves the alphabet, and a hint where that is a known accident; `start` characters stood before it.
fn explain(text: &str, data: &str, start: usize) -> String {
    if text.starts_with("b'") || text.starts_with("b\"") {
        return "it is Python's b'…'; turn it into text with .decode() first".into();
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return "it is a URL; URLs are not fetched, send the image's bytes".into();
    }
    let before = start + text.len() - data.len();
    let foreign = data
        .char_indices()
        .find(|(_, c)| !c.is_ascii_alphanumeric() && !"+/=\r\n\t".contains(*c));
    let Some((at, c)) = foreign else {
        return "it is cut or its padding is wrong".into();
    };
    let at = before + at;
    match c {
        ' ' => format!(
            "character {at} is a blank, where a '+' was probably lost on the way: forms and URLs turn '+' into a blank, \
             JSON does not"
        ),
        '-' | '_' => format!(
            "character {at} is {c:?}, as in the alphabet for URLs; use the standard one (A-Z a-z 0-9 + /)"
        ),
        '%' => format!("character {at} is '%': it is percent-encoded, decode it first"),
        _ => format!("character {at} is not of its alphabet (A-Z a-z 0-9 + /)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_missing_padding_are_fine() {
        for text in [
            "aGVsbG8+",
            "aGVs\r\nbG8+",
            "aGVs\nbG8+\n",
            "\taGVsbG8+",
            "data:image/png;base64,aGVsbG8+",
            "DATA:image/png;name=a;BASE64,aGVsbG8+",
            " aGVsbG8+",
            "\r\n  aGVsbG8+ \r\n",
            " data:image/png;base64,aGVs\r\nbG8+ ",
        ] {
            assert_eq!(decode(text).as_deref(), Ok(&b"hello>"[..]), "{text:?}");
        }
        assert_eq!(decode("aGVsbG8").as_deref(), Ok(&b"hello"[..]));
        assert_eq!(decode("aGVsbA== \n ").as_deref(), Ok(&b"hell"[..]));
        for nothing in ["", " ", " \r\n "] {
            assert_eq!(decode(nothing).as_deref(), Ok(&b""[..]));
        }
    }

    #[test]
    fn accidents_on_the_way_are_named() {
        for (text, want) in [
            ("aGVsbG8 ", "character 7 is a blank, where a '+'"),
            ("aGVsbG8+  ", "character 8 is a blank"),
            (" aGVsbG8 ", "character 8 is a blank"),
            ("data:image/png;base64,aG Vs", "character 24 is a blank"),
            ("aGVs\u{a0}bG8+", "character 4 is not of its alphabet"),
            ("aGVsbG8-", "as in the alphabet for URLs"),
            ("aGVsbG8_", "as in the alphabet for URLs"),
            ("aGVsbG8%2B", "percent-encoded"),
            ("b'aGVsbG8+'", "Python's b'…'"),
            ("https://example.com/a.jpg", "URLs are not fetched"),
            ("data:image/svg+xml,%3Csvg", "a data URI without"),
            ("data:", "a data URI without"),
            ("aGVsb", "cut or its padding is wrong"),
            ("aG=VsbG8", "cut or its padding is wrong"),
            ("äGVs", "character 0 is not of its alphabet"),
        ] {
            let got = decode(text).expect_err(text);
            assert!(got.contains(want), "{text:?}: {got}");
        }
    }
}
