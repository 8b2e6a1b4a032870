//! Sorts instances by whose they are: all that are shown, or those that changed in among the rest.

use std::collections::HashMap;

use super::{Settle, Settled};
use crate::clock;
use crate::engine::group::Group;
use crate::engine::index::{Class, Index, Machine};
use crate::engine::join::Join;
use crate::engine::standing::GroupName;
use crate::ids::{InstanceType, WorkerTypeName, Zone};
use crate::launch::Pool;
use crate::observed::{Instance, InstanceState, SpotRequest};

/// An instance, and what decides where it belongs.
struct Sorted<'o> {
    machine: Machine,
    worker_type: Option<&'o WorkerTypeName>,
    /// It carries another key-name.
    disputes: bool,
}

/// Where an instance belongs that is of no configured worker type.
enum Home<'o> {
    Nowhere,
    Disputed,
    Retired(&'o WorkerTypeName),
    Unresolved,
    Strays,
}

/// Finds [`Index::pools`].
struct Places<'p, 'o> {
    pools: &'p mut Vec<Pool>,
    known: HashMap<(&'o InstanceType, &'o Option<Zone>), usize>,
}

impl<'o> Places<'_, 'o> {
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

impl Settle<'_> {
    /// Sorts every instance shown.
    pub(super) fn sort_instances(&self, join: &Join<'_>, settled: &mut Settled) {
        let Index { types, retired, strays, unresolved, disputed, odd, pools, recheck, .. } =
            &mut settled.index;
        let mut places = Places { pools, known: HashMap::new() };
        let mut types: HashMap<&WorkerTypeName, &mut Group> = types.iter_mut().collect();
        let mut n_live = 0;
        for &(instance, request) in &join.instances {
            let Some(sorted) = self.sort(instance, request, &mut places, odd) else { continue };
            let machine = Machine { rank: n_live, ..sorted.machine };
            n_live += usize::from(instance.state.is_live());
            if instance.launch_time > self.now {
                recheck.insert(instance.id.clone());
            }
            let configured = sorted.worker_type.and_then(|name| types.get_mut(name));
            if let Some(group) = configured.filter(|_| !sorted.disputes) {
                group.machines.push(machine);
                continue;
            }
            match self.home(instance, sorted.worker_type, sorted.disputes, machine.is_leaving()) {
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

    /// Sorts the instances shown in among those that stand where they did, and takes out what is gone.
    pub(super) fn resort_instances(&self, join: &Join<'_>, settled: &mut Settled) {
        let index = &mut settled.index;
        let mut pools = std::mem::take(&mut index.pools);
        let mut places = Places { pools: &mut pools, known: HashMap::new() };
        for &(instance, request) in &join.instances {
            let id = &instance.id;
            let Some(sorted) = self.sort(instance, request, &mut places, &mut index.odd) else {
                index.leave(id);
                continue;
            };
            if instance.launch_time > self.now {
                index.recheck.insert(id.clone());
            }
            let Sorted { machine, worker_type, disputes } = sorted;
            let configured =
                worker_type.filter(|name| !disputes && index.types.contains_key(*name));
            if let Some(name) = configured {
                index.stand(GroupName::Type(name.clone()), machine);
                continue;
            }
            match self.home(instance, worker_type, disputes, machine.is_leaving()) {
                Home::Nowhere => index.leave(id),
                Home::Retired(name) => index.stand(GroupName::Retired(name.clone()), machine),
                Home::Disputed => {
                    index.leave(id);
                    index.disputed.push(machine);
                }
                Home::Unresolved => {
                    index.leave(id);
                    index.unresolved.push(machine);
                }
                Home::Strays => {
                    index.leave(id);
                    index.strays.machines.push(machine);
                }
            }
        }
        index.pools = pools;
    }

    /// What `instance` is to us; `None`: it is gone.
    fn sort<'o>(
        &'o self,
        instance: &'o Instance,
        request: Option<&'o SpotRequest>,
        places: &mut Places<'_, 'o>,
        odd: &mut Vec<String>,
    ) -> Option<Sorted<'o>> {
        if instance.state == InstanceState::Terminated {
            return None;
        }
        let leaving = !instance.state.is_live() || self.memory.ended.contains_key(&instance.id);
        if let InstanceState::Unrecognised(state) = &instance.state {
            odd.push(format!("{} is `{state}`", instance.id));
        }
        let granted = self.granted_of(instance);
        let tags = &instance.tags;
        let of_request = request.map(|request| &request.tags);
        let key_name =
            tags.key_name.as_ref().or_else(|| of_request.and_then(|it| it.key_name.as_ref()));
        let worker_type = self.worker_type_of(instance, request);
        let tagged = tags.key_name.is_some() && tags.worker_type.is_some();
        // For the tags, and for what workers show when they ask.
        let intent = if tagged && self.settings.server.workers.is_none() {
            None
        } else {
            tags.intent
                .as_ref()
                .or_else(|| of_request.and_then(|it| it.intent.as_ref()))
                .or_else(|| granted.map(|granted| &granted.token))
                .cloned()
        };
        let disputes = key_name.is_some_and(|name| name != self.key_name);
        let price = match worker_type.filter(|_| !disputes) {
            Some(_) => self.hourly(instance, request),
            // Not of our making: as dear as the dearest of ours.
            None => self.asked_price(instance, request).or_else(|| self.dearest()),
        };
        // A pool has a price for each platform; ours are those of plain Linux.
        let priced = instance.spot_request.is_some() && instance.other_platform.is_none();
        let machine = Machine {
            id: instance.id.clone(),
            rank: 0,
            pool: priced.then(|| places.of(instance)),
            state: if leaving { InstanceState::ShuttingDown } else { instance.state.clone() },
            launched: instance.launch_time,
            price,
            intent,
            tagged,
            class: Class::default(),
            positively_idle: false,
            agreed: false,
            aged: false,
            counted: None,
        };
        Some(Sorted { machine, worker_type, disputes })
    }

    /// Where an instance goes that is of no configured worker type.
    fn home<'o>(
        &self,
        instance: &Instance,
        worker_type: Option<&'o WorkerTypeName>,
        disputes: bool,
        leaving: bool,
    ) -> Home<'o> {
        let window = self.settings.provisioner.visibility_window;
        if leaving {
            // No maximum waits for these to be gone.
            Home::Nowhere
        } else if disputes {
            Home::Disputed
        } else if let Some(name) = worker_type {
            Home::Retired(name)
        } else if instance.spot_request.is_some()
            && self.now < clock::after(instance.launch_time, window)
        {
            // Its request, or our tags on that, are not visible yet, or not any more: it is nobody's
            // only after the window.
            Home::Unresolved
        } else {
            Home::Strays
        }
    }
}
