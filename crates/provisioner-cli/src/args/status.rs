//! `provisionerd status`.

use std::time::Duration;

use clap::{Args, ValueHint};
use provisioner::internal::domain::duration;

/// Between the looks of `--watch`.
const INTERVAL: &str = "5s";

/// Looks cost calls to AWS, which others in the account share.
const SHORTEST: Duration = Duration::from_secs(1);

/// `provisionerd status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd status
  provisionerd status --url http://127.0.0.1:3000     ask the daemon
  provisionerd status --watch --interval 10s
  provisionerd status --output json

With --url, neither a configuration nor AWS is needed. Ends with 1 if nothing
could be read, or the daemon does not answer; --watch ends with 0 at Ctrl-C")]
pub struct StatusArgs {
    /// Ask the daemon that listens here (`server.listen`) instead of AWS and the queue
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,

    /// Look again and again, until Ctrl-C
    ///
    /// On a terminal it is redrawn in place; otherwise one text, or one line of JSON, follows the other.
    /// A look that fails is shown and does not end it.
    #[arg(long, short)]
    pub watch: bool,

    /// The pause between the looks of `--watch`
    #[arg(long, value_name = "DURATION", default_value = INTERVAL, requires = "watch")]
    #[arg(value_parser = interval)]
    pub interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration::parse(text).map_err(|error| error.to_string())?;
    if interval < SHORTEST {
        return Err(format!("the shortest is {}", duration::format(SHORTEST)));
    }
    Ok(interval)
}
