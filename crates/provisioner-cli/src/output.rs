//! Data on stdout, progress on stderr. The only place that prints.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;

use crate::args::OutputFormat;
use crate::exit::Failure;
use crate::stderr;
use crate::style::{Paint, Role};

/// The result of a command: its fields are the JSON, and it can write itself as text.
pub(crate) trait Report: Serialize {
    /// Writes the text form.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Writes reports to stdout in the requested format.
pub(crate) struct Output {
    format: OutputFormat,
    /// Whether the reader has closed the pipe.
    closed: bool,
    out: Box<dyn Write + Send>,
}

/// `{"version": 1, …}`, with the version of the output's shape.
#[derive(Serialize)]
struct Versioned<'a, R> {
    version: u32,
    #[serde(flatten)]
    report: &'a R,
}

struct AsText<'a, R>(&'a R);

impl<R: Report> Display for AsText<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.text(f)
    }
}

impl Output {
    /// Writes to stdout.
    pub(crate) fn stdout(format: OutputFormat) -> Self {
        Self { format, out: Box::new(io::stdout()), closed: false }
    }

    /// Writes to `out`.
    #[cfg(test)]
    pub(crate) fn to(format: OutputFormat, out: impl Write + Send + 'static) -> Self {
        Self { format, out: Box::new(out), closed: false }
    }

    /// Prints a report in one write. A reader that has closed the pipe is not a failure.
    pub(crate) fn report<R: Report>(&mut self, report: &R) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Text => AsText(report).to_string(),
            OutputFormat::Json => encode(&Versioned { version: 1, report })?,
        };
        self.show(&whole_lines(text))
    }

    /// Prints a report of the library, which contains its own version.
    pub(crate) fn print<R: Serialize + Display>(&mut self, report: &R) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Text => report.to_string(),
            OutputFormat::Json => encode(report)?,
        };
        self.show(&whole_lines(text))
    }

    /// Prints text unchanged and outside any report, for people who watch. It adds no line break, which would
    /// move the cursor of a text that is redrawn in place.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), Failure> {
        // On a terminal both are one text, so the order counts.
        stderr::flush();
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            // The reader has seen enough (`| head`), which is not a failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::failed("failed to write to stdout").caused_by(&error)),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the reader has closed stdout, so that there is no use in continuing.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}

fn whole_lines(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn encode(report: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(report)
        .map_err(|error| Failure::failed("failed to encode the result").caused_by(&error))
}

/// Writes left-aligned columns without lines between them, as `kubectl` does, which is easy to read and to
/// process with `grep` and `awk`.
pub(crate) fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> fmt::Result {
    let mut lines = vec![header.map(str::to_owned)];
    lines.extend(rows);
    let length = |cell: &String| cell.chars().count();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = length(cell).max(*width);
        }
    }
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Lines on stderr for people who watch. They are never data, nor the only record of anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notices {
    paint: Paint,
    quiet: bool,
}

impl Notices {
    /// Creates notices with this paint; `quiet` ones print only warnings and failures.
    pub(crate) fn new(paint: Paint, quiet: bool) -> Self {
        Self { paint, quiet }
    }

    /// Prints what is going on.
    pub(crate) fn progress(self, text: impl Display) {
        if !self.quiet {
            to_stderr(text.to_string().trim_end());
        }
    }

    /// Shows the progress of a long task on one line, which disappears when the task is done. Prints only to
    /// a terminal, and returns whether there is one.
    pub(crate) fn meter(self, done: usize, of: usize, what: &str) -> bool {
        let watched = !self.quiet && stderr_is_terminal();
        if watched {
            const CLEAR_LINE: &str = "\r\u{1b}[K";
            let text = if done < of { format!("{done} of {of} {what}") } else { String::new() };
            stderr::write(format!("{CLEAR_LINE}{text}"));
        }
        watched
    }

    /// Prints a problem that does not stop the program.
    pub(crate) fn warning(self, message: impl Display, hint: &str) {
        to_stderr(&format!("{} {message}", self.paint.role(Role::Warning, "warning:")));
        if !hint.is_empty() {
            to_stderr(&format!("{} {hint}", self.paint.role(Role::Hint, "hint:")));
        }
    }

    /// Prints why the program ends.
    pub(crate) fn failure(self, failure: &Failure) {
        to_stderr(&failure.render(self.paint));
    }
}

fn to_stderr(line: &str) {
    stderr::write(format!("{line}\n"));
}

/// Whether stderr is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A stdout whose text can be read.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// Returns the text that was written.
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Prints a report in the given form and returns what was printed.
    pub(crate) fn printed<R: Report>(format: OutputFormat, report: &R) -> String {
        let captured = Captured::default();
        Output::to(format, captured.clone()).report(report).unwrap();
        captured.text()
    }

    #[derive(Serialize)]
    struct Pools {
        pools: u32,
    }

    impl Report for Pools {
        fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} pools", self.pools)
        }
    }

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_report_is_text_or_one_versioned_object() {
        assert_eq!(printed(OutputFormat::Text, &Pools { pools: 2 }), "2 pools\n");
        assert_eq!(
            printed(OutputFormat::Json, &Pools { pools: 2 }),
            "{\"version\":1,\"pools\":2}\n"
        );
    }

    #[test]
    fn a_watched_text_is_written_unchanged() {
        let captured = Captured::default();
        Output::to(OutputFormat::Json, captured.clone()).show("a\n\u{1b}[J").unwrap();
        assert_eq!(captured.text(), "a\n\u{1b}[J");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_but_a_full_disk_is() {
        let report = |kind| {
            let mut output = Output::to(OutputFormat::Text, Refusing(kind));
            (output.report(&Pools { pools: 2 }), output.is_closed())
        };
        assert_eq!(report(io::ErrorKind::BrokenPipe), (Ok(()), true));
        assert!(report(io::ErrorKind::StorageFull).0.is_err());
    }
}
