//! The end of a program: exit codes, and failures, which are printed once.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use provisioner::internal::domain::shown::shown;

use crate::style::{Paint, Role};

/// A documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// Done, also after the first SIGINT or SIGTERM of `run`.
    pub const DONE: Self = Self(0);
    /// Failed; for `run --once`, no decision was possible.
    pub const FAILED: Self = Self(1);
    /// Wrong usage or configuration, or the wrong account or region.
    pub const USAGE: Self = Self(2);
    /// `plan --exit-code` found actions.
    pub const ACTIONS: Self = Self(3);
    /// Partly done: `cleanup-aws` left something, or `run --once` had failed or withheld actions or holds
    /// back launches after a lost ledger.
    pub const PARTLY: Self = Self(4);
    /// The second interrupt.
    pub const INTERRUPTED: Self = Self(130);

    /// Every exit code with its meaning for users, which the documents and man pages repeat.
    pub const ALL: [(Self, &'static str); 6] = [
        (
            Self::DONE,
            "done; also after the first SIGINT or SIGTERM of `provisionerd run` or `provisionerd \
             status --watch`",
        ),
        (
            Self::FAILED,
            "failed; `provisionerd run`: an address to listen at is taken; `provisionerd run --once`: no \
             decision was possible, because the queue could not be used, or AWS could not be read or \
             refused every call; `provisionerd validate --aws`: AWS did not answer every call; \
             `provisionerd plan` and `status`: EC2 or the queue could not be read, or the daemon did not \
             answer; `provisionerd reload`: the old configuration stays in force",
        ),
        (
            Self::USAGE,
            "wrong usage or configuration, or the wrong account or region; `provisionerd validate`: a \
             worker type can never launch, or with `--aws` launches would fail; nothing was changed",
        ),
        (Self::ACTIONS, "`provisionerd plan --exit-code` found something to do"),
        (
            Self::PARTLY,
            "partly done: `cleanup-aws` left something, or `provisionerd run --once` had actions that \
             failed or were withheld, or launched nothing yet because the ledger was lost",
        ),
        (Self::INTERRUPTED, "ended at once by the second SIGINT or SIGTERM"),
    ];

    /// Returns the number.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

/// Why a program could not do its work: the text that is printed, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    status: ExitStatus,
    complaints: Vec<Complaint>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// Creates a failure of the work (1).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::FAILED, message)
    }

    /// Creates a failure because the request or the configuration is wrong (2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::USAGE, message)
    }

    /// Creates a failure of a part of the work (4).
    pub fn partly(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::PARTLY, message)
    }

    /// Creates a failure from an error and its chain of sources.
    pub fn from_error(status: ExitStatus, error: &dyn Error) -> Self {
        let mut failure = Self::new(status, error.to_string());
        if let Some(source) = error.source() {
            failure = failure.caused_by(source);
        }
        failure
    }

    fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        let message = shown_lines(message.into());
        let complaint = Complaint { message, causes: Vec::new(), hint: None };
        Self { status, complaints: vec![complaint] }
    }

    /// Adds a cause and its own causes.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn Error) -> Self {
        if let Some(complaint) = self.complaints.last_mut() {
            let mut next = Some(cause);
            while let Some(error) = next {
                complaint.causes.push(shown_lines(error));
                next = error.source();
            }
        }
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if let Some(complaint) = self.complaints.last_mut() {
            complaint.hint = Some(hint).filter(|hint| !hint.is_empty());
        }
        self
    }

    /// Adds the complaints of another failure, and keeps the exit code.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.complaints.extend(other.complaints);
        self
    }

    /// Returns the exit code.
    pub fn status(&self) -> ExitStatus {
        self.status
    }

    /// Returns each message with its hint.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.complaints
            .iter()
            .map(|complaint| (complaint.message.as_str(), complaint.hint.as_deref()))
    }

    /// Renders `error: …`, `  caused by: …` and `hint: …` lines.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        for Complaint { message, causes, hint } in &self.complaints {
            lines.push(format!("{} {message}", paint.role(Role::Error, "error:")));
            let mut last = message;
            // Some libraries repeat their source in their own message.
            for cause in causes {
                if cause != last {
                    lines.push(format!("  caused by: {cause}"));
                }
                last = cause;
            }
            if let Some(hint) = hint {
                lines.push(format!("{} {hint}", paint.role(Role::Hint, "hint:")));
            }
        }
        lines.join("\n")
    }
}

/// Escapes what would act on the terminal, line by line: some libraries show a place over several lines.
fn shown_lines(text: impl fmt::Display) -> String {
    text.to_string()
        .split('\n')
        .map(|line| shown(line).to_string())
        .collect::<Vec<_>>()
        .join("\n  ")
}

impl fmt::Display for Failure {
    /// On one line, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.complaints.iter().map(|complaint| {
            let causes = complaint.causes.iter().filter(|cause| **cause != complaint.message);
            std::iter::once(&complaint.message)
                .chain(causes)
                .cloned()
                .collect::<Vec<_>>()
                .join(": ")
        });
        write!(f, "{}", shown(lines.collect::<Vec<_>>().join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to list instances")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn a_failure_prints_its_chain_and_hint_once() {
        let failure = Failure::from_error(ExitStatus::FAILED, &Outer(Inner)).with_hint("try again");
        assert_eq!(
            failure.render(Paint::Plain),
            "error: failed to list instances\n  caused by: connection refused\nhint: try again"
        );
        assert_eq!(failure.status().code(), 1);
    }

    #[test]
    fn what_others_wrote_does_not_act_on_the_terminal() {
        let forged = "no\u{1b}]0;title\u{7}\nerror: \u{202e}forged";
        let failure = Failure::failed(forged);
        let shown = "no\\u{1b}]0;title\\u{7}\n  error: \\u{202e}forged";
        assert_eq!(failure.render(Paint::Plain), format!("error: {shown}"));
        assert!(!failure.to_string().contains('\n'), "{failure}");
    }

    #[test]
    fn all_problems_are_printed() {
        let failure = Failure::usage("one").with_hint("").and(Failure::failed("two"));
        assert_eq!(failure.render(Paint::Plain), "error: one\nerror: two");
        assert_eq!(failure.status(), ExitStatus::USAGE);
    }

    #[test]
    fn a_cause_that_repeats_the_message_is_left_out() {
        let failure = Failure::failed("connection refused").caused_by(&Inner);
        assert_eq!(failure.render(Paint::Plain), "error: connection refused");
    }

    #[test]
    fn colour_changes_no_words() {
        let painted = Failure::usage("no").with_hint("yes").render(Paint::Coloured);
        assert!(painted.contains("\u{1b}["));
        assert!(painted.contains("error:") && painted.contains(" no\n"));
    }
}
