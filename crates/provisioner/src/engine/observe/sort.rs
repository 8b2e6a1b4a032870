//! Sorts instances by their owner.

use std::collections::HashMap;

use super::owners::Owner;
use super::{Reconcile, Reconciled};
use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{InstanceType, WorkerTypeName, Zone};
use crate::domain::launch::Pool;
use crate::domain::observed::{Instance, InstanceState, SpotRequest};
use crate::engine::observe::join::Join;
use crate::engine::state::group::Group;
use crate::engine::state::index::Index;
use crate::engine::state::machine::{Class, Machine};

/// Where an instance belongs in the index.
enum Home<'o> {
    Type(&'o WorkerTypeName),
    Nowhere,
    Disputed,
    Retired(&'o WorkerTypeName),
    Unresolved,
    Strays,
}

/// Finds an instance's place in [`Index::pools`].
struct PoolPlaces<'p, 'o> {
    pools: &'p mut Vec<Pool>,
    known: HashMap<(&'o InstanceType, &'o Option<Zone>), usize>,
}

impl<'o> PoolPlaces<'_, 'o> {
    fn of(&mut self, instance: &'o Instance) -> usize {
        let Instance { instance_type, zone, .. } = instance;
        let pools = &mut *self.pools;
        *self.known.entry((instance_type, zone)).or_insert_with(|| {
            let is_it = |pool: &Pool| pool.instance_type == *instance_type && pool.zone == *zone;
            pools.iter().position(is_it).unwrap_or_else(|| {
                pools.push(Pool { instance_type: instance_type.clone(), zone: zone.clone() });
                pools.len() - 1
            })
        })
    }
}

impl Reconcile<'_> {
    /// Sorts every instance into the index.
    pub(super) fn sort_instances(&self, join: &Join<'_>, reconciled: &mut Reconciled) {
        let Index { types, retired, strays, unresolved, disputed, odd, pools, .. } =
            &mut reconciled.index;
        let mut pool_places = PoolPlaces { pools, known: HashMap::new() };
        let mut types: HashMap<&WorkerTypeName, &mut Group> = types.iter_mut().collect();
        let mut n_live = 0;
        for &(instance, request) in &join.instances {
            let Some((machine, home)) = self.sort(instance, request, &mut pool_places, odd) else {
                continue;
            };
            let machine = Machine { rank: n_live, ..machine };
            n_live += usize::from(instance.state.is_live());
            match home {
                Home::Type(name) => {
                    if let Some(group) = types.get_mut(name) {
                        group.machines.push(machine);
                    }
                }
                Home::Nowhere => {}
                Home::Disputed => disputed.push(machine),
                Home::Retired(name) => {
                    retired.entry(name.clone()).or_default().machines.push(machine);
                }
                Home::Unresolved => unresolved.push(machine),
                Home::Strays => strays.machines.push(machine),
            }
        }
    }

    /// The machine that `instance` is to us, and where it belongs; `None` if it is gone.
    fn sort<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
        pool_places: &mut PoolPlaces<'_, 'o>,
        odd: &mut Vec<String>,
    ) -> Option<(Machine, Home<'o>)> {
        if instance.state == InstanceState::Terminated {
            return None;
        }
        let leaving = !instance.state.is_live() || self.memory.ended.contains_key(&instance.id);
        if let InstanceState::Unrecognised(state) = &instance.state {
            odd.push(format!("{} is `{state}`", instance.id));
        }
        let tags = &instance.tags;
        let tagged = tags.key_name.is_some() && tags.worker_type.is_some();
        // It is needed for the tags, and for the tokens of workers that ask.
        let intent = if tagged && self.settings.server.workers.is_none() {
            None
        } else {
            self.intent_of(instance, request).cloned()
        };
        // An instance without a request id is matched by the request that names it. Prices are per
        // platform; we fetch Linux prices only.
        let is_spot = instance.spot_request.is_some() || request.is_some();
        let priced = is_spot && instance.other_platform.is_none();
        let machine = Machine {
            id: instance.id.clone(),
            rank: 0,
            pool: priced.then(|| pool_places.of(instance)),
            state: if leaving { InstanceState::ShuttingDown } else { instance.state.clone() },
            launched: self.launched(instance),
            price: self.hourly(instance, request),
            intent,
            addresses: if self.settings.server.workers.is_some() {
                instance.addresses.clone()
            } else {
                Vec::new()
            },
            volumes: if tagged { Vec::new() } else { instance.volumes.clone() },
            request: instance.spot_request.clone().or_else(|| Some(request?.id.clone())),
            tagged,
            noticed: request.is_some_and(SpotRequest::has_notice),
            class: Class::default(),
            positively_idle: false,
            agreed: false,
            aged: false,
            tasks: 0,
        };
        let home = self.home(instance, self.owner_of(instance, request), leaving);
        Some((machine, home))
    }

    /// When an instance was launched, by our clock: it is as old as it was when first seen, and what passed
    /// since. A clock that is ahead for some rounds makes no machine too old.
    fn launched(&self, instance: &Instance) -> Timestamp {
        let known = self.memory.machines.get(&instance.id).and_then(|machine| machine.launched);
        known.unwrap_or_else(|| self.by_our_clock(instance.launch_time))
    }

    /// Where an instance of this owner belongs.
    fn home<'o>(&self, instance: &Instance, owner: Owner<'o>, leaving: bool) -> Home<'o> {
        let window = self.settings.provisioner.visibility_window;
        match owner {
            Owner::Type(name) => Home::Type(name),
            // No maximum counts these until they are gone.
            _ if leaving => Home::Nowhere,
            Owner::Disputed => Home::Disputed,
            Owner::Retired(name) => Home::Retired(name),
            // Its request, or our tags on it, may not be visible yet, or not any more: only after the window
            // is it a stray.
            Owner::Stray
                if instance.spot_request.is_some()
                    && self.now < clock::after(self.launched(instance), window) =>
            {
                Home::Unresolved
            }
            Owner::Stray => Home::Strays,
        }
    }
}
