//! Images in the parts of a multipart/form-data body.
//!
//! Source: RFC 2046, section 5.1 (delimiters), RFC 7578 (forms), RFC 5322, section 2.2.3 (folded lines). The body is in
//! memory, so a part is a slice of it.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use memchr::memmem;

use super::parameters::Parameterized;
use super::{Upload, UploadError};
use crate::desk::cut;
use crate::http::query::{OF_ALL, OF_WISHES};
use crate::preprocess::looks_like;

/// Form fields that hold an image; others but the query's parameters are ignored, as browsers and libraries send some of
/// their own.
const IMAGE_FIELDS: [&str; 6] = ["file", "files", "files[]", "image", "images", "data"];

/// Fields besides the images that a form may have.
const MAX_OTHER_FIELDS: usize = 32;

/// Most characters of a boundary: RFC 2046, section 5.1.1; longer ones only make the search slow.
const MAX_BOUNDARY: usize = 70;

/// Most bytes of a part's headers.
const MAX_HEADERS: usize = 8 << 10;

/// A field of the form.
#[derive(Debug, PartialEq)]
struct Part {
    name: String,
    has_file_name: bool,
    bytes: Bytes,
}

/// The images of a form: all fields that may hold one, but for those in which nothing was chosen and for text beside an
/// image.
///
/// # Errors
/// [`UploadError::Multipart`], [`UploadError::TooManyFields`].
pub(super) fn parse(
    content_type: &Parameterized,
    body: &Bytes,
    max_images: usize,
) -> Result<Upload, UploadError> {
    let wrong = |reason: String| Err(UploadError::Multipart(reason));
    let boundary = match content_type.parameter("boundary") {
        None | Some([]) => {
            return wrong(
                "the content-type has no boundary; leave that header to the library that writes the body".into(),
            );
        }
        Some(long) if long.len() > MAX_BOUNDARY => {
            return wrong(format!(
                "the boundary has {} characters, allowed are {MAX_BOUNDARY}",
                long.len()
            ));
        }
        Some(boundary) => boundary,
    };
    let (mut images, mut others) = (Vec::new(), Vec::new());
    let (mut empty, mut count) = (false, 0);
    for part in Parts::new(body, boundary)? {
        let part = part?;
        if !IMAGE_FIELDS.contains(&part.name.as_str()) {
            if is_parameter(&part.name) {
                return wrong(format!(
                    "the field \"{0}\" means nothing in a form: give it in the URL, as ?{0}=…",
                    part.name
                ));
            }
            others.push(part.name);
            if others.len() > MAX_OTHER_FIELDS {
                return wrong(format!(
                    "it has more than {MAX_OTHER_FIELDS} fields that hold no image"
                ));
            }
            continue;
        }
        // Whatever it holds, a body of the smallest parts must not take long.
        count += 1;
        if count > max_images + MAX_OTHER_FIELDS {
            return Err(UploadError::TooManyFields {
                read: max_images + MAX_OTHER_FIELDS,
                max: max_images,
            });
        }
        if part.bytes.is_empty() && !part.has_file_name {
            empty = true;
        } else {
            images.push(part);
        }
    }
    // Alone it stays, so that the answer tells what it is.
    if !images.iter().all(is_caption) {
        images.retain(|part| !is_caption(part));
    }
    if images.is_empty() {
        let found = match (empty, others.is_empty()) {
            (true, _) => "no file was chosen".into(),
            (false, true) => "there is none".into(),
            (false, false) => format!("there are: {}", quote(&others)),
        };
        return wrong(format!(
            "no field named {} holds an image; {found}",
            IMAGE_FIELDS.join(", ")
        ));
    }
    let is_list = images.len() > 1;
    let images = images.into_iter().map(|part| Ok(part.bytes)).collect();
    Ok(Upload { images, is_list })
}

/// Whether a field has a name of the query's: whoever sends it expects it to be obeyed.
fn is_parameter(name: &str) -> bool {
    OF_ALL.iter().chain(&OF_WISHES).any(|known| *known == name)
}

/// Whether a field that has an image's name holds a caption: text, and none that an image has become on the way.
fn is_caption(part: &Part) -> bool {
    let is_text = std::str::from_utf8(&part.bytes).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t'))
    });
    is_text && !part.has_file_name && looks_like(&part.bytes).is_none()
}

/// Names for a message, at most five, of at most 20 characters each.
fn quote(names: &[String]) -> String {
    let quoted = |name: &String| {
        let name = cut(name);
        match name.char_indices().nth(20) {
            None => format!("\"{name}\""),
            Some((end, _)) => format!("\"{}…\"", &name[..end]),
        }
    };
    names
        .iter()
        .take(5)
        .map(quoted)
        .collect::<Vec<_>>()
        .join(", ")
}

/// A client's bytes for a message.
fn text(bytes: &[u8]) -> String {
    cut(&String::from_utf8_lossy(bytes))
}

/// The parts of a body one by one; the last thing may be an error.
struct Parts<'a> {
    body: &'a Bytes,
    /// What ends a line, CRLF or, from some programs, LF.
    line_end: &'static [u8],
    /// Ends a part: the end of a line, two dashes and the boundary.
    delimiter: Vec<u8>,
    /// The position behind the last delimiter; none when the closing one was there.
    at: Option<usize>,
    /// Parts that have begun.
    begun: usize,
}

