//! tract's errors in one line each, with the node that they are about.
//!
//! Called by `import` and what it calls.

use tract_onnx::prelude::*;

use super::LoadError;

/// tract's error chain as one line; the node it names, if any, is picked out.
pub(super) fn graph_error(error: &TractError) -> LoadError {
    let chain: Vec<String> = error.chain().map(|c| one_line(&c.to_string())).collect();
    let reason = chain.last().cloned().unwrap_or_default();
    match chain.iter().rev().find_map(|text| quoted_node(text)) {
        Some(node) => LoadError::BadNode { node, reason },
        None => LoadError::BadGraph(chain.join(": ")),
    }
}

/// The name in tract's `node #12 "conv1" Conv`.
fn quoted_node(text: &str) -> Option<String> {
    let (_, after) = text.split_once("ode #")?;
    let (_, name) = after.split_once('"')?;
    Some(name.split_once('"')?.0.to_owned())
}

/// The first 300 characters, without line breaks.
pub(super) fn one_line(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() > 300 {
        text.chars().take(300).chain("…".chars()).collect()
    } else {
        text
    }
}
