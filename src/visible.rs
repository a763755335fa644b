//! Text from outside as people may be shown it: a terminal that prints it obeys none of it.
//!
//! Used for whatever a command writes for people, because file names, labels and names in models are anybody's.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every character that a terminal obeys as `\u001b`: control characters, line ends among them, and what
/// turns the direction of writing. In JSON's strings that means the character itself, so that JSON stays what it is.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    shown(text, is_obeyed)
}

/// [`visible`] for text of several lines, whose ends stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    shown(text, |c| c != '\n' && is_obeyed(c))
}

fn shown(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 5);
    for c in text.chars() {
        if is_hidden(c) {
            // Writing into a string does not fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, separators of lines, and the controls of Unicode's bidirectional algorithm (UAX #9).
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_all_else_stays() {
        for (text, shown) in [
            ("a\u{1b}[31m", "a\\u001b[31m"),
            ("\u{9b}31m", "\\u009b31m"),
            ("a\r\nb\tc\u{7f}", "a\\u000d\\u000ab\\u0009c\\u007f"),
            ("gpj.\u{202e}exe", "gpj.\\u202eexe"),
            ("Öl 猫 👩‍🔬 \\", "Öl 猫 👩‍🔬 \\"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert_eq!(visible_lines("a\n\u{1b}c\n"), "a\n\\u001bc\n");
    }

    #[test]
    fn json_means_the_same_as_before() {
        let text = "\u{1b}[0m\u{9b}\u{7f}\u{2028}\u{202e}\u{80}é\"\\\n";
        let json = serde_json::to_string(text).expect("text is JSON");
        let read: String = serde_json::from_str(&visible(&json)).expect("it still is");
        assert_eq!(read, text);
    }

    #[test]
    fn no_character_is_left_that_is_obeyed() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!visible(&all).chars().any(is_obeyed));
    }
}
