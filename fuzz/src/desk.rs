//! What the parsers take of the desk: how much of a client's text is repeated.

#[path = "../../src/desk/text.rs"]
mod text;

pub use self::text::cut;
