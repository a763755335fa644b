//! As much of JSON Schema as the document uses: whether a value is what a schema says.

use serde_json::Value;

/// What of a value breaks a schema of a document; the place and the reason. None if nothing does.
pub(super) fn breach(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    Check { document }.at("", schema, value).err()
}

struct Check<'a> {
    document: &'a Value,
}

impl Check<'_> {
    fn at(&self, place: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{place}: {value} {what} {schema}"));
        let known = [
            "$ref",
            "type",
            "const",
            "enum",
            "oneOf",
            "allOf",
            "properties",
            "required",
            "additionalProperties",
            "items",
            "minItems",
            "maxItems",
            "minimum",
            "maximum",
            "pattern",
            "minLength",
            "maxLength",
            "description",
            "examples",
            "maxProperties",
            "format",
        ];
        let schema_members = schema.as_object().ok_or("a schema is an object")?;
        if let Some(name) = schema_members.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(format!("{place}: what {name} means is not known here"));
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.document.pointer(&reference[1..]);
            self.at(
                place,
                target.ok_or(format!("{reference} leads nowhere"))?,
                value,
            )?;
        }
        if !schema["type"].is_null() {
            let types = schema["type"].as_array().cloned();
            let types = types.unwrap_or_else(|| vec![schema["type"].clone()]);
            if !types.iter().any(|t| is_of(value, t.as_str().unwrap())) {
                return wrong("is of another type than");
            }
        }
        let listed = schema["enum"].as_array();
        let is_constant = schema.get("const").is_none_or(|c| c == value);
        if !is_constant || listed.is_some_and(|list| !list.contains(value)) {
            return wrong("is none of");
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.at(place, part, value)?;
        }
        if let Some(parts) = schema["oneOf"].as_array() {
            let results = parts.iter().map(|part| self.at(place, part, value));
            let (fits, reasons): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
            if fits.len() != 1 {
                return Err(format!(
                    "{place}: fits {} of several: {reasons:?}",
                    fits.len()
                ));
            }
        }
        self.members(place, schema, value)?;
        if let Some(items) = value.as_array() {
            let (least, most) = (&schema["minItems"], &schema["maxItems"]);
            let length = items.len() as u64;
            if least.as_u64().is_some_and(|n| length < n)
                || most.as_u64().is_some_and(|n| length > n)
            {
                return wrong("has another length than");
            }
            for (index, item) in items.iter().enumerate() {
                if !schema["items"].is_null() {
                    self.at(&format!("{place}/{index}"), &schema["items"], item)?;
                }
            }
        }
        if let Some(number) = value.as_f64() {
            let (least, most) = (&schema["minimum"], &schema["maximum"]);
            if least.as_f64().is_some_and(|n| number < n)
                || most.as_f64().is_some_and(|n| number > n)
            {
                return wrong("is out of");
            }
        }
        Ok(())
    }

    fn members(&self, place: &str, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap()) {
                return Err(format!("{place}: there is no {name} in {value}"));
            }
        }
        for (name, member) in object {
            let place = format!("{place}/{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => return Err(format!("{place} is not told")),
                (Value::Null, Value::Null) => {}
                (Value::Null, others) => self.at(&place, others, member)?,
                (own, _) => self.at(&place, own, member)?,
            }
        }
        Ok(())
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("there is no type {other}"),
    }
}
