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

/// The commands of `provisionerd` that read no configuration and know no AWS, and the options of every
/// command that mean nothing to them.
const MEANINGLESS: ([&str; 3], [&str; 4]) =
    (["demo", "completions", "man"], ["config", "region", "profile", "endpoint_url"]);

/// Hides the options that mean nothing to a command from its help.
pub(crate) fn without_meaningless(command: Command) -> Command {
    let (commands, options) = MEANINGLESS;
    let hidden: Vec<_> = command
        .get_arguments()
        .filter(|arg| options.contains(&arg.get_id().as_str()))
        .map(|arg| arg.clone().hide(true))
        .collect();
    commands.into_iter().fold(command, |command, name| {
        if command.find_subcommand(name).is_none() {
            return command;
        }
        command.mut_subcommand(name, |sub| sub.args(hidden.clone()))
    })
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
            Self::Provisionerd => without_meaningless(Provisionerd::command()),
            Self::SetupAws => SetupAws::command(),
            Self::CleanupAws => CleanupAws::command(),
        }
    }
}
