//! Images as base64 in a JSON object.

use std::borrow::Cow;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::{Upload, UploadError};
use crate::base64;
use crate::desk::cut;

/// Most images kept of a JSON list: the largest `--max-images`. The rest is counted, so that the refusal can name it.
const MAX_JSON_IMAGES: usize = 1024;

/// The members of the object; of those that mean nothing the first one's name.
#[derive(Default)]
struct JsonBody<'a> {
    image: Option<Cow<'a, str>>,
    images: Option<JsonImages<'a>>,
    unknown: Option<String>,
    repeated: Option<&'static str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonBody<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = JsonBody<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut body = JsonBody::default();
                while let Some(Text(name)) = map.next_key()? {
                    match &*name {
                        "image" => {
                            let Text(image) = map.next_value()?;
                            if body.image.replace(image).is_some() {
                                body.repeated = Some("image");
                            }
                        }
                        "images" => {
                            if body.images.replace(map.next_value()?).is_some() {
                                body.repeated = Some("images");
                            }
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            body.unknown.get_or_insert_with(|| cut(&name));
                        }
                    }
                }
                Ok(body)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

struct JsonImages<'a> {
    first: Vec<Cow<'a, str>>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for JsonImages<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Images;
        impl<'de> Visitor<'de> for Images {
            type Value = JsonImages<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of base64 strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let (mut first, mut count) = (Vec::new(), 0);
                while count < MAX_JSON_IMAGES {
                    let Some(Text(image)) = list.next_element()? else {
                        return Ok(JsonImages { first, count });
                    };
                    first.push(image);
                    count += 1;
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(JsonImages { first, count })
            }
        }
        deserializer.deserialize_seq(Images)
    }
}

/// A string that is borrowed from the body where it holds no escapes: base64 never does.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What an object may have.
const FIELDS: &str =
    "allowed are \"image\" with a base64 string and \"images\" with a list of them";

/// Takes a JSON body apart, and decodes the base64 in it: about a nanosecond a byte.
///
/// # Errors
/// [`UploadError::Json`], [`UploadError::TooManyImages`].
pub(in crate::http) fn json(body: &[u8], max_images: usize) -> Result<Upload, UploadError> {
    let wrong = |reason: &str| Err(UploadError::Json(reason.into()));
    let body = &*as_utf8(body)?;
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return wrong(
            "it is no object; give {\"image\": \"<base64>\"} or {\"images\": [\"<base64>\"]}",
        );
    }
    let body: JsonBody<'_> =
        serde_json::from_slice(body).map_err(|e| UploadError::Json(json_reason(&e)))?;
    if let Some(name) = body.unknown {
        return wrong(&format!("there is no field \"{name}\", {FIELDS}"));
    }
    if let Some(name) = body.repeated {
        return wrong(&format!("\"{name}\" is there twice"));
    }
    let (images, is_list) = match (body.image, body.images) {
        (Some(image), None) => (vec![image], false),
        (None, Some(images)) if images.count > max_images => {
            return Err(UploadError::TooManyImages {
                got: images.count,
                max: max_images,
            });
        }
        (None, Some(images)) if !images.first.is_empty() => (images.first, true),
        (None, Some(_)) => return wrong("\"images\" is empty, give at least one image"),
        (Some(_), Some(_)) => {
            return wrong("it has both \"image\" and \"images\", give one of them");
        }
        (None, None) => return wrong(&format!("it has no image: {FIELDS}")),
    };
    let decode = |(index, text): (usize, Cow<'_, str>)| {
        base64::decode(&text).map_err(|reason| UploadError::Base64 { index, reason })
    };
    Ok(Upload {
        images: images.into_iter().enumerate().map(decode).collect(),
        is_list,
    })
}

