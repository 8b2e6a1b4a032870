//! Adds machines up by their class, one by one.

use crate::engine::state::machine::{Class, Counts, Machine};

/// What machines come to, one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Tally {
    pub(in crate::engine) counts: Counts,
    /// Tasks that those fit to run any can run at a time.
    pub(in crate::engine) capable: u64,
    /// How many these are known to run.
    pub(in crate::engine) claimed: u64,
}

impl Tally {
    pub(in crate::engine) fn add(&mut self, machine: &Machine, per_machine: u64) {
        let (count, capable, claimed) = self.places(machine, per_machine);
        *count += 1;
        self.capable += capable;
        self.claimed += claimed;
        self.counts.untagged += u64::from(!machine.tagged);
        match machine.price {
            _ if machine.is_leaving() => {}
            Some(price) => self.counts.usd = self.counts.usd.plus(price),
            None => self.counts.unpriced += 1,
        }
    }

    /// Where `machine` is counted, how many tasks it is fit to run, and how many of these it runs.
    fn places(&mut self, machine: &Machine, per_machine: u64) -> (&mut u64, u64, u64) {
        let counts = &mut self.counts;
        if machine.is_leaving() {
            return (&mut counts.leaving, 0, 0);
        }
        let capable = if machine.aged { 0 } else { per_machine };
        match machine.class {
            Class::Booting => (&mut counts.booting, capable, 0),
            Class::Idle => (&mut counts.idle, capable, 0),
            // An aged machine goes on with what it has, and gets no more.
            Class::Busy if machine.aged => (&mut counts.aged, 0, 0),
            // Nor does one that EC2 takes back.
            Class::Busy if machine.noticed => (&mut counts.busy, 0, 0),
            Class::Busy => {
                let tasks = u64::from(machine.tasks);
                (&mut counts.busy, capable, tasks.min(per_machine))
            }
            Class::Unknown => (&mut counts.unknown, 0, 0),
            Class::Overdue => (&mut counts.overdue, 0, 0),
            Class::Aged => (&mut counts.aged, 0, 0),
            Class::Stopping => (&mut counts.stopping, 0, 0),
        }
    }
}
