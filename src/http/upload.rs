//! The images in a request body: raw, multipart/form-data, or base64 in JSON.
//!
//! Called by `classify` with the whole body; what an image's bytes are is for `preprocess` to find out.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;

use super::ApiError;

/// Form fields that hold an image; others are ignored, as browsers and libraries send some of their own.
const IMAGE_FIELDS: [&str; 6] = ["file", "files", "files[]", "image", "images", "data"];

/// The images of one request.
#[derive(Debug)]
pub(super) struct Upload {
    /// Each one's bytes, or why there are none.
    pub(super) images: Vec<Result<Bytes, ApiError>>,
    /// Whether the answer is a list even for one image.
    pub(super) is_list: bool,
}

/// Takes a body apart by its content type: JSON and multipart by name, anything else is one raw image.
///
/// # Errors
/// [`ApiError::BadMultipart`], [`ApiError::BadJson`], [`ApiError::TooManyImages`].
pub(super) async fn parse(
    headers: &HeaderMap,
    body: Bytes,
    max_images: usize,
) -> Result<Upload, ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let upload = match essence.as_str() {
        "multipart/form-data" => multipart(content_type, body, max_images).await?,
        "application/json" => json(&body)?,
        _ => Upload {
            images: vec![Ok(body)],
            is_list: false,
        },
    };
    if upload.images.len() > max_images {
        return Err(ApiError::TooManyImages {
            got: upload.images.len(),
            max: max_images,
        });
    }
    Ok(upload)
}

async fn multipart(content_type: &str, body: Bytes, max_images: usize) -> Result<Upload, ApiError> {
    let boundary = multer::parse_boundary(content_type)
        .map_err(|_| ApiError::BadMultipart("the content-type has no boundary".into()))?;
    // RFC 2046 section 5.1.1: at most 70 characters; longer ones only make the search slow.
    if boundary.len() > 70 {
        return Err(ApiError::BadMultipart(format!(
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
            ApiError::BadMultipart("a part is malformed or the closing boundary is missing".into())
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
        if images.len() + ignored.len() > 2 * max_images + IMAGE_FIELDS.len() {
            return Err(ApiError::TooManyImages {
                got: images.len() + ignored.len(),
                max: max_images,
            });
        }
    }
    if images.is_empty() {
        let found = if ignored.is_empty() {
            "there is none".into()
        } else {
            format!("there are: {}", quote(&ignored))
        };
        return Err(ApiError::BadMultipart(format!(
            "no field named file, files[], image or data holds an image; {found}"
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBody {
    image: Option<String>,
    images: Option<Vec<String>>,
}

fn json(body: &[u8]) -> Result<Upload, ApiError> {
    let wrong = |e: serde_json::Error| ApiError::BadJson(json_reason(&e));
    let body: JsonBody = serde_json::from_slice(body).map_err(wrong)?;
    let (images, is_list) = match (body.image, body.images) {
        (Some(image), None) => (vec![image], false),
        (None, Some(images)) if !images.is_empty() => (images, true),
        (None, Some(_)) => {
            return Err(ApiError::BadJson(
                "\"images\" is empty, give at least one image".into(),
            ));
        }
        _ => {
            return Err(ApiError::BadJson(
                "give either \"image\" or \"images\"".into(),
            ));
        }
    };
    let decode = |(index, text): (usize, String)| decode_base64(index, &text);
    Ok(Upload {
        images: images.into_iter().enumerate().map(decode).collect(),
        is_list,
    })
}

/// The parser's words name only the client's own input; an unknown field's name is cut.
fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("unknown field") {
        return format!(
            "unknown field at line {} column {}, known are \"image\" and \"images\" with base64 (URLs are not fetched)",
            error.line(),
            error.column()
        );
    }
    text.chars().take(200).collect()
}

/// The standard alphabet; padding may be left out, as many encoders do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes one image, with or without the `data:image/…;base64,` in front that browsers give.
fn decode_base64(index: usize, text: &str) -> Result<Bytes, ApiError> {
    let text = match text
        .strip_prefix("data:")
        .and_then(|t| t.split_once(";base64,"))
    {
        Some((_, data)) => data,
        None => text,
    };
    let bytes = BASE64.decode(text).map_err(|e| ApiError::BadBase64 {
        index,
        reason: e.to_string(),
    })?;
    Ok(bytes.into())
}
