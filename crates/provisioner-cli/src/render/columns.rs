//! A table that fits the width of the terminal: gaps shrink first, then headings, then names.

use std::fmt::Write as _;

use super::wrap::shorten;

/// The length, in characters, below which a name is never shortened.
const SHORTEST_NAME: usize = 8;

/// The full and the short heading of a column.
pub(super) type Heading = (&'static str, &'static str);

/// Lays out a column of names and `N` columns of values, with the headings first.
pub(super) fn lay_out<const N: usize>(
    name: &str,
    headings: [Heading; N],
    rows: &[(String, [String; N])],
    width: usize,
) -> Vec<String> {
    let longest = rows.iter().map(|(name, _)| length(name)).max().unwrap_or(0).max(length(name));
    let full = headings.map(|(full, _)| full);
    let short = headings.map(|(_, short)| short);
    let wide = |headings: &[&str; N], gap| -> usize {
        columns(headings, rows).iter().map(|column| column + gap).sum()
    };
    let choices = [(full, 2), (full, 1), (short, 1)];
    let fits = |(headings, gap): &([&str; N], usize)| longest + wide(headings, *gap) <= width;
    let (headings, gap) = choices.into_iter().find(fits).unwrap_or((short, 1));
    let left = width.saturating_sub(wide(&headings, gap)).max(SHORTEST_NAME).min(longest);
    let columns = columns(&headings, rows);
    let line = |name: &str, cells: [&str; N]| {
        let mut line = format!("{:<left$}", shorten(name, left));
        for (cell, column) in cells.into_iter().zip(columns) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:>width$}", width = column + gap);
        }
        line
    };
    let mut lines = vec![line(name, headings)];
    lines.extend(rows.iter().map(|(name, cells)| line(name, cells.each_ref().map(String::as_str))));
    lines
}

fn columns<const N: usize>(headings: &[&str; N], rows: &[(String, [String; N])]) -> [usize; N] {
    let mut columns = headings.map(length);
    for (_, cells) in rows {
        for (column, cell) in columns.iter_mut().zip(cells) {
            *column = length(cell).max(*column);
        }
    }
    columns
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: [Heading; 2] = [("STOPPING", "STOP"), ("COST", "COST")];

    fn laid_out(name: &str, width: usize) -> Vec<String> {
        let row = |name: &str, cells: [&str; 2]| (name.to_owned(), cells.map(str::to_owned));
        lay_out("NAME", HEADINGS, &[row(name, ["12", "1.5"]), row("b", ["0", "unknown"])], width)
    }

    #[test]
    fn gaps_shrink_first_then_headings_then_names() {
        assert_eq!(
            laid_out("a-name", 25),
            ["NAME    STOPPING     COST", "a-name        12      1.5", "b              0  unknown"]
        );
        assert_eq!(
            laid_out("a-name", 24),
            ["NAME   STOPPING    COST", "a-name       12     1.5", "b             0 unknown"]
        );
        assert_eq!(
            laid_out("a-name", 20),
            ["NAME   STOP    COST", "a-name   12     1.5", "b         0 unknown"]
        );
        assert_eq!(
            laid_out("a-long-name", 22),
            ["NAME      STOP    COST", "a-lo…name   12     1.5", "b            0 unknown"]
        );
    }
}
