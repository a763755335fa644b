//! The images in a request body: raw, multipart/form-data, or base64 in JSON.
//!
//! Called by `classify` with the whole body; what an image's bytes are is for `preprocess` to find out.

mod form;
mod json;
mod parameters;

use axum::http::{HeaderMap, header};
use bytes::Bytes;

pub(super) use self::json::json;
use self::parameters::Parameterized;

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
    /// More fields for images than are read, whatever they hold.
    #[error("the form has more than {read} fields for images, allowed are {max} images")]
    TooManyFields {
        /// Fields that were read.
        read: usize,
        /// Images that are allowed.
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
/// All but [`UploadError::Base64`], which is one image's alone.
pub(super) fn parse(
    headers: &HeaderMap,
    body: Bytes,
    max_images: usize,
) -> Result<Upload, UploadError> {
    let content_type = content_type(headers);
    let upload = match content_type.essence.as_str() {
        "multipart/form-data" => form::parse(&content_type, &body, max_images)?,
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

/// Whether the body is JSON, for [`json`].
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).essence == "application/json"
}

fn content_type(headers: &HeaderMap) -> Parameterized {
    let value = headers.get(header::CONTENT_TYPE);
    Parameterized::parse(value.map_or(&[], |v| v.as_bytes()))
}
