//! What kinds of answer a request's `Accept` names.

use axum::http::{HeaderMap, header};

/// Whether it names this media type, and does not refuse it. A range as `*/*` names none.
pub(super) fn names(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    let mut ranges = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.any(|range| {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let refused = parameters
            .split(';')
            .filter_map(|p| p.trim().strip_prefix("q="))
            .any(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(media_type) && !refused
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn browsers_get_the_page_and_programs_do_not() {
        let wanted = |accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            names(&headers, "text/html")
        };
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for browser in [
            chromium,
            "application/xml, Text/HTML;q=0.5",
            "text/html;level=1",
        ] {
            assert!(wanted(&[browser]), "{browser}");
        }
        assert!(wanted(&["application/json", "text/html"]));
        for program in [
            "*/*",
            "application/json",
            "text/html;q=0",
            "text/html; q=0.0",
            "text/*",
            "",
        ] {
            assert!(!wanted(&[program]), "{program}");
        }
        assert!(!wanted(&[]));
    }
}
