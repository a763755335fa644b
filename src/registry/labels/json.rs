//! Labels as JSON: every form that frameworks keep them in.
//!
//! Called by `Labels::parse` for a file, by `registry` for a part of one. A class that has no name, or two, is refused.

use serde_json::{Map, Value};

use super::{Label, LabelsError, is_wnid, literal, unique};
use crate::registry::python_json::{self, is_no_number};

/// Whether a text is meant as JSON, or as the same in Python: a bracket, and behind it the start of a value.
pub(super) fn is_meant(text: &str) -> bool {
    let mut chars = text.chars().filter(|c| !c.is_whitespace());
    match chars.next() {
        Some('{') => matches!(chars.next(), Some('"' | '\'' | '}' | '0'..='9')),
        // `[0] cat` is a line of text.
        Some('[') => matches!(chars.next(), Some('"' | '\'' | '[' | '{' | '(' | ']')),
        _ => false,
    }
}

/// Reads the labels of a text that is [meant](is_meant) as JSON.
///
/// # Errors
/// [`LabelsError::Json`] if it is none, or names no classes.
pub(super) fn parse(text: &str) -> Result<Vec<Label>, LabelsError> {
    let value = unique::parse(text).or_else(|e| {
        let python = literal::to_json(text).and_then(|json| unique::parse(&json).ok());
        python.ok_or_else(|| LabelsError::Json(format!("are damaged JSON: {e}")))
    })?;
    labels(&value).map_err(LabelsError::Json)
}

/// Keys that hold the classes, in the order in which they are looked for.
const KEYS: [&str; 8] = [
    "id2label",
    "label2id",
    "label_names",
    "labels",
    "class_names",
    "classes",
    "categories",
    "names",
];

/// The labels of a list, of a table either way, or of an object that holds one under a usual key.
///
/// # Errors
/// A sentence without its subject, the labels.
pub(super) fn labels(value: &Value) -> Result<Vec<Label>, String> {
    match value {
        Value::Array(items) => of_list(items),
        Value::Object(table) if !is_no_number(value) => {
            let holds_more = |key: &&str| table.get(*key).is_some_and(is_container);
            match KEYS.iter().find(|key| holds_more(key)) {
                Some(key) => labels(&table[*key]),
                None => of_table(table),
            }
        }
        _ => Err(format!("are {}, expected a list or a table", shown(value))),
    }
}

fn is_container(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

/// `["cat", "dog"]`, or objects that have a name, and perhaps a number.
fn of_list(items: &[Value]) -> Result<Vec<Label>, String> {
    let number = |item: &Value| {
        let keys = ["id", "index", "class_index", "class_id"];
        keys.iter().find_map(|key| item.get(key)?.as_u64())
    };
    let numbers: Option<Vec<u64>> = items.iter().map(number).collect();
    let numbers = numbers.unwrap_or_else(|| (0..items.len() as u64).collect());
    let names = ["name", "label", "class_name"];
    let class = |(number, item): (u64, &Value)| {
        let name = names.iter().find_map(|key| item.get(key));
        Ok((number, label(number, name.unwrap_or(item))?))
    };
    let classes = numbers.into_iter().zip(items).map(class);
    in_order(classes.collect::<Result<_, String>>()?)
}

/// `{"0": "cat"}` or `{"cat": 0}`; the numbers of the latter may be text.
fn of_table(table: &Map<String, Value>) -> Result<Vec<Label>, String> {
    let by_name = |read: fn(&Value) -> Option<u64>| {
        let class =
            |(name, number): (&String, &Value)| Some((read(number)?, Label::parse(name.trim())));
        table.iter().map(class).collect::<Option<Vec<_>>>()
    };
    let by_number = |(key, name): (&String, &Value)| {
        let number = key.trim().parse().ok()?;
        Some(label(number, name).map(|label| (number, label)))
    };
    if let Some(classes) = by_name(Value::as_u64) {
        return in_order(classes);
    }
    if let Some(classes) = table.iter().map(by_number).collect::<Option<Vec<_>>>() {
        return in_order(classes.into_iter().collect::<Result<_, String>>()?);
    }
    if let Some(classes) = by_name(|number| number.as_str()?.trim().parse().ok()) {
        return in_order(classes);
    }
    let is_neither = |(_, value): &(&String, &Value)| !value.is_u64() && !value.is_string();
    let entry = table.iter().find(is_neither).or(table.iter().next());
    let (key, value) = entry.ok_or("are an empty table")?;
    Err(format!(
        "have \"{key}\": {}: expected a table from class number to name, or from name to number",
        shown(value)
    ))
}

/// A class's name: text, or as torchvision and Keras keep it, a synset id and a name.
fn label(number: u64, value: &Value) -> Result<Label, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let label = match value {
        Value::Array(pair) => match &pair[..] {
            [name] => text(name).map(|name| Label::parse(&name)),
            [wnid, name] => text(wnid)
                .filter(|wnid| is_wnid(wnid))
                .zip(text(name))
                .map(|(wnid, name)| Label::synset(Some(&wnid), &name)),
            _ => None,
        },
        _ => text(value).map(|name| Label::parse(&name)),
    };
    label.ok_or_else(|| format!("call class {number} {}, expected a name", shown(value)))
}

/// The labels by their numbers, which must be 0 to the last, each once.
fn in_order(mut classes: Vec<(u64, Label)>) -> Result<Vec<Label>, String> {
    if classes.is_empty() {
        return Err("are an empty list: name every class".into());
    }
    classes.sort_by_key(|(number, _)| *number);
    match fault(classes.iter().map(|(number, _)| *number)) {
        Some(fault) => Err(fault),
        None => Ok(classes.into_iter().map(|(_, label)| label).collect()),
    }
}

