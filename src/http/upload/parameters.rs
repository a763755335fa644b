//! A header's value and its parameters, as `form-data; name="file"`.
//!
//! Used for the content type of a body and for the headers of a form's parts. Source: RFC 9110, sections 5.6.4 and
//! 5.6.6; RFC 2183 and RFC 7578 for `Content-Disposition`.

/// A media type or a disposition, in lower case, and the parameters behind it in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameterized {
    /// What stands before the first `;`.
    pub(super) essence: String,
    /// Names in lower case, values without quotes.
    parameters: Vec<(String, Vec<u8>)>,
}

impl Parameterized {
    /// Reads what is there; what is no parameter is skipped. A value without quotes ends at the next `;`, so that
    /// boundaries with `=`, `/` or `:` are taken although RFC 9110 wants them quoted.
    pub(super) fn parse(value: &[u8]) -> Parameterized {
        let (essence, mut rest) = split(value, b';');
        let mut parameters = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|b| matches!(b, b';' | b'='));
            let end = end.unwrap_or(rest.len());
            let name = lower(&rest[..end]);
            if rest.get(end) != Some(&b'=') {
                rest = rest.get(end + 1..).unwrap_or(&[]);
                continue;
            }
            let behind = rest[end + 1..].trim_ascii_start();
            let value;
            (value, rest) = match behind.strip_prefix(b"\"") {
                Some(quoted) => unquote(quoted),
                None => {
                    let (value, rest) = split(behind, b';');
                    (value.trim_ascii().to_vec(), rest)
                }
            };
            parameters.push((name, value));
        }
        Parameterized {
            essence: lower(essence),
            parameters,
        }
    }

    /// The first parameter of that name.
    pub(super) fn parameter(&self, name: &str) -> Option<&[u8]> {
        let mut named = self.parameters.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_slice())
    }
}

/// The value of a quoted string behind its first quote, and what follows the next `;`. A backslash stands for itself
/// unless a quote or a backslash follows: browsers send a path with single ones.
fn unquote(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'"', _) => break,
            (b'\\', Some(&next @ (b'"' | b'\\'))) => {
                value.push(next);
                at += 2;
            }
            _ => {
                value.push(byte);
                at += 1;
            }
        }
    }
    let rest = text.get(at + 1..).unwrap_or(&[]);
    (value, split(rest, b';').1)
}

/// What stands before the first `separator`, and what stands behind it.
fn split(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|b| *b == separator);
    let at = at.unwrap_or(text.len());
    (&text[..at], text.get(at + 1..).unwrap_or(&[]))
}

fn lower(text: &[u8]) -> String {
    String::from_utf8_lossy(text.trim_ascii()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_in_every_way_that_they_are_written() {
        for (text, name, want) in [
            (r#"form-data; name="file""#, "name", Some("file")),
            (r#"Form-Data ; NAME=file"#, "name", Some("file")),
            (r#"form-data;name = "file" ;x"#, "name", Some("file")),
            (
                r#"form-data; filename="a.jpg"; name="file""#,
                "name",
                Some("file"),
            ),
            (
                r#"form-data; filename="x; name=file; y"; name="caption""#,
                "name",
                Some("caption"),
            ),
            (
                r#"form-data; filename="a\"; name=file; \"b"; name=c"#,
                "name",
                Some("c"),
            ),
            (
                r#"form-data; filename="C:\photos\a.jpg"; name=c"#,
                "filename",
                Some(r"C:\photos\a.jpg"),
            ),
            (
                r#"form-data; filename="a\\"; name=c"#,
                "filename",
                Some(r"a\"),
            ),
            (r#"form-data; filename="cut; name=file"#, "name", None),
            (r#"form-data; filename=name; x=name="#, "name", None),
            (
                r#"form-data; filename*=UTF-8''name; surname=x"#,
                "name",
                None,
            ),
            (r#"form-data; name=a; name=b"#, "name", Some("a")),
            ("form-data", "name", None),
            ("", "name", None),
            (";;=;name=a", "name", Some("a")),
            (
                "multipart/form-data; boundary====16==",
                "boundary",
                Some("===16=="),
            ),
            (
                "multipart/form-data; charset=utf-8; boundary=a/b:c",
                "boundary",
                Some("a/b:c"),
            ),
            (
                r#"multipart/form-data; boundary="a b"; x"#,
                "boundary",
                Some("a b"),
            ),
        ] {
            let parsed = Parameterized::parse(text.as_bytes());
            assert_eq!(parsed.parameter(name), want.map(str::as_bytes), "{text}");
        }
        assert_eq!(
            Parameterized::parse(b" Text/HTML ; a=b").essence,
            "text/html"
        );
    }
}
