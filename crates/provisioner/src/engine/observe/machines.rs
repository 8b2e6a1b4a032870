//! Remembers machines from look to look, and what they cost.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::owners::told;
use super::{Settle, Settled, is_no_fault};
use crate::domain::clock;
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::money::Usd;
use crate::domain::observed::{Instance, InstanceState, SpotRequest};
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::memory::{MachineMemory, Spent};

impl Settle<'_> {
    /// Forgets the machines that are gone, and remembers the new ones, in the order and number of
    /// [`Machine::rank`].
    pub(in crate::engine) fn remember_machines(
        &mut self,
        join: &Join<'_>,
        ended_by_us: &BTreeSet<InstanceId>,
        counted_to: Option<Timestamp>,
        settled: &mut Settled,
    ) {
        let now = self.now;
        let mut shown =
            join.instances.iter().filter(|(instance, _)| instance.state.is_live()).peekable();
        let mut new = Vec::new();
        let mut seen =
            |instance: &Instance, request: Option<&SpotRequest>, machine: &mut MachineMemory| {
                // What says whose it is, and what it may cost, may have come to be visible later.
                if machine.worker_type.is_none() {
                    machine.worker_type =
                        told(instance, request, |tags| tags.worker_type.as_ref()).cloned();
                }
                machine.price = machine.price.or_else(|| request?.max_price);
                let ran = instance.state == InstanceState::Running;
                if ran && !machine.ran {
                    settled.came_up.extend(machine.worker_type.clone());
                }
                machine.ran |= ran;
            };
        let machines = &mut self.memory.machines;
        // Both are sorted by id: one pass, in place.
        let is_gone = |id: &InstanceId, machine: &mut MachineMemory| {
            while let Some(first_seen) = shown.next_if(|(instance, _)| instance.id < *id) {
                new.push(first_seen);
            }
            let Some((instance, request)) = shown.next_if(|(it, _)| it.id == *id) else {
                return true;
            };
            seen(instance, *request, machine);
            false
        };
        let gone: Vec<_> = machines.extract_if(.., is_gone).collect();
        new.extend(shown);
        let new = new.into_iter().map(|&(instance, request)| {
            let worker_type = self.worker_type_of(instance, request);
            let ran = instance.state == InstanceState::Running;
            if ran {
                settled.came_up.extend(worker_type.cloned());
            }
            let seen = MachineMemory {
                first_seen: now,
                asked: request.map(|request| request.created),
                claimed: false,
                idle_rounds: 0,
                ran,
                worker_type: worker_type.cloned(),
                price: self.known_price(instance, request),
            };
            (instance.id.clone(), seen)
        });
        let mut new: BTreeMap<_, _> = new.collect();
        self.memory.machines.append(&mut new);

        let mut died: BTreeMap<WorkerTypeName, String> = BTreeMap::new();
        for (id, machine) in gone {
            // It lived on for some of the time since the last look: counted as all of it.
            let from = counted_to.unwrap_or(now).max(clock::last_midnight(now));
            let configured = machine.worker_type.as_ref();
            let configured =
                configured.is_some_and(|it| self.settings.worker_types.contains_key(it));
            let guess = if configured { None } else { self.dearest() };
            if let Some(price) = machine.price.or(guess) {
                self.memory.spent.usd =
                    self.memory.spent.usd.plus(price.over(clock::age(from, now)));
            }
            let request = join.request_of(&id);
            let interrupted = request.is_some_and(|it| is_no_fault(it.status_code.as_str()));
            if let Some(name) = machine.worker_type
                && !machine.ran
                && !interrupted
                && !ended_by_us.contains(&id)
                && self.settings.worker_types.contains_key(&name)
            {
                let text = match request {
                    Some(it) => format!("{id} ended before it ran: {}", it.status_code),
                    None => format!("{id} ended before it ran"),
                };
                died.insert(name, text);
            }
        }
        for (name, text) in died {
            self.memory.launch_failed(&name, text.clone(), now);
            settled.notes.push(Note::about(&name, &MachineNote::InstanceFailed { why: &text }));
        }
    }

    /// Adds what live instances cost since the last observation, at the highest possible price.
    pub(in crate::engine) fn count_spending(&mut self, join: &Join<'_>) {
        let midnight = clock::last_midnight(self.now);
        let spent = &self.memory.spent;
        let (from, mut usd) = match spent.counted_to {
            Some(at) if at >= midnight => (at, spent.usd),
            _ => (midnight, Usd::ZERO),
        };
        // One that was not seen before may have run for as long as describe calls lag.
        let window = self.settings.provisioner.visibility_window;
        let unseen_from = clock::before(from, window).max(midnight);
        let live = join.instances.iter().filter(|(instance, _)| instance.state.is_live());
        for (instance, request) in live {
            if let Some(price) = self.hourly(instance, *request) {
                let is_known = self.memory.machines.contains_key(&instance.id);
                let from = instance.launch_time.max(if is_known { from } else { unseen_from });
                usd = usd.plus(price.over(clock::age(from, self.now)));
            }
        }
        self.memory.spent = Spent { counted_to: Some(self.now), usd };
    }
}
