//! Remembers machines from observation to observation, and adds up what they cost.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::owners::first_tag;
use super::{Reconcile, Reconciled, is_no_fault};
use crate::domain::clock;
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::money::Usd;
use crate::domain::observed::{EndedBy, Instance, InstanceState, SpotRequest, StateReason};
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::failures::EndedUnclaimed;
use crate::engine::state::memory::MachineMemory;

/// Machines that this observation shows for the first time, and those that it no longer shows.
struct Turnover<'o> {
    new: Vec<(&'o Instance, Option<&'o SpotRequest>)>,
    gone: Vec<(InstanceId, MachineMemory)>,
}

impl Reconcile<'_> {
    /// Forgets the machines that are gone, and remembers the new ones, in the order and number of
    /// [`Machine::rank`](crate::engine::state::machine::Machine::rank).
    pub(super) fn remember_machines(
        &mut self,
        join: &Join<'_>,
        ended_by_us: &BTreeSet<InstanceId>,
        counted_from: Timestamp,
        reconciled: &mut Reconciled,
    ) {
        let Turnover { new, gone } = self.update_known(join);
        let new = new.into_iter().map(|(instance, request)| {
            let worker_type = self.worker_type_of(instance, request);
            let first_seen = MachineMemory {
                first_seen: self.now,
                launched: Some(self.by_our_clock(instance.launch_time)),
                asked: request.map(|request| request.created),
                claimed: false,
                idle_rounds: 0,
                idle_left: None,
                ran: instance.state == InstanceState::Running,
                worker_type: worker_type.cloned(),
                price: self.known_price(instance, request),
            };
            (instance.id.clone(), first_seen)
        });
        let mut new: BTreeMap<_, _> = new.collect();
        self.memory.machines.append(&mut new);

        let mut failed: BTreeMap<WorkerTypeName, String> = BTreeMap::new();
        for (id, machine) in gone {
            self.count_last_hours(&machine, counted_from);
            if ended_by_us.contains(&id) {
                continue;
            }
            if let Some((name, text)) = self.machine_is_gone(id, machine, join) {
                failed.insert(name, text);
            }
        }
        for (name, text) in failed {
            let note = MachineNote::InstanceFailed { why: &text };
            reconciled.notes.push(Note::about(&name, &note));
        }
    }

    /// Updates what is remembered of the machines that are still there.
    fn update_known<'o>(&mut self, join: &Join<'o>) -> Turnover<'o> {
        let mut live = join
            .instances
            .iter()
            .copied()
            .filter(|(instance, _)| instance.state.is_live())
            .peekable();
        let mut new = Vec::new();
        // Both are sorted by id: one pass, in place.
        let is_gone = |id: &InstanceId, machine: &mut MachineMemory| {
            while let Some(first_seen) = live.next_if(|(instance, _)| instance.id < *id) {
                new.push(first_seen);
            }
            let Some((instance, request)) = live.next_if(|(instance, _)| instance.id == *id) else {
                return true;
            };
            // The tags that name the owner, and the price, may have become visible only now.
            if machine.worker_type.is_none() {
                let tag = first_tag(instance, request, |tags| tags.worker_type.as_ref());
                machine.worker_type = tag.cloned();
            }
            machine.price = machine.price.or_else(|| request?.max_price);
            machine.ran |= instance.state == InstanceState::Running;
            false
        };
        let gone = self.memory.machines.extract_if(.., is_gone).collect();
        new.extend(live);
        Turnover { new, gone }
    }

    /// Counts what a machine that is gone may have cost since the last observation: it lived on for some of
    /// that time, and is counted for all of it.
    fn count_last_hours(&mut self, machine: &MachineMemory, counted_from: Timestamp) {
        let name = machine.worker_type.as_ref();
        let configured = name.is_some_and(|name| self.settings.worker_types.contains_key(name));
        let guess = if configured { None } else { self.dearest() };
        if let Some(price) = machine.price.or(guess) {
            let usd = price.over(clock::age(counted_from, self.now));
            self.ledger.spending.add(usd, self.now);
        }
    }

    /// Takes in that a machine is gone which we did not end. Returns its worker type and EC2's words if that is a
    /// failed launch.
    pub(super) fn machine_is_gone(
        &mut self,
        id: InstanceId,
        machine: MachineMemory,
        join: &Join<'_>,
    ) -> Option<(WorkerTypeName, String)> {
        let name = machine.worker_type?;
        if machine.claimed || !self.settings.worker_types.contains_key(&name) {
            return None;
        }
        let instance = join.instance(&id);
        let request = join.request_of(&id);
        let reason = instance.and_then(|instance| instance.state_reason.as_ref());
        let when = if machine.ran { "without a task seen on it" } else { "before it ran" };
        let said = match (reason, request) {
            (Some(reason), _) => format!(": {reason}"),
            (None, Some(request)) => format!(": {}", request.status_code),
            (None, None) => String::new(),
        };
        let text = format!("{id} ended {when}{said}");
        let launched = machine.launched.unwrap_or_else(|| {
            instance.map_or(machine.first_seen, |it| self.by_our_clock(it.launch_time))
        });
        let interrupted = request.is_some_and(SpotRequest::has_notice);
        match reason.map(StateReason::ended_by) {
            Some(EndedBy::WrongLaunch) => {
                self.memory.launch_failed(&name, launched, text.clone(), self.now);
                Some((name, text))
            }
            Some(EndedBy::Ec2) => {
                let code = reason.map_or("", |reason| reason.code.as_str());
                if let Some(instance) = instance {
                    let pool = Pool {
                        instance_type: instance.instance_type.clone(),
                        zone: instance.zone.clone(),
                    };
                    self.memory.pools.entry(pool.to_string()).or_default().refused(code, self.now);
                }
                None
            }
            Some(EndedBy::User | EndedBy::Interruption) => None,
            None if interrupted
                || request.is_some_and(|it| is_no_fault(it.status_code.as_str()))
                    && !machine.ran =>
            {
                None
            }
            None if !machine.ran => {
                self.memory.launch_failed(&name, launched, text.clone(), self.now);
                Some((name, text))
            }
            // Whether a task ran on it unseen, the queue's next answer tells.
            Some(EndedBy::Itself) | None => {
                let ended = EndedUnclaimed { worker_type: name, launched, at: self.now, text };
                self.memory.ended_unclaimed.insert(id, ended);
                None
            }
        }
    }

    /// Adds what live instances cost since the last observation, at the highest possible price. Returns since
    /// when that is.
    ///
    /// If all that was counted before is lost, what EC2 still shows of the day counts, ended instances too: the
    /// least that was spent.
    pub(super) fn count_spending(&mut self, join: &Join<'_>) -> Timestamp {
        let now = self.now;
        let midnight = clock::last_midnight(now);
        let is_lost = self.ledger.spending.is_unknown();
        let counted_from = self.ledger.spending.begin(now);
        // An instance that was not seen before may have run for as long as describe calls lag.
        let window = self.settings.provisioner.visibility_window;
        let unseen_from = clock::before(counted_from, window).max(midnight);
        let mut usd = Usd::ZERO;
        for (instance, request) in &join.instances {
            if !is_lost && !instance.state.is_live() {
                continue;
            }
            if let Some(price) = self.hourly(instance, *request) {
                let is_known = self.memory.machines.contains_key(&instance.id);
                let from = if is_known { counted_from } else { unseen_from };
                let from = instance.launch_time.max(from);
                usd = usd.plus(price.over(clock::age(from, now)));
            }
        }
        self.ledger.spending.add(usd, now);
        if is_lost && !join.instances.is_empty() {
            self.ledger.spending.is_lower_bound_from(now);
        }
        counted_from
    }
}
