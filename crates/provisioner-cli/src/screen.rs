//! A text on the terminal that is redrawn in place.

use std::io::{self, IsTerminal as _};

use rustix::termios::tcgetwinsize;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// Returns the size of the terminal; `None` if stdout is not a terminal.
    pub(crate) fn of_stdout() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let size = tcgetwinsize(io::stdout()).ok();
        let known = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        // The size of the VT100, which every terminal has at least.
        Some(known.map_or(Self { columns: 80, rows: 24 }, |size| Self {
            columns: usize::from(size.ws_col),
            rows: usize::from(size.ws_row),
        }))
    }
}

/// The number of lines that are on the screen now.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: usize,
}

impl Screen {
    /// Returns what to write so that `text` replaces the last text. No line of it may be wider than the
    /// terminal.
    pub(crate) fn replace(&mut self, text: &str) -> String {
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}F"),
        };
        self.lines = text.lines().count();
        let mut all = up;
        for line in text.lines() {
            all.push_str(line);
            // Clears the rest of the old line.
            all.push_str("\x1b[K\n");
        }
        // Clears the old lines below.
        all.push_str("\x1b[J");
        all
    }
}

/// Joins lines into at most `rows` rows, including that of the cursor, because a text that scrolls cannot be
/// redrawn in place.
pub(crate) fn fit(mut lines: Vec<String>, rows: usize) -> String {
    let room = rows.saturating_sub(1);
    if lines.len() > room {
        let shown = room.saturating_sub(1);
        let rest = format!("… {} more lines", lines.len() - shown);
        lines.truncate(shown);
        lines.push(rest);
    }
    lines.join("\n")
}

/// Cuts `text` to at most `columns` characters, and marks a cut with an ellipsis.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_replaces_the_last_one() {
        let mut screen = Screen::default();
        assert_eq!(screen.replace("a\nb"), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(screen.replace("c"), "\x1b[2Fc\x1b[K\n\x1b[J");
        assert_eq!(screen.replace("d"), "\x1b[1Fd\x1b[K\n\x1b[J");
    }

    #[test]
    fn lines_that_do_not_fit_are_counted() {
        let lines = || ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!(fit(lines(), 4), "a\nb\nc");
        assert_eq!(fit(lines(), 3), "a\n… 2 more lines");
        assert_eq!(fit(lines(), 0), "… 3 more lines");
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("äöüß", 3), "äö…");
    }
}