/// The text without a byte order mark, and from UTF-16, which some systems write into files that are then sent. RFC 8259
/// asks for UTF-8 and lets a reader skip the mark.
fn as_utf8(body: &[u8]) -> Result<Cow<'_, [u8]>, UploadError> {
    let (units, is_little_endian) = match body {
        [0xEF, 0xBB, 0xBF, rest @ ..] => return Ok(rest.into()),
        [0xFF, 0xFE, rest @ ..] => (rest, true),
        [0xFE, 0xFF, rest @ ..] => (rest, false),
        // No mark; an object begins with an ASCII character.
        [b'{', 0, ..] => (body, true),
        [0, b'{', ..] => (body, false),
        _ => return Ok(body.into()),
    };
    let (units, odd) = units.as_chunks::<2>();
    let units = units.iter().map(|unit| match is_little_endian {
        true => u16::from_le_bytes(*unit),
        false => u16::from_be_bytes(*unit),
    });
    let text = char::decode_utf16(units).collect::<Result<String, _>>();
    match (text, odd) {
        (Ok(text), []) => Ok(text.into_bytes().into()),
        _ => Err(UploadError::Json(
            "it begins as UTF-16 and does not go on so; send UTF-8".into(),
        )),
    }
}

/// Where it is wrong and what was expected; the parser's own words stay here, as they name our types.
fn json_reason(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            format!("what ends at {place} is no base64 string: {FIELDS}; URLs are not fetched")
        }
        Category::Eof => format!("it ends early, at {place}"),
        Category::Syntax | Category::Io => format!("it is no valid JSON at {place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_may_have_a_mark_and_be_utf_16() {
        let text = "{\"image\":\"aGVsbG8+\"}";
        let wide = |to: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
        let (le, be) = (wide(u16::to_le_bytes), wide(u16::to_be_bytes));
        let bodies = [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            [b"\xFF\xFE".to_vec(), le.clone()].concat(),
            [b"\xFE\xFF".to_vec(), be.clone()].concat(),
            le.clone(),
            be,
        ];
        for body in bodies {
            let mut upload = json(&body, 1).expect("it is JSON");
            let image = upload.images.remove(0).expect("it is base64");
            assert_eq!(&image[..], b"hello>");
        }
        for wrong in [&le[..le.len() - 1], b"\xFF\xFE\x00\xD8{}"] {
            let error = json(wrong, 1).expect_err("half a character").to_string();
            assert!(error.contains("UTF-16"), "{error}");
        }
    }
    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (body, want) in [
            (
                r#"{"imge": "aGVs"}"#,
                r#"there is no field "imge", allowed are "image" with"#,
            ),
            (r#"{"image": "aGVs", "top_k": 5}"#, r#"no field "top_k""#),
            (
                r#"{"instances": [{"b64": "aGVs"}]}"#,
                r#"no field "instances""#,
            ),
            ("{\"a\\u001b[31m\": 1}", "no field \"a\u{fffd}[31m\""),
            (r#"{}"#, r#"it has no image: allowed are "image""#),
            (r#"{"image": "aGVs", "images": []}"#, "both"),
            (
                r#"{"image": "aGVs", "image": "aGVs"}"#,
                r#""image" is there twice"#,
            ),
            (
                r#"{"images": [], "images": []}"#,
                r#""images" is there twice"#,
            ),
            (r#"{"images": []}"#, "empty"),
            (r#"{"image": 5}"#, "line 1 column 11 is no base64 string"),
            (r#"{"image": null}"#, "is no base64 string"),
            (r#"{"images": "aGVs"}"#, r#""images" with a list"#),
            (r#"{"images": [{"url": "x"}]}"#, "URLs are not fetched"),
            (r#"["aGVs"]"#, "it is no object"),
            (r#"{"image": "aGVs""#, "it ends early, at line 1 column 16"),
            (r#"{"image": aGVs}"#, "no valid JSON at line 1 column 11"),
        ] {
            let error = json(body.as_bytes(), 8).expect_err(body).to_string();
            assert!(error.contains(want), "{body}: {error}");
        }
    }
}
