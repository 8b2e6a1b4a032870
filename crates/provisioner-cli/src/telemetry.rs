//! Logs: to stderr, filtered, as text or JSON.

mod fields;

use std::collections::BTreeMap;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{GlobalArgs, LogFormat};
use crate::exit::Failure;
use crate::stderr::LogLine;
use crate::style::Paint;

/// The variables that may hold a filter; the first one that is set wins.
const VARIABLES: [&str; 2] = ["PROVISIONER_LOG", "RUST_LOG"];

/// Starts logging for the process.
pub(crate) fn start(
    globals: &GlobalArgs,
    environment: &BTreeMap<String, String>,
    paint: Paint,
    stderr_is_terminal: bool,
) -> Result<(), Failure> {
    let subscriber = tracing_subscriber::registry().with(filter(globals, environment)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| LogLine)
        // It would be reported with `eprintln!`, which panics when stderr is gone and blocks when it is not read.
        .log_internal_errors(false)
        .with_ansi(paint == Paint::Coloured);
    let json = match globals.log_format {
        LogFormat::Auto => !stderr_is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let started = if json {
        subscriber.with(lines.json().flatten_event(true).with_ansi(false)).try_init()
    } else {
        let clock =
            if environment.contains_key("JOURNAL_STREAM") { Clock::Journal } else { Clock::Own };
        let lines = lines.fmt_fields(fields::UnsaidFields).with_target(false).with_timer(clock);
        subscriber.with(lines).try_init()
    };
    started.map_err(|error| Failure::failed("failed to start logging").caused_by(&error))
}

/// Returns the levels per target that the environment or the flags ask for.
fn filter(
    globals: &GlobalArgs,
    environment: &BTreeMap<String, String>,
) -> Result<Targets, Failure> {
    let set = VARIABLES
        .into_iter()
        .find_map(|name| Some((name, environment.get(name).filter(|text| !text.is_empty())?)));
    let (origin, directives) = match set {
        Some((name, text)) => (name, text.as_str()),
        None => ("-v/-q", directives(globals.verbose, globals.quiet)),
    };
    let refused = || {
        Failure::usage(format!("`{origin}` is not a log filter: `{directives}`"))
            .with_hint("write for example `info` or `info,provisioner=debug`")
    };
    // `Targets` would take a filter by span or field for a target that never logs.
    if directives.contains('[') {
        return Err(refused().caused_by(&Unsupported));
    }
    let parts = directives.split(',').map(str::trim).filter(|part| !part.is_empty());
    let parts = parts.collect::<Vec<_>>().join(",");
    parts.parse::<Targets>().map_err(|error| refused().caused_by(&error))
}

#[derive(Debug, thiserror::Error)]
#[error("filters by span or field are not supported")]
struct Unsupported;

/// Returns the filter of the flags.
///
/// Below `warn` the SDK logs everything that it does for each request, and its `trace` shows signed
/// requests. A missing metadata service is normal outside EC2 and needs no warning.
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

/// Where the time of a text line comes from.
enum Clock {
    Own,
    /// journald adds its own time to each line.
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
        let failure = of(0, 0, &[("RUST_LOG", "info,provisioner[round]=debug")]).unwrap_err();
        assert!(failure.render(Paint::Plain).contains("span or field"));
    }

    #[test]
    fn targets_have_levels_of_their_own() {
        let globals = GlobalArgs::default();
        let text = "Info, provisioner=debug,,hyper=off".to_owned();
        let environment = BTreeMap::from([("PROVISIONER_LOG".to_owned(), text)]);
        let filter = filter(&globals, &environment).unwrap();
        assert!(filter.would_enable("axum", &tracing::Level::INFO));
        assert!(!filter.would_enable("axum", &tracing::Level::DEBUG));
        assert!(filter.would_enable("provisioner::internal::daemon", &tracing::Level::DEBUG));
        assert!(!filter.would_enable("hyper", &tracing::Level::ERROR));
    }
}
