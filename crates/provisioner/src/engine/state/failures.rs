//! Failed launches: how many in a row pause a worker type, for how long.
//!
//! `observe/launch_health.rs` decides what counts as one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::cool_down::growing;
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::memory::Memory;

/// An instance profile that EC2 does not know. It may be a fresh one: what IAM makes reaches EC2 later.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct UnknownProfile {
    /// The first time since an instance last started with it.
    pub(crate) since: Timestamp,
    /// The last time.
    pub(crate) last: Timestamp,
}

impl UnknownProfile {
    /// EC2 knows a fresh profile within ten seconds as a rule, and seldom after minutes (IAM User Guide,
    /// "Changes that I make are not always immediately visible"; others wait for two). One that is still
    /// unknown then is not there, and waiting does not help.
    pub(crate) const MAY_BE_FRESH: Duration = Duration::from_mins(5);
    /// Between two tries. Each is one call, however many worker types have the profile.
    const PAUSE: Duration = Duration::from_secs(10);

    /// Whether it may still be a fresh one.
    pub(in crate::engine) fn may_be_fresh(&self, now: Timestamp) -> bool {
        now < clock::after(self.since, Self::MAY_BE_FRESH)
    }

    /// Until when nothing is launched with it. Later than [`Self::MAY_BE_FRESH`] every launch is tried, and
    /// counts as failed.
    pub(in crate::engine) fn held_until(
        &self,
        interval: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let until = clock::after(self.last, interval.min(Self::PAUSE));
        (self.may_be_fresh(now) && now < until).then_some(until)
    }
}

/// Launches of a worker type that failed in a row. Too many pause it; then one machine at a time is tried, the
/// probe, until one claims a task.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Failures {
    /// How many.
    pub(crate) in_a_row: u32,
    /// The last one.
    pub(crate) last: Timestamp,
    /// What EC2 said.
    pub(crate) text: String,
    /// Whether the pause after the last one was ended by hand: the next probe may come at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) resumed: bool,
}

/// A machine that ended by itself, without a task seen on it.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EndedUnclaimed {
    /// Its worker type.
    pub(crate) worker_type: WorkerTypeName,
    /// When EC2 launched it.
    pub(crate) launched: Timestamp,
    /// When it was gone.
    pub(crate) at: Timestamp,
    /// What EC2 said.
    pub(crate) text: String,
}

impl Failures {
    /// This many in a row stop the worker type for a while.
    pub(crate) const TOO_MANY: u32 = 3;
    const FIRST_PAUSE: Duration = Duration::from_mins(1);
    const LONGEST_PAUSE: Duration = Duration::from_mins(10);
    /// A failure is not in a row with one that long before it.
    pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

    /// Whether there were too many: until a machine claims a task, one at a time is tried.
    pub(crate) fn is_too_many(&self) -> bool {
        self.in_a_row >= Self::TOO_MANY
    }

    /// Until when nothing is launched, if there were too many.
    pub(crate) fn paused_until(&self) -> Option<Timestamp> {
        let over = self.in_a_row.checked_sub(Self::TOO_MANY)?;
        let pause = growing(Self::FIRST_PAUSE, over + 1, Self::LONGEST_PAUSE);
        (!self.resumed).then(|| clock::after(self.last, pause))
    }
}

impl Memory {
    /// EC2 does not know `profile`, with which `name` was launched. While it may be a fresh one that is no
    /// failure; returns whether it is taken for one.
    pub(in crate::engine) fn profile_unknown(
        &mut self,
        profile: Option<&str>,
        name: &WorkerTypeName,
        said: &str,
        now: Timestamp,
    ) -> bool {
        if let Some(profile) = profile {
            let unknown = self.unknown_profiles.entry(profile.to_owned());
            let unknown = unknown.or_insert(UnknownProfile { since: now, last: now });
            unknown.last = now;
            if unknown.may_be_fresh(now) {
                return true;
            }
        }
        let text = format!(
            "{said}; correct `iam-instance-profile`, or make that profile and put a role into it: \
             `provisionerd validate --aws` looks it up"
        );
        self.launch_failed(name, now, text, now);
        false
    }

    /// Counts a failed launch of `name`, which was `launched` then.
    ///
    /// Once the worker type is paused, only what was launched since, the probes, makes the pause longer: of
    /// a large launch each machine would otherwise double it.
    pub(in crate::engine) fn launch_failed(
        &mut self,
        name: &WorkerTypeName,
        launched: Timestamp,
        text: String,
        now: Timestamp,
    ) {
        let before = self.failures.get(name);
        if before.is_some_and(|before| before.is_too_many() && launched < before.last) {
            return;
        }
        let in_a_row = before.map_or(0, |before| before.in_a_row).saturating_add(1);
        let failures = Failures { in_a_row, last: now, text, resumed: false };
        self.failures.insert(name.clone(), failures);
    }

    /// Lets the next launch of every paused worker type come at once: the process has restarted, or an
    /// operator asked for it. It is still a probe.
    pub(in crate::engine) fn resume_paused(&mut self) {
        for failures in self.failures.values_mut() {
            failures.resumed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn three_failures_pause_and_the_pause_doubles() {
        let failed =
            |in_a_row| Failures { in_a_row, last: at(0), text: String::new(), resumed: false };
        assert_eq!(failed(2).paused_until(), None);
        assert_eq!(failed(3).paused_until(), Some(at(60)));
        assert_eq!(failed(4).paused_until(), Some(at(120)));
        assert_eq!(failed(60).paused_until(), Some(at(600)));
        let resumed = Failures { resumed: true, ..failed(60) };
        assert!(resumed.paused_until().is_none() && resumed.is_too_many());
    }

    #[test]
    fn of_one_large_launch_the_machines_do_not_double_the_pause() {
        let mut memory = Memory::default();
        let name = WorkerTypeName::from("linux");
        for second in [100, 100, 100, 101, 102] {
            memory.launch_failed(&name, at(0), "x".to_owned(), at(second));
        }
        assert_eq!(memory.failures[&name].paused_until(), Some(at(160)));
        memory.launch_failed(&name, at(170), "x".to_owned(), at(200));
        assert_eq!(memory.failures[&name].paused_until(), Some(at(320)));
    }
}
