//! What the engine remembers from round to round besides the ledger.
//!
//! Soft state: kept on disk so that a restart, or a chain of `run --once`, goes on where it was, but
//! losing it costs only some repeated tries. What money hangs on is in the [ledger](crate::domain::ledger);
//! what was spent is kept here too, as a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::cool_down::CoolDown;
use crate::domain::ids::{InstanceId, InstanceType, SpotRequestId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::money::{Usd, UsdPerHour};
use crate::domain::spending::Spending;
use crate::engine::state::failures::{EndedUnclaimed, Failures, UnknownProfile};
use crate::policy::PolicyMemory;
use crate::pools::PoolRecord;
use crate::settings::{Settings, WorkerType};

/// The engine's soft state. It is opaque to embedders: they store it and give it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Memory {
    /// What is known of capacity pools, by [`Pool`] as text, and of pools seen from one subnet.
    pub(crate) pools: BTreeMap<String, PoolRecord>,
    /// Instance types that EC2 refused under a worker type's configuration without a clear reason.
    pub(crate) unclear: BTreeMap<WorkerTypeName, BTreeMap<InstanceType, CoolDown>>,
    /// Quotas that refused a single instance, by code and group of families.
    pub(crate) breakers: BTreeMap<String, CoolDown>,
    /// Instance profiles that EC2 did not know when it was last asked.
    pub(crate) unknown_profiles: BTreeMap<String, UnknownProfile>,
    /// Launches that failed in a row, per worker type.
    pub(crate) failures: BTreeMap<WorkerTypeName, Failures>,
    /// Machines that ended by themselves without a task seen on them, until the queue tells whether one ran.
    pub(crate) ended_unclaimed: BTreeMap<InstanceId, EndedUnclaimed>,
    /// When a task of the worker type last left PENDING.
    pub(crate) last_taken: BTreeMap<WorkerTypeName, Timestamp>,
    /// How long instances of the worker type usually take from their launch to their first task.
    pub(crate) usual_boot: BTreeMap<WorkerTypeName, Duration>,
    /// The configuration that those failures are about, as a hash per worker type.
    pub(crate) configured: BTreeMap<WorkerTypeName, u64>,
    /// When the running tasks were last read.
    pub(crate) looked_at_running: Option<Timestamp>,
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
    /// A copy of what the ledger holds of what was spent.
    pub(crate) spending: Spending,
    /// What an earlier version kept of it.
    #[serde(skip_serializing)]
    pub(crate) spent: Option<Spent>,
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
        self.unclear.retain(|name, _| self.configured.get(name) == now.get(name));
        self.ended_unclaimed.retain(|_, ended| now.contains_key(&ended.worker_type));
        self.last_taken.retain(|name, _| now.contains_key(name));
        self.usual_boot.retain(|name, _| now.contains_key(name));
        self.configured = now;
        let profiles: BTreeSet<&String> = settings
            .worker_types
            .values()
            .filter_map(|worker_type| worker_type.iam_instance_profile.as_ref())
            .collect();
        self.unknown_profiles.retain(|profile, _| profiles.contains(profile));
    }

    /// Notes that a request of `worker_type` in the pool of this name was fulfilled.
    pub(in crate::engine) fn launch_filled(
        &mut self,
        worker_type: Option<&WorkerTypeName>,
        pool: &Pool,
    ) {
        self.pools.entry(pool.to_string()).or_default().filled();
        if let Some(name) = worker_type {
            self.unclear.remove(name);
        }
    }

    /// What was spent, according to this copy.
    pub(in crate::engine) fn known_spending(&self) -> Spending {
        let mut spending = self.spending.clone();
        if let Some(Spent { counted_to: Some(counted_to), usd }) = self.spent {
            spending.merge(&Spending::of_day(counted_to, usd));
        }
        spending
    }

    /// Every remembered instant that is past by its meaning, and of our own clock.
    pub(in crate::engine) fn instants(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let Self {
            pools,
            unclear,
            breakers,
            unknown_profiles,
            failures,
            ended_unclaimed,
            last_taken,
            usual_boot: _,
            configured: _,
            looked_at_running,
            machines,
            open,
            cancelling,
            fulfilled,
            ended,
            unclaimed_since,
            policies: _,
            // Counted by days.
            spending: _,
            spent: _,
        } = self;
        let unclear = unclear.values_mut().flat_map(BTreeMap::values_mut);
        let cool_downs = unclear.chain(breakers.values_mut()).map(|cool_down| &mut cool_down.last);
        let profiles = unknown_profiles.values_mut();
        let profiles = profiles.flat_map(|profile| [&mut profile.since, &mut profile.last]);
        (pools.values_mut().flat_map(PoolRecord::instants))
            .chain(cool_downs)
            .chain(profiles)
            .chain(failures.values_mut().map(|failures| &mut failures.last))
            .chain(ended_unclaimed.values_mut().map(|ended| &mut ended.at))
            .chain(last_taken.values_mut())
            .chain(looked_at_running.as_mut())
            .chain(machines.values_mut().flat_map(|machine| {
                std::iter::once(&mut machine.first_seen).chain(machine.launched.as_mut())
            }))
            .chain(open.values_mut().filter_map(|open| open.unfillable_since.as_mut()))
            .chain(cancelling.values_mut().map(|cancelling| &mut cancelling.at))
            .chain(fulfilled.values_mut().map(|fulfilled| &mut fulfilled.since))
            .chain(ended.values_mut())
            .chain(unclaimed_since.values_mut())
    }

    /// Forgets refusals of long ago.
    pub(in crate::engine) fn forget_old(&mut self, now: Timestamp) {
        self.pools.values_mut().for_each(|record| record.age(now));
        self.pools.retain(|_, record| !record.is_blank());
        self.breakers.retain(|_, breaker| !breaker.is_forgotten(now));
        for types in self.unclear.values_mut() {
            types.retain(|_, penalty| !penalty.is_forgotten(now));
        }
        self.unclear.retain(|_, types| !types.is_empty());
        self.failures.retain(|_, failures| {
            failures.is_too_many() || clock::age(failures.last, now) < Failures::FORGOTTEN_AFTER
        });
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

    /// A number that changes when something is learned, and not with what every round adds to: further
    /// rounds of machines that are known to be idle, what policies learn from every round, and dollars, which are
    /// counted on from the time that was saved with them.
    #[cfg(any(feature = "aws", test))]
    pub(crate) fn learned(&self) -> u64 {
        let Self {
            pools,
            unclear,
            breakers,
            failures,
            ended_unclaimed,
            // Moves with every task: saved with what else is learned.
            last_taken: _,
            usual_boot: _,
            unknown_profiles,
            configured,
            // Moves with every round.
            looked_at_running: _,
            machines,
            open,
            cancelling,
            fulfilled,
            ended,
            unclaimed_since,
            // Estimates that move a little in every round: saved with what else is learned.
            policies: _,
            spending: _,
            spent: _,
        } = self;
        let mut hasher = DefaultHasher::new();
        for (name, record) in pools {
            (name, record.penalty(), record.is_proven()).hash(&mut hasher);
        }
        (unclear, breakers, failures, unknown_profiles, configured).hash(&mut hasher);
        ended_unclaimed.hash(&mut hasher);
        (open, cancelling, fulfilled, ended, unclaimed_since).hash(&mut hasher);
        for (id, machine) in machines {
            let MachineMemory {
                first_seen,
                launched: _,
                asked: _,
                claimed,
                idle_rounds,
                idle_left: _,
                ran,
                worker_type,
                price,
            } = machine;
            let is_idle = (*idle_rounds > 0, machine.is_known_idle());
            (id, first_seen, claimed, is_idle, ran, worker_type, price).hash(&mut hasher);
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

/// What is known of an instance beyond what EC2 shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MachineMemory {
    /// When we first saw it.
    pub(crate) first_seen: Timestamp,
    /// When EC2 launched it, by our clock, which is set now and then.
    #[serde(default)]
    pub(crate) launched: Option<Timestamp>,
    /// When it was asked for, where its request was seen with it.
    #[serde(default)]
    pub(crate) asked: Option<Timestamp>,
    /// Whether it was ever seen running a task.
    pub(crate) claimed: bool,
    /// In how many rounds running it was known to run none.
    pub(crate) idle_rounds: u32,
    /// For how much longer it must run none to be known idle; `None`: it may run one.
    #[serde(default)]
    pub(crate) idle_left: Option<Duration>,
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
    pub max_price: Option<UsdPerHour>,
    /// When we first saw that it cannot be filled where it is. EC2's own time of the status may move at each
    /// evaluation.
    #[serde(default)]
    pub(crate) unfillable_since: Option<Timestamp>,
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

/// Dollars spent since midnight UTC, as earlier versions kept them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    let name = instance_type.as_str();
    let family: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    let generation = name[family.len()..].chars().next().and_then(|digit| digit.to_digit(10));
    let group = match family.as_str() {
        "g" | "gr" | "vt" => "G and VT",
        // P5 and later have a quota apart from P2 to P4.
        "p" if generation >= Some(5) => "P5",
        "hpc" => "HPC",
        "mac" => "Mac",
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
    fn what_every_round_adds_is_nothing_learned() {
        let machine = |idle_rounds| MachineMemory {
            first_seen: at(0),
            launched: None,
            asked: None,
            claimed: true,
            idle_rounds,
            idle_left: (idle_rounds > 0).then_some(Duration::ZERO),
            ran: true,
            worker_type: None,
            price: None,
        };
        let memory = |idle_rounds, second| Memory {
            machines: BTreeMap::from([(InstanceId::from("i-1"), machine(idle_rounds))]),
            spending: Spending::of_day(at(second), Usd::ZERO),
            ..Memory::default()
        };
        assert_eq!(memory(2, 0).learned(), memory(7, 10).learned());
        assert_ne!(memory(1, 0).learned(), memory(2, 0).learned());
        let mut refused = memory(2, 0);
        refused.pools.entry("pool".to_owned()).or_default().refused("x", at(0));
        assert_ne!(refused.learned(), memory(2, 0).learned());
    }

    #[test]
    fn quotas_are_per_group_of_families() {
        let of = |t: &str| quota("VcpuLimitExceeded", &InstanceType::from(t));
        assert_eq!(of("c7g.large"), of("m5.xlarge"));
        assert_ne!(of("g5.large"), of("m5.xlarge"));
        assert_eq!(of("gr6.4xlarge"), of("vt1.3xlarge"));
        assert_ne!(of("p5.48xlarge"), of("p4d.24xlarge"));
        assert_ne!(of("hpc7a.12xlarge"), of("m5.xlarge"));
        assert_ne!(of("mac2.metal"), of("m5.xlarge"));
    }
}
