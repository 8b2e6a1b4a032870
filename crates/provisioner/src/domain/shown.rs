//! Text from elsewhere, made safe for a person's terminal, log and list.
//!
//! A worker type in a task, a tag, an error message of EC2 or another server's document may hold anything:
//! escapes that write over a terminal, line breaks that forge a line of a log or of the list that
//! `cleanup-aws` asks about, characters that turn the direction of writing. JSON output does not need this,
//! because JSON has escapes of its own.

use std::fmt::{self, Display, Formatter, Write};

/// Returns `text` with each character escaped that is not simply seen: control characters, line separators,
/// and those that change the direction of writing or are invisible.
///
/// Everything else stays as it is, the backslash included, so that paths and messages remain readable.
pub fn shown<T: Display>(text: T) -> Shown<T> {
    Shown(text)
}

/// See [`shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<T>(T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Escapes while it writes, so that nothing is allocated.
struct Escaping<'a, 'f>(&'a mut Formatter<'f>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, character)) = rest.char_indices().find(|(_, c)| is_unseen(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", character.escape_default())?;
            rest = &rest[at + character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Returns whether a character would act on the surrounding text instead of being seen.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            // Line and paragraph separators.
            '\u{2028}' | '\u{2029}'
            // Marks, embeddings, overrides and isolates of the bidirectional algorithm (UAX #9).
            | '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            // Without width, deprecated controls, and tags: two texts that look the same must be the same.
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the beginning of `text`, of at most `most` characters, with `…` for what is left out.
pub(crate) fn beginning(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_or_a_line_is_escaped_and_the_rest_is_not() {
        for (text, seen) in [
            ("linux", "linux"),
            ("größe 東京 🦀 C:\\x \"a\" it's", "größe 東京 🦀 C:\\x \"a\" it's"),
            ("\u{1b}[2J\u{1b}]0;x\u{7}", "\\u{1b}[2J\\u{1b}]0;x\\u{7}"),
            ("a\r\nWARN b\tc", "a\\r\\nWARN b\\tc"),
            ("\u{85}\u{9b}31m\u{7f}", "\\u{85}\\u{9b}31m\\u{7f}"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("\u{202e}xunil\u{2066}\u{200f}", "\\u{202e}xunil\\u{2066}\\u{200f}"),
            ("li\u{200b}nux\u{feff}", "li\\u{200b}nux\\u{feff}"),
        ] {
            assert_eq!(shown(text).to_string(), seen);
        }
    }

    #[test]
    fn a_beginning_ends_between_characters() {
        assert_eq!(beginning("äöü", 3), "äöü");
        assert_eq!(beginning("äöü", 2), "äö…");
    }
}
