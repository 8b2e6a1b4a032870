//! The places in which a worker type may launch, and what is remembered of refusals there.
//!
//! A refusal is remembered where it belongs: against the pool (an instance type in a zone), against the pool
//! seen from one subnet, against a quota, or against an instance type under one worker type's configuration.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::cool_down::CoolDown;
use crate::domain::ids::{InstanceType, SubnetId, WorkerTypeName};
use crate::domain::launch::{LaunchCall, Pool, ResolvedPlacement, ResolvedWorkerType};
use crate::domain::refusal::RefusalClass;
use crate::engine::Resolved;
use crate::engine::state::memory::{Memory, quota};
use crate::settings::{Settings, WorkerType};

/// An instance type in a zone or subnet.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::engine) struct Placement {
    pub(in crate::engine) instance_type: InstanceType,
    pub(in crate::engine) placement: ResolvedPlacement,
}

impl Placement {
    /// The names under which refusals are remembered: the pool, and the pool seen from the subnet.
    pub(in crate::engine) fn names(&self) -> impl Iterator<Item = String> {
        let pool = self.pool();
        let subnet = self.placement.subnet.as_ref().map(|subnet| in_subnet(&pool, subnet));
        std::iter::once(pool.to_string()).chain(subnet)
    }

    /// The name of the place itself.
    pub(in crate::engine) fn name(&self) -> String {
        place_name(&self.pool(), self.placement.subnet.as_ref())
    }

    /// Whether `call` launches here.
    pub(in crate::engine) fn is_of(&self, call: &LaunchCall) -> bool {
        self.instance_type == call.instance_type
            && self.placement.zone == call.zone
            && self.placement.subnet == call.subnet
    }

    pub(in crate::engine) fn pool(&self) -> Pool {
        Pool { instance_type: self.instance_type.clone(), zone: self.placement.zone.clone() }
    }

    /// The longest penalty of the place for this worker type, if there is one now.
    pub(in crate::engine) fn penalty<'m>(
        &self,
        worker_type: &WorkerTypeName,
        memory: &'m Memory,
        now: Timestamp,
    ) -> Option<&'m CoolDown> {
        let pools = self.names().filter_map(|name| memory.pools.get(&name)?.penalty());
        let unclear = memory.unclear.get(worker_type);
        let unclear = unclear.and_then(|types| types.get(&self.instance_type));
        pools.chain(unclear).filter(|penalty| now < penalty.until()).max_by_key(|it| it.until())
    }

    /// Whether nothing speaks against launching here: it did not refuse lately, and its quota is not used up.
    pub(in crate::engine) fn is_open(
        &self,
        worker_type: &WorkerTypeName,
        memory: &Memory,
        now: Timestamp,
    ) -> bool {
        breaker(&self.instance_type, memory, now).is_none()
            && self.penalty(worker_type, memory, now).is_none()
    }
}

/// Returns all places of a worker type in order of preference: by type first, then by zone. Types that a zone
/// does not offer are not asked for there.
pub(in crate::engine) fn all(
    worker_type: &WorkerType,
    resolved: &ResolvedWorkerType,
) -> Vec<Placement> {
    let of_type = |instance_type: &InstanceType| {
        let instance_type = instance_type.clone();
        let offers =
            |placement: &&ResolvedPlacement| !placement.not_offered.contains(&instance_type);
        let placements = resolved.placements.iter().filter(offers);
        let placements = placements.map(|placement| Placement {
            instance_type: instance_type.clone(),
            placement: placement.clone(),
        });
        placements.collect::<Vec<_>>()
    };
    worker_type.instance_types.iter().flat_map(of_type).collect()
}

/// Returns all places of the worker type of this name; none if what it names in AWS is not known.
pub(in crate::engine) fn of(
    name: &WorkerTypeName,
    settings: &Settings,
    resolved: &Resolved,
) -> Vec<Placement> {
    match (settings.worker_types.get(name), resolved.get(name)) {
        (Some(worker_type), Some(Ok(resolved))) => all(worker_type, resolved),
        _ => Vec::new(),
    }
}

/// The name of a pool seen from one subnet, for refusals that concern the subnet alone.
pub(in crate::engine) fn in_subnet(pool: &Pool, subnet: &SubnetId) -> String {
    format!("{pool}, {subnet}")
}

