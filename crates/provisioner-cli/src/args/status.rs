//! `provisionerd status`.

use std::time::Duration;

use clap::{Args, ValueHint};
use provisioner::internal::domain::duration;

/// The default pause of `--watch`.
const INTERVAL: &str = "5s";

/// The shortest pause: each status makes calls to AWS, whose rate limits others in the account share.
const SHORTEST: Duration = Duration::from_secs(1);

/// `provisionerd status`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  provisionerd status
  provisionerd status --url http://127.0.0.1:3000     ask the daemon
  provisionerd status --watch --interval 10s
  provisionerd status --output json

With --url, neither a configuration nor AWS is needed. The exit code is 1 if
EC2 or the queue could not be read, or if the daemon does not answer; --watch
ends with 0 at Ctrl-C")]
pub struct StatusArgs {
    /// Ask the daemon at this address (`server.listen`) instead of AWS and the queue
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,

    /// Print the status repeatedly, until Ctrl-C
    ///
    /// On a terminal it is redrawn in place; elsewhere the texts, or lines of JSON, follow one another. A
    /// failure to read the status is shown, and the next attempt follows.
    #[arg(long, short)]
    pub watch: bool,

    /// The pause between two statuses of `--watch`
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
