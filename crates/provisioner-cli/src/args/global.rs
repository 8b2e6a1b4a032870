//! What all three programs take.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, ValueEnum};

const AWS: &str = "AWS";
const OUTPUT: &str = "Output";

/// Names the configuration file as `--config` does. Read by hand and not by clap, to which an empty
/// variable is a usage error; to users it is one that is not set.
pub(crate) const CONFIG_VARIABLE: &str = "PROVISIONER_CONFIG";

/// Options of every program and command.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Read this configuration file, and no other [env: `PROVISIONER_CONFIG`]
    ///
    /// Without it, ./provisioner.toml is laid over the user's file (`$XDG_CONFIG_HOME/provisioner`), and
    /// that over /etc/provisioner/provisioner.toml. The environment (`PROVISIONER__SECTION__KEY`) wins
    /// over all of them.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The AWS region [default: `aws.region`, then the SDK's own]
    #[arg(long, global = true, value_name = "REGION", help_heading = AWS)]
    pub region: Option<String>,

    /// The profile in the shared AWS configuration [default: `aws.profile`, then the SDK's own]
    #[arg(long, global = true, value_name = "PROFILE", help_heading = AWS)]
    pub profile: Option<String>,

    /// Speak to this endpoint instead of AWS's own
    #[arg(long, global = true, value_name = "URL", help_heading = AWS)]
    pub endpoint_url: Option<String>,

    /// The form of the data on stdout
    #[arg(long, global = true, value_name = "FORMAT", help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t)]
    pub output: OutputFormat,

    /// The form of the log on stderr; `auto` is text on a terminal, else JSON
    #[arg(long, global = true, value_name = "FORMAT", help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Say more on stderr; twice for still more
    ///
    /// `PROVISIONER_LOG` says it more finely (`provisioner=debug`), and wins.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Say less on stderr: warnings and errors; twice for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub quiet: u8,

    /// Colour text; `always` wins over a set `NO_COLOR`
    #[arg(long, global = true, value_name = "WHEN", help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t)]
    pub color: Colour,
}

/// `--output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One object with `"version": 1`.
    Json,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// One readable line per event.
    Text,
    /// One JSON object per line and event.
    Json,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colour {
    /// What `--color` says among arguments that are not understood yet: help and usage errors are
    /// printed before anything is.
    pub(crate) fn asked_for(arguments: &[OsString]) -> Self {
        let words = arguments.iter().map(|word| word.to_str().unwrap_or_default());
        let mut words = words.take_while(|word| *word != "--");
        while let Some(word) = words.next() {
            let value = match word.strip_prefix("--color") {
                Some("") => words.next(),
                Some(rest) => rest.strip_prefix('='),
                None => continue,
            };
            if let Some(Ok(colour)) = value.map(|value| Self::from_str(value, false)) {
                return colour;
            }
        }
        Self::Auto
    }
}

impl From<Colour> for ColorChoice {
    fn from(colour: Colour) -> Self {
        match colour {
            Colour::Auto => Self::Auto,
            Colour::Always => Self::Always,
            Colour::Never => Self::Never,
        }
    }
}
