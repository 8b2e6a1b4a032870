//! What every page of a command says alike: exit status, environment, files.

use clap_mangen::roff::Roff;

use super::markup;
use crate::exit::ExitStatus;

/// The variables that are read.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("PROVISIONER_CONFIG", "The configuration file, as with `--config`. Empty is unset."),
    (
        "PROVISIONER__SECTION__KEY",
        "The key of the configuration: `PROVISIONER__QUEUE__PORT` is `queue.port`. It wins over the \
         files and loses to the command line.",
    ),
    (
        "PROVISIONER_LOG",
        "What is logged, in the syntax of Rust's `tracing` (`debug`, `provisioner=trace`). `RUST_LOG` \
         stands in for it.",
    ),
    ("NO_COLOR", "If set and not empty, nothing is coloured but with `--color always`."),
    (
        "AWS_PROFILE, AWS_REGION, AWS_ACCESS_KEY_ID, …",
        "Credentials, region and profile, as the AWS CLI finds them; so are ~/.aws, SSO, web \
         identities, and the roles of containers and instances.",
    ),
    (
        "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, …",
        "Other endpoints than AWS's own, for all services or for one.",
    ),
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "Where the user's configuration and state are."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "Set by systemd, which is told when the daemon is ready and that it still turns.",
    ),
];

/// The files that are read and written.
const FILES: [(&str, &str); 4] = [
    (
        "./provisioner.toml",
        "The local configuration, which `setup-aws` writes. Read only if it belongs to the user or to \
         root and nobody else may write to it.",
    ),
    ("~/.config/provisioner/provisioner.toml", "The user's configuration."),
    ("/etc/provisioner/provisioner.toml", "The machine's configuration."),
    (
        "~/.local/state/provisioner/<account>-<region>-<key-name>/",
        "The ledger of what was asked for, the last round, and the lock; `provisioner.state-dir`.",
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
