//! Whom a proxy has a request from: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Asked by `client` where proxies are trusted. Reads from the right, where the nearest proxy has written: what stands
//! further left may be a client's invention.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The hops of both headers, the nearest first; none where the header is absent. What is no address is none.
pub(super) struct Hops {
    pub(super) forwarded: Option<Vec<Option<IpAddr>>>,
    pub(super) x_forwarded_for: Option<Vec<Option<IpAddr>>>,
}

impl Hops {
    pub(super) fn read(headers: &HeaderMap) -> Hops {
        Hops {
            forwarded: hops(headers, &header::FORWARDED, forwarded),
            x_forwarded_for: hops(headers, &X_FORWARDED_FOR, x_forwarded_for),
        }
    }
}

type ParseHops = fn(&[u8]) -> Vec<Option<IpAddr>>;

/// All lines of a header, the last one first.
fn hops(headers: &HeaderMap, name: &HeaderName, line: ParseHops) -> Option<Vec<Option<IpAddr>>> {
    let mut lines: Vec<&HeaderValue> = headers.get_all(name).iter().collect();
    lines.reverse();
    let read = |value: &HeaderValue| line(value.as_bytes());
    (!lines.is_empty()).then(|| lines.into_iter().flat_map(read).collect())
}

/// `client, proxy1, proxy2`, the last one first. Each hop is read by itself: what a client has written, be it no text at
/// all, must not hide what a proxy has written behind it.
fn x_forwarded_for(line: &[u8]) -> Vec<Option<IpAddr>> {
    let hop = |hop: &[u8]| address(std::str::from_utf8(hop).ok()?.trim());
    line.rsplit(|byte| *byte == b',').map(hop).collect()
}

/// `for=client;proto=http, for="[2001:db8::1]:4711"`, the last one first. A line that is not written so tells nothing:
/// a quote that a client has left open must not hide what a proxy has written behind it.
fn forwarded(line: &[u8]) -> Vec<Option<IpAddr>> {
    let text = std::str::from_utf8(line).ok();
    let Some(mut elements) = text.and_then(|text| split_unquoted(text, ',')) else {
        return vec![None];
    };
    elements.reverse();
    elements.into_iter().map(for_of).collect()
}

/// The address of an element's `for`; none if it has no, or two, or hides it.
fn for_of(element: &str) -> Option<IpAddr> {
    let pairs = split_unquoted(element, ';')?;
    let mut values = pairs.into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| value.trim())
    });
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    match value.strip_prefix('"') {
        Some(quoted) => address(quoted.strip_suffix('"')?),
        None => address(value),
    }
}

/// The parts between separators that stand outside of quotes; none if a quote is left open.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                parts.push(&text[start..i]);
                start = i + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!quoted).then_some(parts)
}

/// An address, with a port or without, IPv6 in brackets or without.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|a| a.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[(&'static str, &'static str)]) -> Hops {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Hops::read(&headers)
    }

    fn shown(hops: Option<Vec<Option<IpAddr>>>) -> String {
        let hop = |hop: Option<IpAddr>| hop.map_or("?".into(), |hop| hop.to_string());
        let hops = hops.map(|hops| hops.into_iter().map(hop).collect::<Vec<_>>());
        hops.map_or("none".into(), |hops| hops.join(" "))
    }

    #[test]
    fn what_is_no_text_hides_nothing_behind_it() {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_bytes(b"\xe9, 198.51.100.7").unwrap();
        headers.append(X_FORWARDED_FOR, line);
        let hops = Hops::read(&headers).x_forwarded_for;
        assert_eq!(shown(hops), "198.51.100.7 ?");
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (
                &["192.0.2.1, 198.51.100.7 ,10.0.0.1"],
                "10.0.0.1 198.51.100.7 192.0.2.1",
            ),
            (
                &["192.0.2.1", "10.0.0.1, 10.0.0.2"],
                "10.0.0.2 10.0.0.1 192.0.2.1",
            ),
            (
                &["192.0.2.1:4711, [2001:db8::1]:80, [2001:db8::2], 2001:db8::3"],
                "2001:db8::3 2001:db8::2 2001:db8::1 192.0.2.1",
            ),
            (
                &["192.0.2.1, unknown, , 10.0.0.1"],
                "10.0.0.1 ? ? 192.0.2.1",
            ),
            (&[""], "?"),
            (&[], "none"),
        ] {
            let lines: Vec<_> = lines.iter().map(|l| ("x-forwarded-for", *l)).collect();
            assert_eq!(shown(read(&lines).x_forwarded_for), expected, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_from_the_right_and_an_open_quote_tells_nothing() {
        for (lines, expected) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (
                &["For=192.0.2.1;proto=http;by=10.0.0.9, for=10.0.0.1"],
                "10.0.0.1 192.0.2.1",
            ),
            (
                &["for=\"[2001:db8::1]:4711\";host=\"a,b;for=9.9.9.9\""],
                "2001:db8::1",
            ),
            (
                &["for=\"192.0.2.1:80\"", "for=10.0.0.1"],
                "10.0.0.1 192.0.2.1",
            ),
            (&["for=_hidden, for=unknown, proto=http"], "? ? ?"),
            (&["for=1.1.1.1;for=2.2.2.2"], "?"),
            (&["for=\"1.1.1.1, for=192.0.2.1"], "?"),
            (&["for=\"1.1.1.1\\\", for=192.0.2.1"], "?"),
            (&["for=\"1.1.1.1", "for=192.0.2.1"], "192.0.2.1 ?"),
            (&[""], "?"),
            (&[], "none"),
        ] {
            let lines: Vec<_> = lines.iter().map(|l| ("forwarded", *l)).collect();
            assert_eq!(shown(read(&lines).forwarded), expected, "{lines:?}");
        }
    }
}
