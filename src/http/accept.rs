//! Which of two kinds of answer a request's `Accept` prefers: RFC 9110, section 12.5.1.
//!
//! Asked by `metrics` and `page`, which have a usual answer, and another one for who names it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// The header that tells caches that the answer depends on `Accept`.
pub(super) const VARIES: [(HeaderName, HeaderValue); 1] =
    [(header::VARY, HeaderValue::from_static("Accept"))];

/// Whether the media type `special` is named, with a weight above 0 and no lower one than that of `usual`. A range as
/// `*/*` names none, but has a weight for what is usual.
pub(super) fn prefers(headers: &HeaderMap, special: &str, usual: &str) -> bool {
    let weight = |name: &str| {
        let named = ranges(headers).filter(|range| range.name.eq_ignore_ascii_case(name));
        named.map(|range| range.weight).max()
    };
    let (kind, _) = usual.split_once('/').unwrap_or((usual, ""));
    // The narrowest range counts.
    let of_usual = weight(usual)
        .or_else(|| weight(&format!("{kind}/*")))
        .or_else(|| weight("*/*"));
    weight(special).is_some_and(|weight| weight > 0 && weight >= of_usual.unwrap_or(0))
}

/// A range of media types, without parameters other than its weight: which version of a type is answered is told in the
/// answer.
struct Range<'a> {
    name: &'a str,
    /// The range's weight `q`, in thousandths.
    weight: u16,
}

/// The weight of a range that has none, or none that can be read: the highest.
const HIGHEST: u16 = 1000;

fn ranges(headers: &HeaderMap) -> impl Iterator<Item = Range<'_>> {
    let values = headers.get_all(header::ACCEPT).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(Range::read)
}

impl Range<'_> {
    fn read(text: &str) -> Range<'_> {
        let mut parts = text.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            is_weight.then(|| thousandths(value.trim()))
        });
        Range {
            name,
            weight: weight.flatten().unwrap_or(HIGHEST),
        }
    }
}

/// A weight from 0 to 1, which has three digits behind the point; more of them say nothing.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = matches!(whole, "0" | "1") && part.bytes().all(|b| b.is_ascii_digit());
    let part = part.get(..3).unwrap_or(part);
    let thousandths: u16 = format!("{whole}{part:0<3}").parse().ok()?;
    is_number.then_some(thousandths.min(HIGHEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn browsers_get_the_page_and_programs_do_not() {
        let wanted =
            |accept: &[&'static str]| prefers(&headers(accept), "text/html", "application/json");
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for browser in [
            chromium,
            "application/xml, Text/HTML;q=0.5",
            "text/html;level=1",
            "text/html, */*",
            "application/json;q=0.9, text/html",
            "application/json;q=0, text/html;q=0.001",
            "text/html;q=0.5, application/*;q=0.4, */*",
        ] {
            assert!(wanted(&[browser]), "{browser}");
        }
        assert!(wanted(&["application/json", "text/html"]));
        for program in [
            "*/*",
            "application/json",
            "text/html;q=0",
            "text/html; q=0.0",
            "text/html; Q = 0.000",
            "text/html;level=1;q=0",
            "text/*",
            "",
            "application/json, text/html;q=0.9",
            "text/html;q=0.8, */*",
            "text/html;q=0.4, application/*;q=0.5, */*;q=0.1",
        ] {
            assert!(!wanted(&[program]), "{program}");
        }
        assert!(!wanted(&[]));
        assert!(!wanted(&["text/html;q=0.2", "application/json;q=0.3"]));
    }

    #[test]
    fn format_of_metrics_is_the_one_of_the_higher_weight() {
        let wanted = |accept: &'static str| {
            let headers = headers(&[accept]);
            prefers(&headers, "application/openmetrics-text", "text/plain")
        };
        for openmetrics in [
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text",
        ] {
            assert!(wanted(openmetrics), "{openmetrics}");
        }
        for text in [
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
            "text/plain;version=0.0.4, application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0, */*;q=0.1",
            "*/*",
        ] {
            assert!(!wanted(text), "{text}");
        }
    }

    #[test]
    fn weight_that_is_none_counts_as_not_written() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.05", Some(50)),
            ("0.3333333333", Some(333)),
            ("1.000", Some(1000)),
            ("1.9", Some(1000)),
            ("", None),
            (".5", None),
            ("2", None),
            ("-0.1", None),
            ("0.x", None),
            ("0.5é", None),
            ("nan", None),
            ("1e3", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
