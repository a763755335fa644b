//! The header of a `.npy` file: a Python dictionary of three keys, read without Python.
//!
//! Called by `npy`, which knows what comes before and after it.

/// What the Python dictionary at the start of a file says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// The type of the values, as numpy writes it: `<f4`.
    pub(super) descr: String,
    /// Whether the first axis is the fastest.
    pub(super) fortran_order: bool,
    /// The extent of each axis.
    pub(super) shape: Vec<usize>,
}

/// The dictionary of an array in C order.
pub(super) fn text(descr: &str, shape: &[usize]) -> String {
    let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if axes.len() == 1 { "," } else { "" };
    let shape = axes.join(", ");
    format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}")
}

impl Header {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`, its keys in any order.
    ///
    /// # Errors
    /// What is missing, and the text.
    pub(super) fn parse(text: &str) -> Result<Header, String> {
        let damaged = |what: &str| format!("{what} in {:?}", text.trim());
        let (mut descr, mut shape, mut fortran) = (None, None, None);
        let mut rest = text
            .trim()
            .strip_prefix('{')
            .and_then(|t| t.strip_suffix('}'))
            .ok_or_else(|| damaged("no dictionary"))?
            .trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest).ok_or_else(|| damaged("no key"))?;
            let value = after
                .trim_start()
                .strip_prefix(':')
                .ok_or_else(|| damaged("no colon"))?
                .trim_start();
            rest = match key {
                "descr" if value.starts_with('[') => {
                    return Err(damaged("a record instead of a type"));
                }
                "descr" => {
                    let (text, rest) = quoted(value).ok_or_else(|| damaged("no type"))?;
                    descr = Some(text.to_owned());
                    rest
                }
                "fortran_order" => {
                    let yes = value.strip_prefix("True").map(|rest| (true, rest));
                    let no = || value.strip_prefix("False").map(|rest| (false, rest));
                    let (is, rest) = yes.or_else(no).ok_or_else(|| damaged("no order"))?;
                    fortran = Some(is);
                    rest
                }
                "shape" => {
                    let (axes, rest) = value
                        .strip_prefix('(')
                        .and_then(|v| v.split_once(')'))
                        .ok_or_else(|| damaged("no shape"))?;
                    shape = Some(axes_of(axes).ok_or_else(|| damaged("no shape"))?);
                    rest
                }
                _ => return Err(damaged("an unknown key")),
            };
            let trimmed = rest.trim_start();
            rest = match trimmed.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if trimmed.is_empty() => trimmed,
                None => return Err(damaged("no comma")),
            };
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header {
                descr,
                fortran_order,
                shape,
            }),
            _ => Err(damaged("not all of descr, fortran_order and shape")),
        }
    }
}

/// The text in quotes that `text` starts with, and what follows them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The numbers of a Python tuple, `2, 3` or `2,`.
fn axes_of(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    let text = text.strip_suffix(',').unwrap_or(text);
    text.split(',').map(|n| n.trim().parse().ok()).collect()
}
