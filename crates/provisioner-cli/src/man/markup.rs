//! Converts text with words in backticks to roff.

use clap_mangen::roff::{Inline, Roff, bold, roman};

/// Sets the words in backticks in bold.
pub(super) fn inline(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(n, part)| if n % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

/// Adds a term and its description.
pub(super) fn entry(roff: &mut Roff, term: &str, text: &str) {
    roff.control("TP", []);
    roff.text([bold(term)]);
    roff.text(inline(text));
}

/// Replaces the backticks in a page that `clap_mangen` generated from help texts. They come in pairs on one
/// line.
pub(super) fn without_backticks(roff: &str) -> String {
    let line = |line: &str| {
        let mut parts = line.split('`');
        let first = parts.next().unwrap_or_default().to_owned();
        let fonts = ["\\fB", "\\fR"].iter().cycle();
        parts.zip(fonts).fold(first, |text, (part, font)| text + font + part) + "\n"
    };
    roff.lines().map(line).collect()
}

/// Escapes characters that are not ASCII, which troff would read as bytes.
pub(super) fn ascii(roff: &str) -> String {
    let spell =
        |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    roff.chars().map(spell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_bold() {
        assert_eq!(without_backticks("a `b` c\n`d`\n"), "a \\fBb\\fR c\n\\fBd\\fR\n");
        assert_eq!(inline("a `b`"), [roman("a "), bold("b")]);
    }

    #[test]
    fn other_letters_are_spelled() {
        assert_eq!(ascii("a…é"), "a\\[u2026]\\[u00E9]");
    }
}
