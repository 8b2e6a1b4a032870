//! What the engine remembers from round to round besides the ledger.
//!
//! Soft state: kept on disk so that a restart, or a chain of `run --once`, goes on where it was, but
//! losing it costs only some repeated tries. What money hangs on is in the [ledger](crate::domain::ledger).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::cool_down::{CoolDown, growing};
use crate::domain::ids::{InstanceId, InstanceType, SpotRequestId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::money::{Usd, UsdPerHour};
use crate::policy::PolicyMemory;
use crate::settings::{Settings, WorkerType};

/// The engine's soft state. It is opaque to embedders: they store it and give it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Memory {
    /// Capacity pools that refused, by [`Pool`] as text.
    pub(crate) cool_downs: BTreeMap<String, CoolDown>,
    /// Quotas that refused a single instance, by code and group of families.
    pub(crate) breakers: BTreeMap<String, CoolDown>,
    /// Instance profiles that EC2 did not know when it was last asked.
    pub(crate) unknown_profiles: BTreeMap<String, UnknownProfile>,
    /// Launches that failed in a row, per worker type.
    pub(crate) failures: BTreeMap<WorkerTypeName, Failures>,
    /// The configuration that those failures are about, as a hash per worker type.
    pub(crate) configured: BTreeMap<WorkerTypeName, u64>,
    /// What is known of each instance.
    pub(crate) machines: BTreeMap<InstanceId, MachineMemory>,
    /// Requests that EC2 shows open.
    pub(crate) open: BTreeMap<SpotRequestId, OpenMemory>,
    /// Requests we cancelled that EC2 still shows open.
    pub(crate) cancelling: BTreeMap<SpotRequestId, Cancelling>,
    /// Requests seen fulfilled whose instance is not visible yet.
    pub(crate) fulfilled: BTreeMap<SpotRequestId, Fulfilled>,
    /// Instances whose termination EC2 accepted, and when. EC2 may show them running for a while: they
    /// are neither capacity nor a reason to end another.
    pub(crate) ended: BTreeMap<InstanceId, Timestamp>,
    /// Since when tasks have been pending beside machines that look free, per worker type.
    pub(crate) unclaimed_since: BTreeMap<WorkerTypeName, Timestamp>,
    /// What the policies have learned, per worker type.
    pub(crate) policies: BTreeMap<WorkerTypeName, PolicyMemory>,
    /// Dollars spent today.
    pub(crate) spent: Spent,
}

/// How many rounds running a machine must be known idle before it is ended for that.
pub(in crate::engine) const IDLE_ROUNDS: u32 = 2;

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

/// Launches of a worker type that failed in a row.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Failures {
    /// How many.
    pub(crate) in_a_row: u32,
    /// The last one.
    pub(crate) last: Timestamp,
    /// What EC2 said.
    pub(crate) text: String,
}