impl<'a> Parts<'a> {
    /// Looks for the first delimiter; what stands before it is no part.
    fn new(body: &'a Bytes, boundary: &[u8]) -> Result<Parts<'a>, UploadError> {
        let dashes = [b"--", boundary].concat();
        let starts_line = |at: &usize| *at == 0 || body[*at - 1] == b'\n';
        let Some(first) = memmem::find_iter(body, &dashes).find(starts_line) else {
            return Err(without_boundary(body, &dashes));
        };
        let behind = first + dashes.len();
        let line = memchr::memchr(b'\n', &body[behind..]).map_or(body.len(), |end| behind + end);
        let line_end: &[u8] = match body[behind..line].last() {
            Some(b'\r') | None if line == body.len() || body[line - 1] == b'\r' => b"\r\n",
            _ => b"\n",
        };
        let mut parts = Parts {
            body,
            line_end,
            delimiter: [line_end, &dashes].concat(),
            at: None,
            begun: 0,
        };
        parts.pass(behind)?;
        Ok(parts)
    }

    /// Goes on behind a delimiter: to the next line, or to the end if it was the closing one.
    fn pass(&mut self, behind: usize) -> Result<(), UploadError> {
        let rest = &self.body[behind..];
        if rest.starts_with(b"--") {
            self.at = None;
            return Ok(());
        }
        let padding = rest
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        if !rest[padding..].starts_with(self.line_end) {
            let line = rest.split(|b| matches!(b, b'\r' | b'\n')).next();
            return Err(UploadError::Multipart(format!(
                "behind the boundary {} part {} stands \"{}\", where the line should end, or \"--\" end the form",
                if self.begun == 0 { "of" } else { "that ends" },
                self.begun.max(1),
                text(line.unwrap_or_default())
            )));
        }
        self.at = Some(behind + padding + self.line_end.len());
        Ok(())
    }

    fn part(&mut self, start: usize) -> Result<Part, UploadError> {
        self.begun += 1;
        let number = self.begun;
        let wrong = |reason: String| UploadError::Multipart(reason);
        let empty_line = [self.line_end, self.line_end].concat();
        let rest = &self.body[start..];
        // Without headers the empty line is the first one.
        let (headers, body) = match rest.starts_with(self.line_end) {
            true => (&rest[..0], self.line_end.len()),
            false => {
                let within = &rest[..rest.len().min(MAX_HEADERS)];
                let end = memmem::find(within, &empty_line).ok_or_else(|| {
                    wrong(match within.len() < MAX_HEADERS {
                        true => format!("it ends within the headers of part {number}"),
                        false => format!(
                            "the headers of part {number} have more than {MAX_HEADERS} bytes, or no empty line follows them"
                        ),
                    })
                })?;
                (&rest[..end], end + empty_line.len())
            }
        };
        // The end of the line before the delimiter belongs to it, also where a part is empty.
        let from = start + body;
        let search = from - self.line_end.len();
        let disposition = Parameterized::parse(&disposition(headers));
        let name = disposition.parameter("name").unwrap_or(&[]);
        let end = memmem::find(&self.body[search..], &self.delimiter).ok_or_else(|| {
            let dashes = text(&self.delimiter[self.line_end.len()..]);
            wrong(format!(
                "part {number}, \"{}\", has no end: no line \"{dashes}--\" follows it, so the body was cut on its way",
                text(name)
            ))
        })? + search;
        let part = Part {
            name: String::from_utf8_lossy(name).into_owned(),
            has_file_name: disposition
                .parameter("filename")
                .is_some_and(|f| !f.is_empty()),
            bytes: self.body.slice(from..end.max(from)),
        };
        self.pass(end + self.delimiter.len())?;
        Ok(part)
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Part, UploadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at.take()?;
        Some(self.part(start))
    }
}

/// No line begins with the boundary; says with which one the body begins, if it looks like one.
fn without_boundary(body: &[u8], dashes: &[u8]) -> UploadError {
    let line = body.split(|b| matches!(b, b'\r' | b'\n')).next();
    let other = line.filter(|line| line.starts_with(b"--"));
    let other = other.map(|line| format!(", it begins with \"{}\"", text(line)));
    UploadError::Multipart(format!(
        "no line of it begins with \"{}\", the boundary that the content-type names{}",
        text(dashes),
        other.unwrap_or_default()
    ))
}

/// The value of `Content-Disposition`, its lines joined; empty if there is none.
fn disposition(headers: &[u8]) -> Vec<u8> {
    let mut value: Option<Vec<u8>> = None;
    for line in headers.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (&mut value, line.first()) {
            (Some(value), Some(b' ' | b'\t')) => value.extend_from_slice(line),
            (Some(_), _) => break,
            (None, _) => {
                let colon = line.iter().position(|b| *b == b':').unwrap_or(0);
                let (name, rest) = line.split_at(colon);
                if name
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"content-disposition")
                {
                    value = Some(rest[1..].to_vec());
                }
            }
        }
    }
    value.unwrap_or_default()
}
