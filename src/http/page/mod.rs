//! The pages at `/` and `/docs` for browsers, and the files that they are made of. They are in the binary as they lie
//! here, and load nothing from elsewhere.
//!
//! Called by `routes`. Programs get the index as JSON, see `health`.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::accept;
use super::error::ApiError;
use crate::desk::cut;

/// What a page may load: its own files, and the photos that a person has chosen. It sends no form, and no other page may
/// show it in a frame.
const POLICY: &str = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// The path of the pages' files.
pub(super) const FILE_PATH: &str = "/page/{file}";

/// Name, media type and bytes of each file.
const FILES: [(&str, &str, &[u8]); 15] = {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const JPEG: &str = "image/jpeg";
    [
        ("api.js", SCRIPT, include_bytes!("api.js")),
        ("app.js", SCRIPT, include_bytes!("app.js")),
        ("card.js", SCRIPT, include_bytes!("card.js")),
        ("docs.js", SCRIPT, include_bytes!("docs.js")),
        ("live.js", SCRIPT, include_bytes!("live.js")),
        ("model.js", SCRIPT, include_bytes!("model.js")),
        ("queue.js", SCRIPT, include_bytes!("queue.js")),
        ("start.js", SCRIPT, include_bytes!("start.js")),
        ("text.js", SCRIPT, include_bytes!("text.js")),
        ("why.js", SCRIPT, include_bytes!("why.js")),
        (
            "style.css",
            "text/css; charset=utf-8",
            include_bytes!("style.css"),
        ),
        ("icon.svg", "image/svg+xml", include_bytes!("icon.svg")),
        ("espresso.jpg", JPEG, include_bytes!("espresso.jpg")),
        ("orange.jpg", JPEG, include_bytes!("orange.jpg")),
        ("trolleybus.jpg", JPEG, include_bytes!("trolleybus.jpg")),
    ]
};

/// How a page names its style sheet.
const STYLE_LINK: &str = "<link rel=\"stylesheet\" href=\"page/style.css\">";

const STYLE: &str = include_str!("style.css");

/// The page with its style sheet in it, so that nothing has to be fetched before it can be painted.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let style = format!("<style>{STYLE}</style>");
    include_str!("index.html").replace(STYLE_LINK, &style)
});

/// The policy of a page with that style sheet in it, which is known by its digest.
static PAGE_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("{POLICY}; style-src 'self' 'sha256-{digest}'");
    HeaderValue::try_from(policy).expect("base64 has no control characters")
});

/// The page at `/`.
pub(super) fn page() -> Response {
    html(&PAGE, PAGE_POLICY.clone())
}

/// The page that shows what `/openapi.json` tells.
pub(super) async fn docs() -> Response {
    html(include_str!("docs.html"), HeaderValue::from_static(POLICY))
}

fn html(text: &'static str, policy: HeaderValue) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, NO_REFERRER),
    ];
    (headers, text).into_response()
}

/// One of the pages' files, by its name.
pub(super) async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|_| ApiError::BadUrl)?;
    let file = FILES.iter().find(|(of, ..)| *of == name);
    let (_, media_type, bytes) = file.ok_or_else(|| ApiError::NoSuchRoute {
        path: cut(&format!("/page/{name}")),
    })?;
    let headers: [(HeaderName, &'static str); 1] = [(header::CONTENT_TYPE, media_type)];
    Ok((headers, *bytes).into_response())
}

/// Whether what asks is a browser: programs that say what they take do not name HTML, or want JSON more.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    accept::prefers(headers, "text/html", "application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visible::is_obeyed;

    #[test]
    fn page_shows_the_characters_that_no_terminal_may_obey() {
        let script = include_str!("text.js");
        let (_, class) = script
            .split_once("/[\\p{Cc}")
            .expect("a class of characters");
        let (class, _) = class.split_once("]/gu").expect("its end");
        let mut told = Vec::new();
        for range in class
            .replace("-\\u", "-")
            .split("\\u")
            .filter(|r| !r.is_empty())
        {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let code = |hex| u32::from_str_radix(hex, 16).expect("a code point");
            told.extend(code(first)..=code(last));
        }
        let beside_controls = |c: &char| is_obeyed(*c) && !c.is_control();
        let all = (0..=0x10_ffff).filter_map(char::from_u32);
        let expected: Vec<u32> = all.filter(beside_controls).map(u32::from).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn page_is_painted_without_another_request() {
        assert!(PAGE.contains(&format!("<style>{STYLE}</style>")));
        assert!(!PAGE.contains("stylesheet"), "{}", *PAGE);
        // A browser takes what stands before the first end tag for the style sheet.
        assert!(!STYLE.contains("</"));
        let script = "<script type=\"module\" src=\"page/start.js\">";
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert!(PAGE.contains(script), "{}", *PAGE);
        assert!(!include_str!("start.js").contains("import {"));
    }

    #[test]
    fn page_and_scripts_load_nothing_from_elsewhere_and_are_small() {
        let html = concat!(include_str!("index.html"), include_str!("docs.html"));
        // Links that a person may follow are no loads.
        let loads = html.lines().filter(|line| !line.contains("<a href"));
        assert_eq!(
            loads.filter(|line| line.contains("//")).collect::<Vec<_>>(),
            [""; 0]
        );
        let mut size = html.len();
        for (name, media_type, bytes) in FILES {
            if media_type == "image/jpeg" {
                continue;
            }
            size += bytes.len();
            let text = std::str::from_utf8(bytes).expect("text");
            assert!(name == "icon.svg" || !text.contains("http"), "{name}");
            for dangerous in ["innerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
                assert!(!text.contains(dangerous), "{dangerous} in {name}");
            }
            let is_named = |text: &str| text.contains(name);
            let named = FILES
                .iter()
                .any(|(_, _, bytes)| is_named(&String::from_utf8_lossy(bytes)));
            assert!(named || is_named(html), "nothing loads {name}");
        }
        // The budget is 60 KB compressed.
        assert!(size < 60_000, "{size}");
    }
}
