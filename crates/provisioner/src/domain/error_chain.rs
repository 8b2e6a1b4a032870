//! The text of an error together with its causes.

use std::error::Error;

use super::shown::shown;

/// Returns the error and all its sources on one line, joined by `": "`, for logs and status documents.
///
/// Errors here never repeat the text of their source, so the chain has to be printed somewhere: this is
/// the one place. What servers and files wrote into them is [`shown`] safely.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    shown(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn all_causes_are_named_in_order() {
        let disk = Layer { text: "disk full", source: None };
        let write = Layer { text: "failed to write", source: Some(Box::new(disk)) };
        let save = Layer { text: "failed to save", source: Some(Box::new(write)) };
        assert_eq!(error_chain(&save), "failed to save: failed to write: disk full");
        let forged = Layer { text: "no\nWARN \u{1b}[31m", source: None };
        assert_eq!(error_chain(&forged), "no\\nWARN \\u{1b}[31m");
        assert_eq!(error_chain(&Layer { text: "alone", source: None }), "alone");
    }
}
