//! How long a machine must have been in no running task before it is known to be idle.
//!
//! One answer of the queue is no proof: a queue that restarts reports no running task for some seconds.
//! So idleness is a time, and it is added up from look to look at the running tasks. A look adds the time
//! since the one before, but never more than [`most`](Look::MOST): neither rounds that wake-ups bring
//! sooner nor a clock that is set ahead make a machine idle.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Running;
use crate::engine::state::memory::{MachineMemory, Memory};

/// In how many rounds in a row a machine must be in no running task.
pub(in crate::engine) const IDLE_ROUNDS: u32 = 2;
/// For how long it must be so.
pub(in crate::engine) const IDLE_TIME: Duration = Duration::from_mins(1);
/// For how much longer, if most machines left the running tasks in the same look: that is what a queue
/// looks like that has lost its running tasks for a while.
pub(in crate::engine) const MORE_IDLE_TIME: Duration = Duration::from_mins(1);

/// What one look at the running tasks adds to what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Look {
    /// How much longer the idle machines have been idle.
    elapsed: Duration,
    /// How long a machine must be idle that is so for the first time in this look.
    needed: Duration,
}

impl Look {
    /// The most that one look adds, or the interval between rounds if that is longer.
    const MOST: Duration = Duration::from_secs(30);

    /// Takes in that the running tasks were read.
    pub(in crate::engine) fn new(
        memory: &mut Memory,
        running: &Running,
        interval: Duration,
        now: Timestamp,
    ) -> Self {
        let before = memory.looked_at_running.replace(now);
        let most = interval.max(Self::MOST);
        let elapsed = before.map_or(Duration::ZERO, |before| clock::age(before, now).min(most));
        let needed = match running {
            Running::ByInstance { instances, .. } => {
                let (mut claimed, mut left) = (0_u64, 0_u64);
                // Both are sorted by id: one pass.
                let mut instances = instances.keys().peekable();
                for (id, machine) in &memory.machines {
                    while instances.next_if(|other| *other < id).is_some() {}
                    let runs = instances.next_if(|other| *other == id).is_some();
                    let ran = machine.claimed && machine.idle_rounds == 0;
                    claimed += u64::from(ran);
                    left += u64::from(ran && !runs);
                }
                IDLE_TIME + if 2 * left > claimed { MORE_IDLE_TIME } else { Duration::ZERO }
            }
            Running::Unknown | Running::Counted { .. } => IDLE_TIME,
        };
        Self { elapsed, needed }
    }
}

impl MachineMemory {
    /// It runs a task, or may.
    pub(in crate::engine) fn may_work(&mut self) {
        self.idle_rounds = 0;
        self.idle_left = None;
    }

    /// It was in none of the running tasks.
    pub(in crate::engine) fn runs_nothing(&mut self, look: Look) {
        let left = match self.idle_left {
            // An earlier version counted rounds alone.
            None => look.needed,
            Some(left) => left.saturating_sub(look.elapsed),
        };
        self.idle_left = Some(left);
        self.idle_rounds = self.idle_rounds.saturating_add(1).min(IDLE_ROUNDS);
    }

    /// Whether it has been in no running task for long enough, and in enough rounds.
    pub(in crate::engine) fn is_known_idle(&self) -> bool {
        self.idle_rounds >= IDLE_ROUNDS && self.idle_left == Some(Duration::ZERO)
    }
}
