//! How much of a client's text goes into messages and the log.

use crate::visible::is_obeyed;

/// The first 80 characters, U+FFFD in place of those that a terminal would obey.
#[must_use]
pub fn cut(text: &str) -> String {
    let plain = |c: char| match is_obeyed(c) {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    };
    text.chars().take(80).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_short_and_controls_no_terminal() {
        assert_eq!(cut(&"ä".repeat(100)), "ä".repeat(80));
        let controls = "\x1b[31m\u{9b}0m\x07\x08\x7f\r\n\0\u{202e}é";
        assert_eq!(
            cut(controls),
            "\u{fffd}[31m\u{fffd}0m\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}é"
        );
    }
}