/// What is wrong with numbers in their order that are not 0 to the last, each once.
pub(super) fn fault(numbers: impl ExactSizeIterator<Item = u64>) -> Option<String> {
    let last = numbers.len().saturating_sub(1);
    let mut pairs = numbers.zip(0..);
    let (number, expected) = pairs.find(|(number, expected)| number != expected)?;
    let fault = match number < expected {
        true => format!("name class {number} twice"),
        false => format!("do not name class {expected}"),
    };
    Some(format!(
        "{fault}: the numbers must be 0 to {last}, each once"
    ))
}

/// The first characters of a value, for messages.
fn shown(value: &Value) -> String {
    python_json::shown(value, 60)
}

#[cfg(test)]
mod tests {
    use super::super::Labels;

    fn read(text: &str) -> Result<String, String> {
        let labels = Labels::parse(text).map_err(|e| e.to_string())?;
        let names: Vec<&str> = labels.iter().map(|l| &*l.label).collect();
        Ok(names.join("|"))
    }

    #[test]
    fn lists_and_tables_of_every_framework_are_read() {
        for text in [
            r#"["cat", "dog, small", "owl"]"#,
            "\u{feff}[\r\n\"cat\",\r\n\"dog, small\",\r\n\"owl\"\r\n]\r\n",
            r#"{"0": "cat", "1": "dog, small", "2": "owl"}"#,
            r#"{"2": "owl", "0": "cat", "1": "dog, small"}"#,
            r#"{"cat": 0, "dog, small": 1, "owl": 2}"#,
            r#"{"id2label": {"0": "cat", "1": "dog, small", "2": "owl"}, "num_labels": 3}"#,
            r#"{"label2id": {"owl": 2, "cat": 0, "dog, small": 1}}"#,
            r#"{"classes": ["cat", "dog, small", "owl"]}"#,
            r#"{"0": ["n02121620", "cat"], "1": ["n02084071", "dog, small"], "2": ["n01621127", "owl"]}"#,
            r#"[{"id": 1, "name": "dog, small"}, {"id": 0, "name": "cat"}, {"id": 2, "name": "owl"}]"#,
            "{0: 'cat', 1: 'dog, small', 2: 'owl'}",
            "['cat', 'dog, small', 'owl',]",
        ] {
            let expected = match text.contains("n0208") {
                true => "cat|dog|owl",
                false => "cat|dog, small|owl",
            };
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(
            read(r#"{"cat": "0", "owl": "1"}"#).as_deref(),
            Ok("cat|owl")
        );
        let numbers = Labels::parse_json("[10, 20]").unwrap();
        assert_eq!(&*numbers.get(1).unwrap().label, "20");
        assert_eq!(read(r#"{"0": "1", "1": "0"}"#).as_deref(), Ok("1|0"));
        assert_eq!(read(r#"{"0": 0, "1": 1}"#).as_deref(), Ok("0|1"));
        assert_eq!(
            read(r#"{"labels": 0, "names": 1}"#).as_deref(),
            Ok("labels|names")
        );
    }

    #[test]
    fn table_with_a_synset_id_keeps_it() {
        let labels =
            Labels::parse(r#"{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}"#);
        let labels = labels.unwrap();
        let tench = labels.get(0).unwrap();
        assert_eq!(
            (tench.wnid.as_deref(), &*tench.label),
            (Some("n01440764"), "tench")
        );
        assert_eq!(&*tench.synset, "tench");
    }

    #[test]
    fn classes_without_a_name_of_their_own_are_refused_by_number() {
        for (text, words) in [
            (r#"{"0": "cat", "2": "owl"}"#, "do not name class 1"),
            (r#"{"1": "cat", "2": "owl"}"#, "do not name class 0"),
            (r#"{"cat": 0, "dog": 0}"#, "name class 0 twice"),
            (
                r#"{"0": "cat", "1": ""}"#,
                "call class 1 \"\", expected a name",
            ),
            (r#"["cat", null]"#, "call class 1 null"),
            ("['cat', None]", "call class 1 null"),
            (r#"["cat", NaN]"#, "call class 1 NaN, expected a name"),
            ("{0: 'cat', 1: nan}", "call class 1 NaN, expected a name"),
            (
                r#"{"cat": 0, "owl": -Infinity}"#,
                "have \"owl\": -Infinity: expected a table",
            ),
            (
                r#"{"0": "cat", "1": NaN, "2": ?}"#,
                "are damaged JSON: expected value at line 1 column 29",
            ),
            (
                r#"{"id2label": NaN}"#,
                "are NaN, expected a list or a table",
            ),
            (r#"["cat", ["x", "y"]]"#, "call class 1 [\"x\",\"y\"]"),
            (
                r#"{"zero": "cat"}"#,
                "have \"zero\": \"cat\": expected a table",
            ),
            (
                r#"{"0": "cat", "1": "owl", "1": "dog"}"#,
                "the key \"1\" is repeated",
            ),
            ("[]", "are an empty list"),
            (r#"{"id2label": {}}"#, "are an empty list"),
            (r#"{"0": "cat","#, "are damaged JSON"),
            (r#"["cat", "dog"#, "are damaged JSON"),
        ] {
            let error = read(text).expect_err(text);
            assert!(
                error.contains(words) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn line_in_brackets_is_a_name() {
        assert_eq!(read("[background]\ncat").as_deref(), Ok("[background]|cat"));
        assert_eq!(read("{other}\ncat").as_deref(), Ok("{other}|cat"));
    }
}
