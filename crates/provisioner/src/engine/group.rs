//! The machines and open requests of one owner, and how many there are of each class.
//!
//! A group is counted as a whole, or only the machines of it that may be otherwise than at the last count:
//! those put in or told of since, those that never ran a task (time alone changes what they are), and those
//! whose `max-lifetime` passed. Both ways come to the same.

mod classing;
mod rules;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Running;
use crate::domain::ids::InstanceId;
use crate::engine::desk::Book;
use crate::engine::index::{Counts, Machine, OpenRequest};
use crate::engine::lookup::Lookup;

use classing::{Classing, Deadline};
use tally::Tally;

pub(super) use classing::Startup;
pub(super) use rules::Rules;

/// A request whose status says that it cannot be filled is given up after this long (interface 6).
pub(super) const UNFILLABLE_AFTER: Duration = Duration::from_secs(30);

/// The instances and open requests of one owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Live instances, the oldest first.
    pub(super) machines: Vec<Machine>,
    /// Open requests.
    pub(super) open: Vec<OpenRequest>,
    /// Counts of both, as of the last recount.
    pub(super) counts: Counts,
    /// Of the machines alone.
    tally: Tally,
    /// When the counts change by the passing of time alone.
    next_change: Option<Timestamp>,
    due: Due,
    /// What the last recount went by, if parts of it can be brought up to date.
    basis: Option<Basis>,
    /// Machines that may be of another class than at the last recount.
    touched: BTreeSet<Seat>,
    /// Machines that were never seen with a task, and when time alone makes another class of them next.
    /// Those without such a time are booted, and share what is excused.
    unclaimed: BTreeMap<Seat, Option<Timestamp>>,
    /// Startups that ended with a first task since they were last taken.
    started: Vec<Startup>,
}

/// Where a machine stands in its group: by its launch, then by its id.
pub(super) type Seat = (Timestamp, InstanceId);

/// Whether a recount is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Due {
    #[default]
    No,
    /// Of the machines that were touched.
    Partly,
    /// Of all.
    Wholly,
}

/// What a recount goes by besides machines and tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Basis {
    /// Without those that are excused: whom that concerns is counted anew in any case.
    rules: Rules,
    at: Timestamp,
}

/// Running tasks as one group sees them.
pub(super) struct Claims<'a> {
    pub(super) running: &'a Running,
    /// Running tasks of this worker type, as counted.
    pub(super) tasks: Option<u64>,
    /// Whether the demand was read anew since the last recount.
    pub(super) fresh: bool,
    /// Whether every machine whose tasks changed since then was [touched](Group::touch).
    pub(super) told: bool,
    /// Whether what is to be looked at again is noted, for a recount of that alone.
    pub(super) follows: bool,
    /// Since when tasks have been pending beside machines that look free.
    pub(super) unclaimed_since: Option<Timestamp>,
    /// What workers said of themselves.
    pub(super) book: &'a Book,
}

impl Group {
    /// Takes the startups that ended since the last time.
    pub(super) fn take_started(&mut self) -> Vec<Startup> {
        std::mem::take(&mut self.started)
    }

    /// Adds nothing, only says that a recount is due.
    pub(super) fn ask_recount(&mut self) {
        if self.due == Due::No {
            self.due = Due::Partly;
        }
    }

    /// Says that all machines are to be counted anew.
    pub(super) fn ask_whole_recount(&mut self) {
        self.due = Due::Wholly;
    }

    /// Puts machines in order after all were added anew.
    pub(super) fn finish(&mut self) {
        self.machines.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        self.finish_open();
        self.due = Due::Wholly;
    }

    /// Puts requests in order after all were added anew.
    pub(super) fn finish_open(&mut self) {
        self.open.sort_by(|a, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
        self.ask_recount();
    }

    fn place(&self, launched: Timestamp, id: &InstanceId) -> Result<usize, usize> {
        self.machines.binary_search_by(|it| (it.launched, &it.id).cmp(&(launched, id)))
    }

    /// Puts a machine in, or another state of it in its place.
    pub(super) fn put(&mut self, machine: Machine) {
        let seat = (machine.launched, machine.id.clone());
        match self.place(machine.launched, &machine.id) {
            Ok(place) => {
                let before = std::mem::replace(&mut self.machines[place], machine);
                self.uncount(&before);
            }
            Err(place) => self.machines.insert(place, machine),
        }
        self.touched.insert(seat);
        self.ask_recount();
    }

    /// Takes a machine out.
    pub(super) fn remove(&mut self, seat: &Seat) {
        if let Ok(place) = self.place(seat.0, &seat.1) {
            let machine = self.machines.remove(place);
            self.uncount(&machine);
            self.touched.remove(seat);
            self.unclaimed.remove(seat);
            self.ask_recount();
        }
    }

    fn uncount(&mut self, machine: &Machine) {
        if let Some(basis) = self.basis.filter(|_| machine.counted.is_some()) {
            self.tally.take(machine, basis.rules.per_machine());
        }
    }

    /// The tasks of a machine changed.
    pub(super) fn touch(&mut self, seat: Seat) {
        self.touched.insert(seat);
    }

    /// Whether a recount is due.
    pub(super) fn is_due(&self, fresh_claims: bool, now: Timestamp) -> bool {
        self.due != Due::No
            || (fresh_claims && !self.machines.is_empty())
            || self.next_change.is_some_and(|at| at <= now)
    }

    /// When the counts change by the passing of time alone.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.next_change
    }

