//! `[provisioner]`.

use std::time::Duration;

use super::{AccountId, key_name, region};
use crate::config::section::Section;
use crate::ids::KeyName;
use crate::settings::{Provisioner, RetiredKeyName, Strays};

const STRAYS: [(&str, Strays); 2] = [("terminate", Strays::Terminate), ("keep", Strays::Keep)];

pub(super) fn read(section: &Section<'_>) -> Provisioner {
    let provisioner = Provisioner {
        key_name: section.checked("key-name", key_name),
        retired: section.tables("retired", retired),
        provisioner_id: section.text("provisioner-id"),
        interval: section.positive_duration("interval", Duration::from_secs(10)),
        min_interval: section.positive_duration("min-interval", Duration::from_secs(1)),
        strays: section.choice("strays", &STRAYS, Strays::Terminate),
        adopt_key_name: section.value("adopt-key-name", false),
        visibility_window: section.value("visibility-window", Duration::from_mins(5)),
        max_failed_rounds: section.value("max-failed-rounds", 0),
        state_dir: section.path("state-dir"),
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
    let key_name = section.checked("key-name", key_name);
    let region = section.checked("region", region);
    let missing = "an entry is { key-name = \"…\", region = \"…\", account-id = \"…\" }";
    if key_name.is_none() {
        section.required("key-name", missing);
    }
    if region.is_none() {
        section.required("region", missing);
    }
    RetiredKeyName {
        // Stands in only where the problem above ends the reading.
        key_name: key_name.unwrap_or_else(|| KeyName::new("")),
        region: region.unwrap_or_default(),
        account_id: section.optional::<AccountId>("account-id").and_then(AccountId::text),
    }
}
