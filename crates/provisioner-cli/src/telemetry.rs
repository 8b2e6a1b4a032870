//! Logs: to stderr, filtered, as text or JSON.

use std::collections::BTreeMap;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::args::{GlobalArgs, LogFormat};
use crate::exit::Failure;
use crate::style::Paint;

/// Where a filter may be set, first wins.
const VARIABLES: [&str; 2] = ["PROVISIONER_LOG", "RUST_LOG"];

/// Starts logging for the whole process.
pub(crate) fn start(
    globals: &GlobalArgs,
    environment: &BTreeMap<String, String>,
    paint: Paint,
    stderr_is_terminal: bool,
) -> Result<(), Failure> {
    let filter = filter(globals, environment)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be reported with `eprintln!`, which panics when stderr is gone.
        .log_internal_errors(false)
        .with_ansi(paint == Paint::Coloured);
    let json = match globals.log_format {
        LogFormat::Auto => !stderr_is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started = if json {
        builder.json().flatten_event(true).with_ansi(false).try_init()
    } else {
        let clock =
            if environment.contains_key("JOURNAL_STREAM") { Clock::Journal } else { Clock::Own };
        builder.with_target(false).with_timer(clock).try_init()
    };
    started.map_err(|error| Failure::failed("failed to start logging").caused_by(error.as_ref()))
}

fn filter(
    globals: &GlobalArgs,
    environment: &BTreeMap<String, String>,
) -> Result<EnvFilter, Failure> {
    let set = VARIABLES
        .into_iter()
        .find_map(|name| Some((name, environment.get(name).filter(|text| !text.is_empty())?)));
    let (origin, directives) = match set {
        Some((name, text)) => (name, text.as_str()),
        None => ("-v/-q", directives(globals.verbose, globals.quiet)),
    };
    EnvFilter::builder().parse(directives).map_err(|error| {
        Failure::usage(format!("`{origin}` is not a log filter: `{directives}`"))
            .caused_by(&error)
            .with_hint("write for example `info` or `info,provisioner=debug`")
    })
}

/// The SDK logs below `warn` whatever it does, per request; its `trace` shows signed requests. That
/// there is no metadata service outside EC2 is nothing to warn of.
fn directives(verbose: u8, quiet: u8) -> &'static str {
    match i16::from(verbose) - i16::from(quiet) {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info,aws_smithy_runtime=warn,aws_config=warn,aws_config::imds=error,hyper=warn",
        1 => "info,provisioner=debug,provisioner_cli=debug,aws_smithy_runtime=warn,hyper=warn",
        2 => "debug",
        3.. => "debug,provisioner=trace,provisioner_cli=trace",
    }
}

/// The time of a text line.
enum Clock {
    Own,
    /// journald writes its own.
    Journal,
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        match self {
            Self::Own => SystemTime.format_time(writer),
            Self::Journal => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(verbose: u8, quiet: u8, variables: &[(&str, &str)]) -> Result<String, Failure> {
        let globals = GlobalArgs { verbose, quiet, ..GlobalArgs::default() };
        let environment = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        filter(&globals, &environment).map(|filter| filter.to_string())
    }

    #[test]
    fn the_environment_wins_over_flags_and_ours_over_rusts() {
        assert_eq!(of(3, 0, &[("RUST_LOG", "warn")]).unwrap(), "warn");
        assert_eq!(
            of(0, 0, &[("RUST_LOG", "warn"), ("PROVISIONER_LOG", "error")]).unwrap(),
            "error"
        );
        assert_eq!(of(0, 1, &[("PROVISIONER_LOG", "")]).unwrap(), "warn");
    }

    #[test]
    fn flags_count_against_each_other() {
        assert_eq!(of(0, 5, &[]).unwrap(), "error");
        assert_eq!(of(1, 2, &[]).unwrap(), "warn");
        assert_eq!(of(2, 0, &[]).unwrap(), "debug");
        for verbose in 0..5 {
            of(verbose, 0, &[]).unwrap();
        }
    }

    #[test]
    fn a_broken_filter_is_a_usage_error() {
        let failure = of(0, 0, &[("PROVISIONER_LOG", "provisioner=loud")]).unwrap_err();
        assert_eq!(failure.status().code(), 2);
        assert!(failure.render(Paint::Plain).contains("PROVISIONER_LOG"));
    }
}