/// The name of a place: the pool, seen from the subnet where one is named.
pub(in crate::engine) fn place_name(pool: &Pool, subnet: Option<&SubnetId>) -> String {
    subnet.map_or_else(|| pool.to_string(), |subnet| in_subnet(pool, subnet))
}

/// The breaker of the quota that `instance_type` is under, if the quota is used up.
pub(in crate::engine) fn breaker<'m>(
    instance_type: &InstanceType,
    memory: &'m Memory,
    now: Timestamp,
) -> Option<(&'m String, &'m CoolDown)> {
    memory.breakers.iter().find(|(name, breaker)| {
        now < breaker.until() && **name == quota(&breaker.code, instance_type)
    })
}

/// A launching call that was refused, or a request of it that ended without an instance.
pub(in crate::engine) struct RefusedLaunch<'a> {
    pub(in crate::engine) worker_type: &'a WorkerTypeName,
    pub(in crate::engine) pool: &'a Pool,
    pub(in crate::engine) subnet: Option<&'a SubnetId>,
    pub(in crate::engine) class: RefusalClass,
    pub(in crate::engine) code: &'a str,
    pub(in crate::engine) text: String,
    /// All places of the worker type.
    pub(in crate::engine) places: &'a [Placement],
    /// Whether it took a request that waited to learn of it.
    pub(in crate::engine) waited: bool,
    /// When it was asked for.
    pub(in crate::engine) asked: Timestamp,
}

/// After so many instance types were refused for an unclear reason, it is the worker type's configuration.
const MOST_UNCLEAR: usize = 5;

impl Memory {
    /// Remembers a refusal where it belongs. Returns whether it counts as a failed launch of the worker type.
    pub(in crate::engine) fn launch_refused(
        &mut self,
        refused: &RefusedLaunch<'_>,
        now: Timestamp,
    ) -> bool {
        use RefusalClass as C;
        let RefusedLaunch { worker_type, pool, subnet, code, places, .. } = *refused;
        let is_failure = match refused.class {
            C::NoCapacity => {
                let record = self.pools.entry(pool.to_string()).or_default();
                if refused.waited {
                    record.refused_after_wait(code, places.len(), now);
                } else {
                    record.refused(code, now);
                }
                false
            }
            C::NoFreeAddresses => {
                let record = self.pools.entry(place_name(pool, subnet)).or_default();
                record.refused(code, now);
                false
            }
            C::UnsuitablePlace => {
                let record = self.pools.entry(place_name(pool, subnet)).or_default();
                record.unsuitable(code, places.len(), now);
                // Where EC2 chooses the zone, it may choose another one the next time.
                pool.zone.is_some() && self.every_place_is_unsuitable(places, now)
            }
            C::Unclear => {
                let types = self.unclear.entry(worker_type.clone()).or_default();
                let strike = CoolDown::strike(types.get(&pool.instance_type), code, now);
                types.insert(pool.instance_type.clone(), strike.outlasting_tour(places.len()));
                let mut all: Vec<_> = places.iter().map(|place| &place.instance_type).collect();
                all.sort();
                all.dedup();
                types.len() >= all.len().clamp(1, MOST_UNCLEAR)
            }
            C::Quota => {
                self.strike_quota(code, &pool.instance_type, now);
                false
            }
            C::NotFound | C::Invalid | C::Unauthorized => true,
            C::Throttled | C::UnknownProfile | C::IdempotentMismatch | C::Transient => false,
        };
        if is_failure {
            self.launch_failed(worker_type, refused.asked, refused.text.clone(), now);
        }
        is_failure
    }

    fn every_place_is_unsuitable(&self, places: &[Placement], now: Timestamp) -> bool {
        !places.is_empty()
            && places.iter().all(|place| {
                let mut penalties =
                    place.names().filter_map(|name| self.pools.get(&name)?.penalty());
                penalties.any(|penalty| penalty.unsuitable && now < penalty.until())
            })
    }
}

/// Returns until when nothing is launched with the worker type's instance profile, if EC2 does not know it.
pub(in crate::engine) fn profile_held_until<'w>(
    worker_type: &'w WorkerType,
    memory: &Memory,
    interval: Duration,
    now: Timestamp,
) -> Option<(&'w String, Timestamp)> {
    let profile = worker_type.iam_instance_profile.as_ref()?;
    let until = memory.unknown_profiles.get(profile)?.held_until(interval, now)?;
    Some((profile, until))
}
