//! Wraps prose to a width.

/// The number of lines after which a long word is cut, such as one of EC2's encoded messages, which nobody
/// reads.
const LINES_PER_WORD: usize = 2;

/// Breaks `text` into lines of at most `width` characters. All but the first begin with `indent`.
pub(super) fn wrap(text: &str, indent: &str, width: usize) -> Vec<String> {
    let inside = width.saturating_sub(indent.chars().count()).max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split_whitespace().flat_map(|word| pieces(word, inside)) {
        let length = seen(&word);
        let room = if lines.is_empty() { width } else { inside };
        if used > 0 && used + 1 + length > room {
            push(&mut lines, &mut line, indent);
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(&word);
        used += length;
    }
    if used > 0 {
        push(&mut lines, &mut line, indent);
    }
    lines
}

/// Counts the characters that take a place on a terminal, which the codes of colours do not.
fn seen(word: &str) -> usize {
    let codes: usize = word
        .split('\u{1b}')
        .skip(1)
        .filter_map(|part| Some(part.find('m')? + "\u{1b}m".len()))
        .sum();
    word.chars().count() - codes
}

fn push(lines: &mut Vec<String>, line: &mut String, indent: &str) {
    let line = std::mem::take(line);
    lines.push(if lines.is_empty() { line } else { format!("{indent}{line}") });
}

fn pieces(word: &str, width: usize) -> Vec<String> {
    let letters: Vec<_> = word.chars().collect();
    let mut pieces: Vec<String> =
        letters.chunks(width).take(LINES_PER_WORD).map(|piece| piece.iter().collect()).collect();
    if letters.len() > width * LINES_PER_WORD
        && let Some(last) = pieces.last_mut()
    {
        last.pop();
        last.push('…');
    }
    pieces
}

/// Shortens a name in its middle, because names mostly differ at their ends.
pub(super) fn shorten(name: &str, width: usize) -> String {
    let letters: Vec<_> = name.chars().collect();
    if letters.len() <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = kept.div_ceil(2);
    let tail = kept / 2;
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_they_may_be() {
        let lines = wrap("one two  three\nfour five", "  ", 9);
        assert_eq!(lines, ["one two", "  three", "  four", "  five"]);
        assert_eq!(wrap("one two three", "", 100), ["one two three"]);
        assert!(wrap(" ", "  ", 9).is_empty());
    }

    #[test]
    fn a_very_long_word_is_cut() {
        let lines = wrap(&format!("see {}", "x".repeat(1000)), "  ", 10);
        assert_eq!(lines, ["see", "  xxxxxxxx", "  xxxxxxx…"]);
        assert_eq!(wrap("123456789012", "  ", 10), ["12345678", "  9012"]);
    }

    #[test]
    fn names_keep_both_ends() {
        assert_eq!(shorten("gecko-t-linux-large", 19), "gecko-t-linux-large");
        assert_eq!(shorten("gecko-t-linux-large", 12), "gecko-…large");
        assert_eq!(shorten("gecko", 1), "…");
    }
}
