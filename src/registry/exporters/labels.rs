//! The class names in a `config.json`, Hugging Face's or timm's.

use serde_json::Value;

use super::Table;
use crate::registry::labels::{Labels, LabelsError};

/// The class names of a `config.json`, Hugging Face's or timm's; none if it has none.
///
/// # Errors
/// [`LabelsError::Json`], naming the class.
pub(in crate::registry) fn labels(config: &Table) -> Result<Option<Labels>, LabelsError> {
    let of = |config: &Table, key: &str| {
        let value = config.get(key)?;
        let is_list = value.as_array().is_some_and(|list| !list.is_empty());
        let is_table = value.as_object().is_some_and(|table| !table.is_empty());
        (is_list || is_table).then(|| value.clone())
    };
    let nested = config.get("pretrained_cfg").and_then(Value::as_object);
    for config in [Some(config), nested].into_iter().flatten() {
        let descriptions = config.get("label_descriptions").and_then(Value::as_object);
        if let (Some(Value::Array(names)), Some(descriptions)) =
            (of(config, "label_names"), descriptions)
        {
            let described =
                |name: &Value| match name.as_str().and_then(|name| descriptions.get(name)) {
                    Some(description) => Value::Array(vec![name.clone(), description.clone()]),
                    None => name.clone(),
                };
            let list: Vec<Value> = names.iter().map(described).collect();
            // Names that are no synset ids stand for themselves.
            let described = Labels::of_json(&Value::Array(list));
            return described
                .or_else(|_| Labels::of_json(&Value::Array(names)))
                .map(Some);
        }
        for key in ["label_names", "id2label", "label2id"] {
            if let Some(value) = of(config, key) {
                return Labels::of_json(&value).map(Some);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn class_names_of_both_hubs_are_read() {
        let read = |config: Value| {
            let labels = labels(config.as_object().expect("a table")).expect("labels");
            labels.map(|labels| {
                labels
                    .iter()
                    .map(|l| l.label.to_string())
                    .collect::<Vec<_>>()
                    .join("|")
            })
        };
        let pair = Some("cat|dog, small".to_owned());
        assert_eq!(
            read(
                json!({"id2label": {"0": "cat", "1": "dog, small"}, "label2id": {"cat": 0, "dog, small": 1}})
            ),
            pair
        );
        assert_eq!(read(json!({"label2id": {"dog, small": 1, "cat": 0}})), pair);
        assert_eq!(read(json!({"label_names": ["cat", "dog, small"]})), pair);
        assert_eq!(
            read(json!({"pretrained_cfg": {"label_names": ["cat", "dog, small"]}})),
            pair
        );
        let described = json!({"label_names": ["n02121620", "n02084071"],
            "label_descriptions": {"n02121620": "cat, true cat", "n02084071": "dog"}});
        assert_eq!(read(described).as_deref(), Some("cat|dog"));
        assert_eq!(
            read(json!({"architecture": "resnet50", "id2label": null})),
            None
        );
    }
}
