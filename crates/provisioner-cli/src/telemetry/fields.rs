//! The fields of a text line: those that its message does not say already.

use std::fmt::{self, Debug, Write as _};

use provisioner::internal::domain::shown::shown;
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Writes the message, and then `name=value` for each field whose value is not in the message.
///
/// The message may hold what others wrote, so it stays one line and does not act on the terminal.
pub(super) struct UnsaidFields;

impl<'writer> FormatFields<'writer> for UnsaidFields {
    fn format_fields<R: RecordFields>(&self, mut to: Writer<'writer>, fields: R) -> fmt::Result {
        let mut read = Read::default();
        fields.record(&mut read);
        let Read { message, others } = read;
        write!(to, "{}", shown(&message))?;
        let mut gap = if message.is_empty() { "" } else { " " };
        for (name, value) in others.iter().filter(|(_, value)| !says(&message, value)) {
            let plain = value.chars().all(|c| c.is_ascii_graphic() && c != '"');
            if plain && !value.is_empty() {
                write!(to, "{gap}{name}={value}")?;
            } else {
                write!(to, "{gap}{name}={:?}", shown(value).to_string())?;
            }
            gap = " ";
        }
        Ok(())
    }
}

#[derive(Default)]
struct Read {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Read {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a String cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.others.push((field.name(), format!("{value:?}")));
        }
    }
}

/// Returns whether `message` holds `value` as whole words.
fn says(message: &str, value: &str) -> bool {
    let apart = |next: Option<char>| next.is_none_or(|c| !c.is_alphanumeric());
    !value.is_empty()
        && message.match_indices(value).any(|(at, _)| {
            apart(message[..at].chars().next_back())
                && apart(message[at + value.len()..].chars().next())
        })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn written(log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(UnsaidFields)
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_does_not_repeat_as_fields_what_it_says() {
        let line = written(|| {
            tracing::info!(
                action.kind = "request",
                action.count = 3,
                worker_type = "linux",
                zone = None::<&str>,
                instance.r#type = "c7g.large",
                why = "two words",
                "request 3 (c7g.large in us-west-2a): 33 tasks wait"
            );
        });
        assert_eq!(
            line,
            " INFO request 3 (c7g.large in us-west-2a): 33 tasks wait worker_type=linux why=\"two words\"\n"
        );
        assert!(!says("33 tasks", "3") && says("i-1 i-2", "i-2") && !says("x", ""));
    }

    #[test]
    fn what_others_wrote_stays_in_its_line() {
        let evil = "a\n ERROR forged\u{1b}[2J\u{202e}";
        let line = written(|| tracing::warn!(worker_type = evil, "unknown: {}", evil));
        let line2 = written(|| tracing::warn!(worker_type = evil, "unknown"));
        for line in [line, line2] {
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
        }
    }
}
