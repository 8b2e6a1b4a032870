//! The options of all three programs.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, ValueEnum};

const AWS: &str = "AWS";
const OUTPUT: &str = "Output";

/// Names the configuration file, as `--config` does. We read it ourselves because clap treats an empty
/// variable as a usage error, whereas users mean that it is not set.
pub(crate) const CONFIG_VARIABLE: &str = "PROVISIONER_CONFIG";

/// Options of every program and command.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Read only this configuration file [env: `PROVISIONER_CONFIG`]
    ///
    /// Without it, ./provisioner.toml overrides the user's file (in `$XDG_CONFIG_HOME/provisioner`), which
    /// overrides /etc/provisioner/provisioner.toml. The environment (`PROVISIONER__SECTION__KEY`)
    /// overrides all of them.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The AWS region [default: `aws.region`, then the SDK's own]
    #[arg(long, global = true, value_name = "REGION", help_heading = AWS)]
    pub region: Option<String>,

    /// The profile in the shared AWS configuration [default: `aws.profile`, then the SDK's own]
    #[arg(long, global = true, value_name = "PROFILE", help_heading = AWS)]
    pub profile: Option<String>,

    /// Use this endpoint instead of AWS's own
    #[arg(long, global = true, value_name = "URL", help_heading = AWS)]
    pub endpoint_url: Option<String>,

    /// The format of the data on stdout
    #[arg(short, long, global = true, value_name = "FORMAT", help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t)]
    pub output: OutputFormat,

    /// The format of the log on stderr; `auto` is text on a terminal, and JSON elsewhere
    #[arg(long, global = true, value_name = "FORMAT", help_heading = OUTPUT)]
    #[arg(value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Log more on stderr; repeat it for still more
    ///
    /// `PROVISIONER_LOG` sets the level per target (`info,provisioner=debug`), and overrides this option.
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub verbose: u8,

    /// Log only warnings and errors on stderr; repeat it for errors only
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = OUTPUT)]
    pub quiet: u8,

    /// When to colour text; `always` overrides `NO_COLOR`
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
    /// Text on a terminal, and JSON elsewhere.
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
    /// Only on a terminal.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl Colour {
    /// Returns the value of `--color` in arguments that are not parsed yet, because help and usage errors
    /// are printed before the arguments are known.
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
