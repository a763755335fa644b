//! A literal as Python prints it, as JSON: `{0: 'cat', 1: "dog's"}`.
//!
//! Called by `json` for what is no JSON. Lists of labels are published in this form, and Ultralytics' exporter writes
//! one into the ONNX file.

use std::iter::Peekable;
use std::str::Chars;

/// Rewrites dictionaries, lists, tuples, text, numbers and Python's words; none if a text does not end.
pub(super) fn to_json(text: &str) -> Option<String> {
    let mut json = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => push_text(&mut json, &until_quote(&mut chars, c)?),
            '0'..='9' => {
                let mut digits = String::from(c);
                while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                while chars.next_if(|c| c.is_whitespace()).is_some() {}
                match chars.peek() {
                    Some(':') => push_text(&mut json, &digits),
                    _ => json.push_str(&digits),
                }
            }
            '(' => json.push('['),
            '}' | ']' | ')' => {
                if json.ends_with(',') {
                    json.pop();
                }
                json.push(if c == '}' { '}' } else { ']' });
            }
            c if c.is_ascii_alphabetic() => {
                let mut word = String::from(c);
                while let Some(letter) = chars.next_if(char::is_ascii_alphabetic) {
                    word.push(letter);
                }
                json.push_str(match &*word {
                    "None" => "null",
                    "True" => "true",
                    "False" => "false",
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    other => other,
                });
            }
            c if c.is_whitespace() => {}
            c => json.push(c),
        }
    }
    Some(json)
}

fn push_text(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// The text up to the closing quote, its escapes resolved.
fn until_quote(chars: &mut Peekable<Chars<'_>>, quote: char) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            c if c == quote => return Some(text),
            '\\' => text.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'x' => code(chars, 2)?,
                'u' => code(chars, 4)?,
                'U' => code(chars, 8)?,
                c => c,
            }),
            c => text.push(c),
        }
    }
}

fn code(chars: &mut Peekable<Chars<'_>>, digits: usize) -> Option<char> {
    let hex: String = chars.by_ref().take(digits).collect();
    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_json() {
        for (python, json) in [
            (
                "{0: 'tench, Tinca tinca',\n 1: \"jack-o'-lantern\"}",
                r#"{"0":"tench, Tinca tinca","1":"jack-o'-lantern"}"#,
            ),
            ("['a', 'b',]", r#"["a","b"]"#),
            ("('a', ('b', 1),)", r#"["a",["b",1]]"#),
            ("{'a' : 0}", r#"{"a":0}"#),
            ("[None, True, False]", "[null,true,false]"),
            ("[nan, -inf]", "[NaN,-Infinity]"),
            (r"['it\'s \xe9 \u00e9 \\ ']", r#"["it's é é \\ "]"#),
        ] {
            assert_eq!(to_json(python).as_deref(), Some(json), "{python}");
        }
        assert_eq!(to_json("['a"), None);
        assert_eq!(to_json(r"['\x"), None);
    }
}
