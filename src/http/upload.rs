//! The images in a request body: raw, multipart/form-data, or base64 in JSON.
//!
//! Called by `classify` with the whole body; what an image's bytes are is for `preprocess` to find out.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use bytes::Bytes;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

/// Form fields that hold an image; others are ignored, as browsers and libraries send some of their own.
const IMAGE_FIELDS: [&str; 6] = ["file", "files", "files[]", "image", "images", "data"];

/// Fields besides the images that a form may have.
const MAX_OTHER_FIELDS: usize = 32;

/// Why a body, or one image of it, cannot be taken apart. The text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The multipart body is wrong.
    #[error("the multipart body is wrong: {0}")]
    Multipart(String),
    /// The JSON body is wrong.
    #[error("the JSON body is wrong: {0}")]
    Json(String),
    /// An image in a JSON body is not base64.
    #[error("image {index} is not base64: {reason}")]
    Base64 {
        /// Its position, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// More images than allowed.
    #[error("the request has {got} images, allowed are {max}")]
    TooManyImages {
        /// Images sent.
        got: usize,
        /// The limit.
        max: usize,
    },
}

/// The images of one request.
#[derive(Debug)]
pub(super) struct Upload {
    /// Each one's bytes, or why there are none.
    pub(super) images: Vec<Result<Bytes, UploadError>>,
    /// Whether the answer is a list even for one image.
    pub(super) is_list: bool,
}

/// Takes a body apart by its content type: JSON and multipart by name, anything else is one raw image.
///
/// # Errors
/// [`UploadError::Multipart`], [`UploadError::Json`], [`UploadError::TooManyImages`].
pub(super) async fn parse(
    headers: &HeaderMap,
    body: Bytes,
    max_images: usize,
) -> Result<Upload, UploadError> {
    let content_type = content_type(headers);
    let upload = match essence(content_type).as_str() {
        "multipart/form-data" => multipart(content_type, body).await?,
        "application/json" => json(&body, max_images)?,
        _ => Upload {
            images: vec![Ok(body)],
            is_list: false,
        },
    };
    if upload.images.len() > max_images {
        return Err(UploadError::TooManyImages {
            got: upload.images.len(),
            max: max_images,
        });
    }
    Ok(upload)
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE);
    value.and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// A content type without its parameters.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

/// Whether the body is JSON, for [`json`].
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    essence(content_type(headers)) == "application/json"
}

async fn multipart(content_type: &str, body: Bytes) -> Result<Upload, UploadError> {
    let boundary = multer::parse_boundary(content_type)
        .map_err(|_| UploadError::Multipart("the content-type has no boundary".into()))?;
    // RFC 2046 section 5.1.1: at most 70 characters; longer ones only make the search slow.
    if boundary.len() > 70 {
        return Err(UploadError::Multipart(format!(
            "the boundary has {} characters, allowed are 70",
            boundary.len()
        )));
    }
    let chunk = futures_util::stream::iter([Ok::<_, std::io::Error>(body)]);
    let mut form = multer::Multipart::new(chunk, boundary);
    let mut images = Vec::new();
    let mut ignored = Vec::new();
    loop {
        let broken = |_| {
            UploadError::Multipart("a part is malformed or the closing boundary is missing".into())
        };
        let Some(field) = form.next_field().await.map_err(broken)? else {
            break;
        };
        let name = field.name().unwrap_or("").to_owned();
        let bytes = field.bytes().await.map_err(broken)?;
        if IMAGE_FIELDS.contains(&name.as_str()) {
            images.push(Ok(bytes));
        } else {
            ignored.push(name);
        }
        if ignored.len() > MAX_OTHER_FIELDS {
            return Err(UploadError::Multipart(format!(
                "it has more than {MAX_OTHER_FIELDS} fields that hold no image"
            )));
        }
    }
    if images.is_empty() {
        let found = if ignored.is_empty() {
            "there is none".into()
        } else {
            format!("there are: {}", quote(&ignored))
        };
        return Err(UploadError::Multipart(format!(
            "no field named {} holds an image; {found}",
            IMAGE_FIELDS.join(", ")
        )));
    }
    let is_list = images.len() > 1;
    Ok(Upload { images, is_list })
}

/// Names for a message: at most five, each cut to 40 characters.
fn quote(names: &[String]) -> String {
    let cut = |name: &String| format!("\"{}\"", name.chars().take(40).collect::<String>());
    names.iter().take(5).map(cut).collect::<Vec<_>>().join(", ")
}

/// Most images kept of a JSON list: the largest `--max-images`. The rest is counted, so that the refusal can name it.
const MAX_JSON_IMAGES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody<'a> {
    #[serde(borrow)]
    image: Option<Cow<'a, str>>,
    #[serde(borrow)]
    images: Option<JsonImages<'a>>,
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

/// Takes a JSON body apart, and decodes the base64 in it: about a nanosecond a byte.
///
/// # Errors
/// [`UploadError::Json`], [`UploadError::TooManyImages`].
pub(super) fn json(body: &[u8], max_images: usize) -> Result<Upload, UploadError> {
    let wrong = |reason: &str| Err(UploadError::Json(reason.into()));
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return wrong(
            "it is no object; give {\"image\": \"<base64>\"} or {\"images\": [\"<base64>\"]}",
        );
    }
    let body: JsonBody<'_> =
        serde_json::from_slice(body).map_err(|e| UploadError::Json(json_reason(&e)))?;
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
        _ => return wrong("give either \"image\" or \"images\""),
    };
    let decode = |(index, text): (usize, Cow<'_, str>)| decode_base64(index, &text);
    Ok(Upload {
        images: images.into_iter().enumerate().map(decode).collect(),
        is_list,
    })
}

/// Where it is wrong and what was expected; the parser's own words stay here, as they name our types.
fn json_reason(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => format!(
            "{place} holds something else than \"image\" with a base64 string or \"images\" with a list of them; \
             URLs are not fetched"
        ),
        Category::Eof => format!("it ends early, at {place}"),
        Category::Syntax | Category::Io => format!("it is no valid JSON at {place}"),
    }
}

/// The standard alphabet; padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes one image, with or without the `data:image/…;base64,` in front that browsers give and the line breaks that
/// `base64` gives.
fn decode_base64(index: usize, text: &str) -> Result<Bytes, UploadError> {
    let text = match text
        .strip_prefix("data:")
        .and_then(|t| t.split_once(";base64,"))
    {
        Some((_, data)) => data,
        None => text,
    };
    let is_space = |b: &u8| b.is_ascii_whitespace();
    let decoded = if text.bytes().any(|b| is_space(&b)) {
        BASE64.decode(text.bytes().filter(|b| !is_space(b)).collect::<Vec<_>>())
    } else {
        BASE64.decode(text)
    };
    let wrong = |e| {
        let reason = match e {
            DecodeError::InvalidByte(at, _) => {
                format!("character {at} is not of its alphabet (A-Z a-z 0-9 + /)")
            }
            _ => "it is cut or its padding is wrong".into(),
        };
        UploadError::Base64 { index, reason }
    };
    decoded.map(Bytes::from).map_err(wrong)
}
