//! The common sections of every command's page: exit status, environment, files.

use clap_mangen::roff::Roff;

use super::markup;
use crate::exit::ExitStatus;

/// The environment variables that the programs read.
const ENVIRONMENT: [(&str, &str); 8] = [
    (
        "PROVISIONER_CONFIG",
        "The configuration file, as with `--config`. An empty value counts as not set.",
    ),
    (
        "PROVISIONER__SECTION__KEY",
        "A key of the configuration: `PROVISIONER__QUEUE__PORT` is `queue.port`. It overrides the files, \
         and the command line overrides it.",
    ),
    (
        "PROVISIONER_LOG",
        "The log level, or levels per target, in the syntax of Rust's `tracing` (`debug`, \
         `info,provisioner=trace`). Filters by span or field are not supported. `RUST_LOG` is read if it \
         is not set.",
    ),
    ("NO_COLOR", "If set and not empty, text is coloured only with `--color always`."),
    (
        "AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, …",
        "Credentials, region and profile. They are found as by the AWS CLI, also in ~/.aws, through SSO and \
         web identities, and as roles of containers and instances.",
    ),
    (
        "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, …",
        "Endpoints to use instead of AWS's own, for all services or for one.",
    ),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "The locations of the user's configuration and state."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd, which the daemon notifies that it is ready and that its loop still runs.",
    ),
];

/// The files that the programs read and write.
const FILES: [(&str, &str); 4] = [
    (
        "./provisioner.toml",
        "The local configuration, which `setup-aws` writes. It is read only if it belongs to the user or \
         to root and is not writable for others.",
    ),
    ("~/.config/provisioner/provisioner.toml", "The user's configuration."),
    ("/etc/provisioner/provisioner.toml", "The machine's configuration."),
    (
        "~/.local/state/provisioner/<account>-<region>-<key-name>/",
        "The ledger of launches, the last round, and the lock (`provisioner.state-dir`).",
    ),
];

/// Adds the sections.
pub(super) fn sections(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in ExitStatus::ALL {
        let mut letters = meaning.chars();
        let capital = letters.next().map(|letter| letter.to_uppercase().to_string());
        let sentence = format!("{}{}.", capital.unwrap_or_default(), letters.as_str());
        markup::entry(roff, &status.code().to_string(), &sentence);
    }
    for (heading, entries) in [("ENVIRONMENT", &ENVIRONMENT[..]), ("FILES", &FILES)] {
        roff.control("SH", [heading]);
        for (term, text) in entries {
            markup::entry(roff, term, text);
        }
    }
}
