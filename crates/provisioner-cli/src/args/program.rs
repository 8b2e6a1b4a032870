//! The three programs, by name.

use clap::{Command, CommandFactory as _, ValueEnum};

use super::{CleanupAws, Provisionerd, SetupAws};

/// One of the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The daemon and its commands.
    #[default]
    Provisionerd,
    /// Creates the key-name.
    SetupAws,
    /// Removes everything under the key-name.
    CleanupAws,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Provisionerd, Self::SetupAws, Self::CleanupAws];

    /// Its file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisionerd => "provisionerd",
            Self::SetupAws => "setup-aws",
            Self::CleanupAws => "cleanup-aws",
        }
    }

    /// Its command line.
    pub fn command(self) -> Command {
        match self {
            Self::Provisionerd => Provisionerd::command(),
            Self::SetupAws => SetupAws::command(),
            Self::CleanupAws => CleanupAws::command(),
        }
    }
}
