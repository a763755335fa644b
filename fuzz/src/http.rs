//! What must hold for any content type and body: the parser of uploads, as the service has it.
//!
//! Called by the target `upload`. An input's first line is the content type. The images, or the refusal, must come
//! within the memory that the body allows, and say nothing that is not ours.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use libfuzzer_sys::Corpus;

use crate::memory::peak_of;

#[path = "../../src/http/query.rs"]
mod query;
#[path = "../../src/http/received.rs"]
mod received;
#[path = "../../src/http/upload/mod.rs"]
#[allow(
    dead_code,
    reason = "the service takes large JSON bodies apart by themselves"
)]
pub mod upload;

pub use self::received::ReceivedBytes;

/// The room's own, which the connections name.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub address: SocketAddr,
    pub scheme: &'static str,
}

/// Most images of a request.
const MAX_IMAGES: usize = 4;

/// What parsing may hold besides copies of the body: boundaries, names of fields, an error's words.
const FIXED_BYTES: u64 = 64 << 10;

/// Longest refusal, in bytes: a sentence, and what it quotes of the body.
const LONGEST_REFUSAL: usize = 600;

/// Takes a body apart and checks what must hold.
///
/// # Panics
/// If anything does not hold.
pub fn check(input: &[u8]) -> Corpus {
    let end = input.iter().position(|b| *b == b'\n').unwrap_or(0);
    let Ok(content_type) = HeaderValue::from_bytes(&input[..end]) else {
        return Corpus::Reject;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type);
    let body = Bytes::copy_from_slice(input.get(end + 1..).unwrap_or_default());
    let (result, peak) = peak_of(|| upload::parse(&headers, body.clone(), MAX_IMAGES));
    // A list of empty strings has 24 bytes for each 3 of the body; vectors double.
    let allowed = FIXED_BYTES + 32 * body.len() as u64;
    assert!(peak <= allowed, "{peak} bytes held, allowed are {allowed}");
    match result {
        Ok(upload) => {
            let count = upload.images.len();
            assert!((1..=MAX_IMAGES).contains(&count), "{count} images");
            assert!(upload.is_list || count == 1, "{count} images are no list");
            let sizes = upload.images.iter().flatten().map(Bytes::len);
            assert!(
                sizes.sum::<usize>() <= body.len(),
                "images larger than the body"
            );
            upload
                .images
                .iter()
                .filter_map(|i| i.as_ref().err())
                .for_each(check_refusal);
        }
        Err(e) => check_refusal(&e),
    }
    Corpus::Keep
}

fn check_refusal(error: &upload::UploadError) {
    let text = error.to_string();
    assert!(text.len() <= LONGEST_REFUSAL, "{text}");
    for word in ["memchr", "serde", "JsonBody", "struct ", "panicked"] {
        // What the refusal quotes is the client's own.
        let quotes = [
            "there are: ",
            "no field \"",
            "stands \"",
            "begins with \"",
            "has no end",
        ];
        let quoted = quotes.iter().any(|phrase| text.contains(phrase));
        assert!(quoted || !text.contains(word), "{text}");
    }
}
