//! How much of a client's text goes into messages and the log.

/// The first 80 characters.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
