//! JSON as Python's `json` writes it: with `NaN`, `Infinity` and `-Infinity`, which JSON does not have.
//!
//! Used by whatever in this room reads what exporters leave. A number that is none keeps its place, so that where nobody
//! asks for it it does no harm, and where somebody does it is refused by its key, in the file's own word.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What Python writes for numbers that are none.
const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];

/// The only key of the table that stands in the place of such a number: of all kinds of values the one that nothing here
/// takes for a number, a text or a list.
const KEY: &str = "no number";

/// Reads a text.
///
/// # Errors
/// Where it is no JSON, with line and column.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    if !["NaN", "Infinity"].iter().any(|word| text.contains(word)) {
        return serde_json::from_str(text);
    }
    // With numbers of the same length, so that an error's place is that in the text.
    let alike = replaced(text, |word| word.replace(char::is_alphabetic, "1"));
    serde_json::from_str::<T>(&alike)?;
    serde_json::from_str(&replaced(text, stand_in))
}

/// Whether a value stands in the place of a number that is none.
pub(super) fn is_no_number(value: &Value) -> bool {
    let is_key = |table: &Map<String, Value>| table.len() == 1 && table.contains_key(KEY);
    value.as_object().is_some_and(is_key)
}

/// The first characters of a value, as the file has it, for messages.
pub(super) fn shown(value: &Value, most: usize) -> String {
    let mut text = value.to_string();
    for word in WORDS {
        text = text.replace(&stand_in(word), word);
    }
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn stand_in(word: &str) -> String {
    format!("{{\"{KEY}\":\"{word}\"}}")
}

/// The text with others in the place of these words, but for those within quotes.
fn replaced(text: &str, by: impl Fn(&str) -> String) -> String {
    let mut said = String::with_capacity(text.len());
    let (mut is_quoted, mut is_escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = WORDS.into_iter().find(|word| rest.starts_with(word));
        if let Some(word) = word.filter(|_| !is_quoted) {
            said += &by(word);
            rest = &rest[word.len()..];
            continue;
        }
        if c == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        said.push(c);
        rest = &rest[c.len_utf8()..];
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn number_that_is_none_keeps_its_place_and_its_word() {
        let text =
            r#"{"a": NaN, "b": [1, -Infinity, Infinity], "c": "NaN \" Infinity \\", "d": 2}"#;
        let value: Value = read(text).expect("read");
        assert_eq!(value["c"], json!("NaN \" Infinity \\"));
        assert_eq!(value["d"], json!(2));
        assert!(is_no_number(&value["a"]) && is_no_number(&value["b"][1]));
        for (value, text) in [
            (&value["a"], "NaN"),
            (&value["b"], "[1,-Infinity,Infinity]"),
            (&value["c"], r#""NaN \" Infinity \\""#),
        ] {
            assert_eq!(shown(value, 80), text);
        }
        assert_eq!(shown(&value["b"], 4), "[1,-…");
        assert_eq!(value["a"].as_f64(), None);
        assert!(!is_no_number(&json!({})) && !is_no_number(&json!({"a": 1})));
    }

    #[test]
    fn damage_is_told_by_its_place_in_the_text() {
        for (text, place) in [
            (r#"{"a": NaN, "b": ?}"#, "line 1 column 17"),
            (
                "{\n\"a\": -Infinity,\n\"b\": Infinity, \"c\"}",
                "line 3 column 19",
            ),
            (r#"{"a": ?}"#, "line 1 column 7"),
            (r#"{"a": "NaN", "b": nan}"#, "line 1 column 20"),
        ] {
            let error = read::<Value>(text).expect_err(text).to_string();
            assert!(error.ends_with(place), "{text}: {error}");
        }
    }
}
