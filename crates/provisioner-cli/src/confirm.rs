//! Asks for confirmation before anything is removed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::exit::Failure;
use crate::stderr;

/// Whether to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// Ask on the terminal.
    Prompt,
    /// The user has confirmed on the command line.
    AssumeYes,
}

impl Confirm {
    /// Fails if there is no terminal to ask on, before anything is read or changed.
    pub(crate) fn check_terminal(self) -> Result<(), Failure> {
        if self == Self::AssumeYes || (io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Ok(());
        }
        Err(Failure::usage("there is no terminal to ask on; nothing was touched")
            .with_hint("pass `--yes` to continue without a question, or `--dry-run` to see what would be removed"))
    }

    /// Asks `question` about `listing`; any answer but `y` or `yes` means no. Blocks the thread.
    pub(crate) fn ask(self, listing: &str, question: &str) -> Result<bool, Failure> {
        if self == Self::AssumeYes {
            return Ok(true);
        }
        let failed = |error: io::Error| Failure::failed("failed to ask").caused_by(&error);
        stderr::flush();
        let mut stderr = io::stderr().lock();
        write!(stderr, "{listing}{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .map_err(failed)?;
        drop(stderr);
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(failed)?;
        Ok(is_yes(&answer))
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        for yes in ["y\n", "Y\n", "yes", " YES \n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "ye\n", "yess\n", "ja\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn yes_needs_no_terminal() {
        assert!(Confirm::AssumeYes.check_terminal().is_ok());
        assert_eq!(Confirm::AssumeYes.ask("", "?"), Ok(true));
    }
}
