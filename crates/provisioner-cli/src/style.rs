//! Whether text is coloured, and how. Colour never carries meaning by itself.

use std::ffi::OsStr;

use clap::builder::styling::{AnsiColor, Style};

use crate::args::Colour;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Coloured,
    Plain,
}

/// The role of a word in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Error,
    Warning,
    Hint,
    /// The heading of a table.
    Heading,
    /// Of a problem that has ended.
    Faint,
}

impl Paint {
    /// Decides for one stream. `no_color` is the environment variable: if it is set and not empty, it means
    /// `never` unless the command line says otherwise (<https://no-color.org>).
    pub(crate) fn decide(choice: Colour, no_color: Option<&OsStr>, is_terminal: bool) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        let coloured = match choice {
            Colour::Auto => is_terminal && !refused,
            Colour::Always => true,
            Colour::Never => false,
        };
        if coloured { Self::Coloured } else { Self::Plain }
    }

    /// Colours `text` for its role.
    pub(crate) fn role(self, role: Role, text: &str) -> String {
        let style = match role {
            Role::Error => AnsiColor::Red.on_default().bold(),
            Role::Warning => AnsiColor::Yellow.on_default().bold(),
            Role::Hint => AnsiColor::Cyan.on_default().bold(),
            Role::Heading => Style::new().bold(),
            Role::Faint => Style::new().dimmed(),
        };
        self.styled(style, text)
    }

    fn styled(self, style: Style, text: &str) -> String {
        match self {
            Self::Coloured => format!("{style}{text}{style:#}"),
            Self::Plain => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_wins_where_the_command_line_says_nothing() {
        let decide = |choice, no_color: Option<&str>, is_terminal| {
            Paint::decide(choice, no_color.map(OsStr::new), is_terminal) == Paint::Coloured
        };
        assert!(decide(Colour::Auto, None, true));
        assert!(!decide(Colour::Auto, None, false));
        assert!(decide(Colour::Always, None, false));
        assert!(!decide(Colour::Never, None, true));
        assert!(!decide(Colour::Auto, Some("1"), true));
        assert!(decide(Colour::Always, Some("1"), false));
        assert!(decide(Colour::Auto, Some(""), true));
    }
}