impl Memory {
    /// Forgets the failures of worker types whose configuration changed, so that a fix takes effect at
    /// once instead of after the pause.
    pub(in crate::engine) fn forget_reconfigured(&mut self, settings: &Settings) {
        let now: BTreeMap<_, _> = settings
            .worker_types
            .iter()
            .map(|(name, worker_type)| (name.clone(), fingerprint(worker_type)))
            .collect();
        self.failures.retain(|name, _| self.configured.get(name) == now.get(name));
        self.configured = now;
        let profiles: BTreeSet<&String> = settings
            .worker_types
            .values()
            .filter_map(|worker_type| worker_type.iam_instance_profile.as_ref())
            .collect();
        self.unknown_profiles.retain(|profile, _| profiles.contains(profile));
    }

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
        self.launch_failed(name, text, now);
        false
    }

    /// Adds a strike against the pool (or the pool seen from one subnet) of this name.
    pub(in crate::engine) fn strike_pool(&mut self, name: String, code: &str, now: Timestamp) {
        let next = CoolDown::strike(self.cool_downs.get(&name), code, now);
        self.cool_downs.insert(name, next);
    }

    /// Adds a strike against a pool whose refusal took a request that waited.
    pub(in crate::engine) fn strike_pool_after_wait(
        &mut self,
        name: String,
        code: &str,
        now: Timestamp,
    ) {
        let next = CoolDown::strike(self.cool_downs.get(&name), code, now);
        self.cool_downs.insert(name, CoolDown { waited: true, ..next });
    }

    /// Adds a strike against the quota that `code` is about for `instance_type`.
    pub(in crate::engine) fn strike_quota(
        &mut self,
        code: &str,
        instance_type: &InstanceType,
        now: Timestamp,
    ) {
        let name = quota(code, instance_type);
        let next = CoolDown::strike(self.breakers.get(&name), code, now);
        self.breakers.insert(name, next);
    }

    /// Counts a failed launch of `name`.
    pub(in crate::engine) fn launch_failed(
        &mut self,
        name: &WorkerTypeName,
        text: String,
        now: Timestamp,
    ) {
        let before = self.failures.get(name).map_or(0, |failures| failures.in_a_row);
        let failures = Failures { in_a_row: before.saturating_add(1), last: now, text };
        self.failures.insert(name.clone(), failures);
    }

    /// A number that changes when something is learned, and not with what every round adds to: further
    /// rounds of machines that are known to be idle, what policies learn from every round, and dollars, which are
    /// counted on from the time that was saved with them.
    #[cfg(any(feature = "aws", test))]
    pub(crate) fn learned(&self) -> u64 {
        let Self {
            cool_downs,
            breakers,
            failures,
            unknown_profiles,
            configured,
            machines,
            open,
            cancelling,
            fulfilled,
            ended,
            unclaimed_since,
            // Estimates that move a little in every round: saved with what else is learned.
            policies: _,
            spent: _,
        } = self;
        let mut hasher = DefaultHasher::new();
        (cool_downs, breakers, failures, unknown_profiles, configured).hash(&mut hasher);
        (open, cancelling, fulfilled, ended, unclaimed_since).hash(&mut hasher);
        for (id, machine) in machines {
            let MachineMemory {
                first_seen,
                asked: _,
                claimed,
                idle_rounds,
                ran,
                worker_type,
                price,
            } = machine;
            let idle_rounds = idle_rounds.min(&IDLE_ROUNDS);
            (id, first_seen, claimed, idle_rounds, ran, worker_type, price).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Returns the median and the 90th percentile of the startups that the policy of a worker type observed, or
/// `None` while there are too few of them.
pub fn observed_startups(memory: &Memory, name: &WorkerTypeName) -> Option<(Duration, Duration)> {
    memory.policies.get(name)?.startups()
}

/// Returns the worker types whose last launch failed.
pub fn failing_worker_types(memory: &Memory) -> impl Iterator<Item = &WorkerTypeName> {
    memory.failures.keys()
}

/// Returns the instance profiles that EC2 did not know when it was last asked.
pub fn unknown_profiles(memory: &Memory) -> impl Iterator<Item = &str> {
    memory.unknown_profiles.keys().map(String::as_str)
}

/// A number that changes with the worker type's configuration. Stable for one build of the program;
/// another build forgets failures once, which does no harm.
fn fingerprint(worker_type: &WorkerType) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{worker_type:?}").hash(&mut hasher);
    // Its `Debug` does not show the content.
    worker_type.user_data.as_ref().map(|user_data| &user_data.raw).hash(&mut hasher);
    hasher.finish()
}

impl Failures {
    /// This many in a row stop the worker type for a while.
    pub(crate) const TOO_MANY: u32 = 3;
    const FIRST_PAUSE: Duration = Duration::from_mins(1);
    const LONGEST_PAUSE: Duration = Duration::from_hours(1);

    /// Until when nothing is launched, if there were too many.
    pub(crate) fn paused_until(&self) -> Option<Timestamp> {
        let over = self.in_a_row.checked_sub(Self::TOO_MANY)?;
        Some(clock::after(self.last, growing(Self::FIRST_PAUSE, over + 1, Self::LONGEST_PAUSE)))
    }
}

/// What is known of an instance beyond what EC2 shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MachineMemory {
    /// When we first saw it.
    pub(crate) first_seen: Timestamp,
    /// When it was asked for, where its request was seen with it.
    #[serde(default)]
    pub(crate) asked: Option<Timestamp>,
    /// Whether it was ever seen running a task.
    pub(crate) claimed: bool,
    /// In how many rounds running it was known to run none.
    pub(crate) idle_rounds: u32,
    /// Whether it was ever seen running.
    #[serde(default)]
    pub(crate) ran: bool,
    /// Its worker type, once that was known.
    #[serde(default)]
    pub(crate) worker_type: Option<WorkerTypeName>,
    /// The highest price it may cost, once that was known.
    #[serde(default)]
    pub(crate) price: Option<UsdPerHour>,
}

