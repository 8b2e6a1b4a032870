//! The machines and open requests of one owner, and how many machines there are of each class.

mod classing;
mod rules;
mod tally;

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Running;
use crate::engine::state::idleness::Look;
use crate::engine::state::lookup::Lookup;
use crate::engine::state::machine::{Counts, Machine, OpenRequest};
use crate::engine::stop_consent::StopConsent;

use classing::Classing;
use tally::Tally;

pub(in crate::engine) use classing::Startup;
pub(in crate::engine) use rules::Rules;

/// A request is given up this long after its status was first seen to say that it cannot be filled: EC2 updates
/// the status within seconds, and capacity seldom comes back within a quarter of a minute.
pub(in crate::engine) const UNFILLABLE_AFTER: Duration = Duration::from_secs(15);

/// The instances and open requests of one owner.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Group {
    /// Live instances, the oldest first.
    pub(in crate::engine) machines: Vec<Machine>,
    /// Open requests.
    pub(in crate::engine) open: Vec<OpenRequest>,
    /// Counts of both, as of the last recount.
    pub(in crate::engine) counts: Counts,
    /// Startups that ended with a first task since they were last taken.
    started: Vec<Startup>,
}

/// Running tasks as one group sees them.
pub(in crate::engine) struct Claims<'a> {
    pub(in crate::engine) running: &'a Running,
    /// Running tasks of this worker type, as counted.
    pub(in crate::engine) tasks: Option<u64>,
    /// What the running tasks add to what is known of idle machines, if they were read since the last
    /// recount.
    pub(in crate::engine) look: Option<Look>,
    /// Since when tasks have been pending beside machines that look free.
    pub(in crate::engine) unclaimed_since: Option<Timestamp>,
    /// What workers reported of themselves.
    pub(in crate::engine) consent: &'a StopConsent,
}

impl Group {
    /// Takes the startups that ended since the last time.
    pub(in crate::engine) fn take_started(&mut self) -> Vec<Startup> {
        std::mem::take(&mut self.started)
    }

    /// Puts machines and requests in order, once all were added.
    pub(in crate::engine) fn finish(&mut self) {
        self.machines.sort_by(|a, b| (a.launched, &a.id).cmp(&(b.launched, &b.id)));
        self.open.sort_by(|a, b| (a.asked, &a.id).cmp(&(b.asked, &b.id)));
    }

    /// How many machines, the oldest, are `lifetime` old or older.
    pub(in crate::engine) fn n_past(&self, lifetime: Duration, now: Timestamp) -> usize {
        let cut = clock::before(now, lifetime);
        self.machines.partition_point(|machine| machine.launched <= cut)
    }

    /// Classes the machines and counts them. Returns whether one was first seen with a task.
    pub(in crate::engine) fn recount(
        &mut self,
        rules: Rules,
        claims: &Claims<'_>,
        lookup: &mut Lookup<'_>,
        now: Timestamp,
    ) -> bool {
        let per_machine = rules.per_machine();
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
            now,
            stuck,
            excused: if stuck { 0 } else { rules.excused },
            presumed_busy,
            first_claim: false,
        };
        let mut tally = Tally::default();
        for machine in &mut self.machines {
            classing.class(machine, lookup, &mut self.started);
            tally.add(machine, per_machine);
        }
        let n_presumed_busy = presumed_busy
            .map_or(0, |most| most.saturating_sub(classing.presumed_busy.unwrap_or(0)));
        let Tally { mut counts, capable, mut claimed } = tally;
        if presumed_busy.is_some() {
            // Tasks beyond what these machines can run are not on ours: they are claims of machines that
            // are gone, or run on other people's workers. They use no slot of ours.
            claimed = claims.tasks.unwrap_or(0).min(n_presumed_busy * per_machine);
        }
        counts.free_slots = capable.saturating_sub(claimed);
        for request in &self.open {
            match request.price {
                Some(price) => counts.usd = counts.usd.plus(price),
                None => counts.unpriced += 1,
            }
        }
        self.counts = counts;
        classing.first_claim
    }
}