    /// Which machines a recount must look at, by place; `None`: all.
    fn in_question(&self, basis: Basis, claims: &Claims<'_>) -> Option<Vec<usize>> {
        let before = self.basis.filter(|before| {
            let known = matches!(claims.running, Running::ByInstance { .. });
            let alike = before.rules == basis.rules && before.at <= basis.at;
            known && alike && (claims.told || !claims.fresh) && self.due != Due::Wholly
        })?;
        let due = self.unclaimed.iter().filter(|(_, at)| at.is_none_or(|at| at <= basis.at));
        let mut places: Vec<usize> = self
            .touched
            .iter()
            .chain(due.map(|(seat, _)| seat))
            .filter_map(|(launched, id)| self.place(*launched, id).ok())
            .collect();
        for lifetime in basis.rules.lifetimes() {
            let past = |now: Timestamp| self.n_past(lifetime, now);
            places.extend(past(before.at)..past(basis.at));
        }
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// How many machines, the oldest, are `lifetime` old or older.
    pub(super) fn n_past(&self, lifetime: Duration, now: Timestamp) -> usize {
        let cut = clock::before(now, lifetime);
        // Mostly none is, and the others need not be looked at.
        if self.machines.first().is_none_or(|oldest| oldest.launched > cut) {
            return 0;
        }
        self.machines.partition_point(|machine| machine.launched <= cut)
    }

    /// Classes the machines in question and counts all. Returns whether one was first seen with a task.
    pub(super) fn recount(
        &mut self,
        rules: Rules,
        claims: &Claims<'_>,
        lookup: &mut Lookup<'_>,
        now: Timestamp,
    ) -> bool {
        let basis = Basis { rules: Rules { excused: 0, ..rules }, at: now };
        let per_machine = rules.per_machine();
        let places = self.in_question(basis, claims);
        let partly = places.is_some();
        if !partly {
            self.tally = Tally::default();
            self.unclaimed.clear();
        }
        self.touched.clear();
        let stuck_at = claims.unclaimed_since.map(|since| clock::after(since, rules.claim_grace));
        let stuck = stuck_at.is_some_and(|at| at <= now);
        // Without ids, running tasks are presumed to be on the oldest machines.
        let presumed_busy = match claims.running {
            Running::ByInstance { .. } => None,
            Running::Unknown | Running::Counted { .. } => {
                claims.tasks.map(|tasks| tasks.div_ceil(per_machine))
            }
        };
        let mut classing = Classing {
            rules,
            claims,
            deadline: Deadline { now, next: None },
            stuck,
            excused: if stuck { 0 } else { rules.excused },
            presumed_busy,
            first_claim: false,
        };
        let follows = claims.follows;
        let whole = 0..if partly { 0 } else { self.machines.len() };
        for place in places.into_iter().flatten().chain(whole) {
            let machine = &mut self.machines[place];
            if partly && machine.counted.is_some() {
                self.tally.take(machine, per_machine);
            }
            let sight = classing.class(machine, lookup, &mut self.started);
            self.tally.add(machine, per_machine);
            if follows {
                let seat = (machine.launched, machine.id.clone());
                if sight.settling {
                    self.touched.insert(seat.clone());
                }
                if sight.unclaimed {
                    self.unclaimed.insert(seat, sight.next_change);
                } else if partly {
                    self.unclaimed.remove(&seat);
                }
            }
        }
        let Classing { mut deadline, first_claim, .. } = classing;
        let n_presumed_busy = presumed_busy
            .map_or(0, |most| most.saturating_sub(classing.presumed_busy.unwrap_or(0)));
        let Tally { mut counts, capable, mut claimed } = self.tally;
        if presumed_busy.is_some() {
            // Tasks beyond what these machines can run are on none of ours: claims of machines that are
            // gone, or other people's workers. They take no machine's credit.
            claimed = claims.tasks.unwrap_or(0).min(n_presumed_busy * per_machine);
        }
        counts.free_slots = capable.saturating_sub(claimed);
        for request in &self.open {
            match request.price {
                Some(price) => counts.usd = counts.usd.plus(price),
                None => counts.unpriced += 1,
            }
            deadline.watch(clock::after(request.status_since, UNFILLABLE_AFTER));
        }
        let unclaimed =
            if partly { self.unclaimed.values().copied().flatten().min() } else { None };
        stuck_at.into_iter().chain(unclaimed).for_each(|at| deadline.watch(at));
        for lifetime in rules.lifetimes() {
            if let Some(next) = self.machines.get(self.n_past(lifetime, now)) {
                deadline.watch(clock::after(next.launched, lifetime));
            }
        }
        self.counts = counts;
        self.next_change = deadline.next;
        self.due = Due::No;
        let known = matches!(claims.running, Running::ByInstance { .. });
        self.basis = (follows && known).then_some(basis);
        first_claim
    }

    /// Whether another recount comes to the same until [`next_change`](Self::next_change).
    pub(super) fn is_settled(&self) -> bool {
        self.touched.is_empty()
            && self.due == Due::No
            && self.counts.untagged == 0
            && (self.basis.is_some() || self.machines.is_empty())
    }
}
