//! `[provisioner]`.

use std::time::Duration;

use super::{AccountId, key_name, region};
use crate::config::section::Section;
use crate::domain::ids::KeyName;
use crate::settings::{Provisioner, RetiredKeyName, Strays};

const STRAYS: [(&str, Strays); 2] = [("terminate", Strays::Terminate), ("keep", Strays::Keep)];

pub(super) fn read(section: &Section<'_>) -> Provisioner {
    let provisioner = Provisioner {
        key_name: section.checked(
            "key-name",
            "The name that marks everything of ours in EC2; `setup-aws` makes and saves it; required to run",
            key_name,
        ),
        retired: section.tables(
            "retired",
            "Key-names given up with `setup-aws --force`, which `cleanup-aws` covers",
            retired,
        ),
        provisioner_id: section.text(
            "provisioner-id",
            "If set, only tasks with this `provisionerId`, or without one, count",
        ),
        interval: section.positive_duration(
            "interval",
            Duration::from_secs(10),
            "The time between rounds; a wake-up makes the next one come sooner",
        ),
        min_interval: section.positive_duration(
            "min-interval",
            Duration::from_secs(1),
            "The shortest time between two rounds; at most `interval`",
        ),
        strays: section.choice(
            "strays",
            &STRAYS,
            Strays::Terminate,
            "What to do with instances that have our key-name but are not ours, if the key pair is ours",
        ),
        adopt_key_name: section.value(
            "adopt-key-name",
            false,
            "Whether a key-name made by hand counts as ours alone, as if `setup-aws` had made it",
        ),
        visibility_window: section.value(
            "visibility-window",
            Duration::from_mins(5),
            "How long EC2's describe calls may lag behind what was done",
        ),
        max_failed_rounds: section.value(
            "max-failed-rounds",
            0,
            "The number of failed rounds in a row after which the daemon ends with 1; 0 means never",
        ),
        state_dir: section.path(
            "state-dir",
            "The directory for the ledger and other state; without it, the user's state directory",
        ),
    };
    if provisioner.interval < provisioner.min_interval {
        section.contradiction(
            &["interval", "min-interval"],
            format!(
                "interval ({}) is shorter than min-interval ({})",
                section.shown(&provisioner.interval, "interval"),
                section.shown(&provisioner.min_interval, "min-interval"),
            ),
            "make interval at least as long as min-interval",
        );
    }
    provisioner
}

fn retired(section: &Section<'_>) -> RetiredKeyName {
    let key_name = section.checked("key-name", "The key-name", key_name);
    let region = section.checked("region", "Its region", region);
    let missing = "an entry is { key-name = \"…\", region = \"…\", account-id = \"…\" }";
    if key_name.is_none() {
        section.required("key-name", missing);
    }
    if region.is_none() {
        section.required("region", missing);
    }
    RetiredKeyName {
        // A placeholder that is never used: the problem above makes the configuration invalid.
        key_name: key_name.unwrap_or_else(|| KeyName::new("")),
        region: region.unwrap_or_default(),
        account_id: section
            .optional::<AccountId>("account-id", "Its account, if known")
            .and_then(AccountId::text),
    }
}
