//! `traceparent`, by which callers and collectors know a trace (W3C Trace Context, level 1).
//!
//! Read and written by `http`.

use crate::hex;

/// The trace that a request belongs to, and the span in it that stands for the request: its caller's, or its own where
/// traces are exported. In the extensions of each request that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace_id: [u8; 16],
    pub(super) span_id: [u8; 8],
    /// Whether the caller's spans are recorded.
    pub(super) is_sampled: bool,
}

/// The bit of the flags that says whether spans are recorded; level 1 has no other.
const SAMPLED: u8 = 1;

/// Version, trace, span and flags, with what stands between them.
const LENGTH: usize = 55;

impl TraceContext {
    /// Reads a header's value. A version that is not known yet has the fields of version 00, and may have more behind
    /// them; none if the value is anything else, which is to be taken as if it were not there.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<TraceContext> {
        let text = std::str::from_utf8(header).ok()?;
        let (fields, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = fields.split('-');
        let mut next = || fields.next();
        let [version] = digits(next()?)?;
        let trace_id = digits(next()?).filter(|id| *id != [0; 16])?;
        let span_id = digits(next()?).filter(|id| *id != [0; 8])?;
        let [flags] = digits(next()?)?;
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        (is_whole && next().is_none()).then_some(TraceContext {
            trace_id,
            span_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The trace's id: 32 digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(&self.trace_id)
    }

    /// As a header's value, of version 00.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        let (trace, span) = (self.trace_id(), hex::encode(&self.span_id));
        format!("00-{trace}-{span}-{flags:02x}")
    }
}

/// The bytes of a field, whose digits are in lower case.
fn digits<const N: usize>(field: &str) -> Option<[u8; N]> {
    let is_lower = !field.bytes().any(|b| b.is_ascii_uppercase());
    is_lower.then(|| hex::decode(field)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_is_read_is_written() {
        for flags in ["00", "01"] {
            let header = format!("00-{TRACE}-{SPAN}-{flags}");
            let context = TraceContext::parse(header.as_bytes()).expect(&header);
            assert_eq!(context.trace_id(), TRACE);
            assert_eq!(context.traceparent(), header);
        }
    }

    #[test]
    fn versions_to_come_may_have_more_and_flags_unknown_bits() {
        for (header, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("00-{TRACE}-{SPAN}-fe"), false),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-brings"), true),
            (format!("fe-{TRACE}-{SPAN}-00-"), false),
        ] {
            let context = TraceContext::parse(header.as_bytes()).expect(&header);
            assert_eq!(context.trace_id(), TRACE, "{header}");
            assert_eq!(context.is_sampled, is_sampled, "{header}");
        }
    }

    #[test]
    fn anything_else_is_as_if_it_were_not_there() {
        let zeros = "0".repeat(32);
        for header in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-010"),
            format!("01-{TRACE}-{SPAN}-01.more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0G-{TRACE}-{SPAN}-01"),
            format!("CC-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{TRACE}{SPAN}--01"),
            format!("00-{SPAN}-{TRACE}-01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("00-{}é-{SPAN}-01", &TRACE[..30]),
            format!("00-{TRACE}-00f067aa0ba902é-01"),
        ] {
            assert_eq!(TraceContext::parse(header.as_bytes()), None, "{header}");
        }
        assert_eq!(TraceContext::parse(&[0xff; 55]), None);
    }
}