/// A request seen open.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct OpenMemory {
    /// Its worker type.
    pub(crate) worker_type: Option<WorkerTypeName>,
    /// The pool it asks. EC2 does not tell the zone of a request that names a subnet.
    pub(crate) pool: Pool,
    /// The highest price it may pay.
    pub(crate) max_price: Option<UsdPerHour>,
}

/// A request seen fulfilled, without its instance.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Fulfilled {
    /// The first sight.
    pub(crate) since: Timestamp,
    /// Its worker type.
    pub(crate) worker_type: Option<WorkerTypeName>,
    /// The highest price it may pay.
    pub(crate) max_price: Option<UsdPerHour>,
}

/// A request we cancelled. Whether it made an instance all the same is followed in the ledger.
#[derive(Clone, Debug, PartialEq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Cancelling {
    /// When.
    pub(crate) at: Timestamp,
}

/// Dollars spent since midnight UTC, at the highest possible price.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct Spent {
    /// Up to when it was counted.
    pub(crate) counted_to: Option<Timestamp>,
    /// How much since the midnight before that.
    pub(crate) usd: Usd,
}

/// The name of the quota that `code` is about for `instance_type`.
///
/// Spot and on-demand quotas are in vCPUs per group of families (EC2 User Guide, "Spot Instance
/// quotas"): one group for A, C, D, H, I, M, R, T and Z, one each for the others.
pub(in crate::engine) fn quota(code: &str, instance_type: &InstanceType) -> String {
    let family: String =
        instance_type.as_str().chars().take_while(char::is_ascii_alphabetic).collect();
    let group = match family.as_str() {
        "g" | "vt" => "G and VT",
        "f" => "F",
        "inf" => "Inf",
        "p" => "P",
        "dl" => "DL",
        "trn" => "Trn",
        "x" => "X",
        "u" => "High Memory",
        _ => "Standard",
    };
    format!("{code} ({group})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn three_failures_pause_and_the_pause_doubles() {
        let failed = |in_a_row| Failures { in_a_row, last: at(0), text: String::new() };
        assert_eq!(failed(2).paused_until(), None);
        assert_eq!(failed(3).paused_until(), Some(at(60)));
        assert_eq!(failed(4).paused_until(), Some(at(120)));
        assert_eq!(failed(60).paused_until(), Some(at(3600)));
    }

    #[test]
    fn what_every_round_adds_is_nothing_learned() {
        let machine = |idle_rounds| MachineMemory {
            first_seen: at(0),
            asked: None,
            claimed: true,
            idle_rounds,
            ran: true,
            worker_type: None,
            price: None,
        };
        let memory = |idle_rounds, second| Memory {
            machines: BTreeMap::from([(InstanceId::from("i-1"), machine(idle_rounds))]),
            spent: Spent { counted_to: Some(at(second)), usd: Usd::ZERO },
            ..Memory::default()
        };
        assert_eq!(memory(2, 0).learned(), memory(7, 10).learned());
        assert_ne!(memory(1, 0).learned(), memory(2, 0).learned());
        let mut refused = memory(2, 0);
        refused.cool_downs.insert("pool".to_owned(), CoolDown::strike(None, "x", at(0)));
        assert_ne!(refused.learned(), memory(2, 0).learned());
    }

    #[test]
    fn quotas_are_per_group_of_families() {
        let of = |t: &str| quota("VcpuLimitExceeded", &InstanceType::from(t));
        assert_eq!(of("c7g.large"), of("m5.xlarge"));
        assert_ne!(of("g5.large"), of("m5.xlarge"));
    }
}
