//! Data on stdout, progress on stderr. The only place that prints.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::OutputFormat;
use crate::exit::Failure;
use crate::style::{Paint, Role};

/// What a command found: its fields are the JSON, and it knows how to say itself in text.
pub(crate) trait Report: Serialize {
    /// Writes the text form.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Writes reports to stdout in the form asked for.
pub(crate) struct Output {
    format: OutputFormat,
    /// The reader has gone away.
    closed: bool,
    out: Box<dyn Write + Send>,
}

/// `{"version": 1, …}`, the version of the output's shape.
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

    /// Prints a report, in one write. A reader that has gone away is no failure.
    pub(crate) fn report<R: Report>(&mut self, report: &R) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Text => AsText(report).to_string(),
            OutputFormat::Json => encode(&Versioned { version: 1, report })?,
        };
        self.show(&whole_lines(text))
    }

    /// Prints a report of the library's, which carries its version itself.
    pub(crate) fn print<R: Serialize + Display>(&mut self, report: &R) -> Result<(), Failure> {
        let text = match self.format {
            OutputFormat::Text => report.to_string(),
            OutputFormat::Json => encode(report)?,
        };
        self.show(&whole_lines(text))
    }

    /// Prints text as it is, outside of any report: what is for people to watch. Not so much as a line's
    /// end is added, which would move what is drawn over it.
    pub(crate) fn show(&mut self, text: &str) -> Result<(), Failure> {
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            // The reader has seen enough (`| head`): no failure of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::failed("failed to write to stdout").caused_by(&error)),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the reader has gone away: then there is no use in going on.
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

/// Writes columns without lines between them, as `kubectl` does: easy to read, to `grep` and to `awk`.
pub(crate) fn write_table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> fmt::Result {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for line in table.lines() {
        writeln!(f, "{}", line.trim())?;
    }
    Ok(())
}

/// Lines on stderr for whoever watches. Never data, never the only record of anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notices {
    paint: Paint,
    quiet: bool,
}

impl Notices {
    /// Speaks in `paint`; if `quiet`, only warnings and failures.
    pub(crate) fn new(paint: Paint, quiet: bool) -> Self {
        Self { paint, quiet }
    }

    /// Says what is going on.
    pub(crate) fn progress(self, text: impl Display) {
        if !self.quiet {
            to_stderr(text.to_string().trim_end());
        }
    }

    /// Shows how much is done of what takes a while, on one line that goes away when all is. Nothing
    /// where nobody watches. Returns whether somebody does.
    pub(crate) fn meter(self, done: usize, of: usize, what: &str) -> bool {
        let watched = !self.quiet && stderr_is_terminal();
        if watched {
            const CLEAR_LINE: &str = "\r\u{1b}[K";
            let text = if done < of { format!("{done} of {of} {what}") } else { String::new() };
            let mut stderr = io::stderr().lock();
            drop(write!(stderr, "{CLEAR_LINE}{text}").and_then(|()| stderr.flush()));
        }
        watched
    }

    /// Says what is wrong without being in the way.
    pub(crate) fn warning(self, message: impl Display, hint: &str) {
        to_stderr(&format!("{} {message}", self.paint.role(Role::Warning, "warning:")));
        if !hint.is_empty() {
            to_stderr(&format!("{} {hint}", self.paint.role(Role::Hint, "hint:")));
        }
    }

    /// Says why the program ends.
    pub(crate) fn failure(self, failure: &Failure) {
        to_stderr(&failure.render(self.paint));
    }
}

fn to_stderr(line: &str) {
    // Nowhere to complain if stderr is gone, and no reason to stop.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Whether somebody reads stderr as it is written.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A stdout to look at.
    #[derive(Clone, Default)]
    pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// What was written.
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
    fn what_is_watched_is_written_as_it_is() {
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
