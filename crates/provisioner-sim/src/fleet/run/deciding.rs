//! What a round sees, and what it does.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::policy::Situation;

use super::{Fleet, Look};
use crate::fleet::bounds::millis;
use crate::fleet::world::Knowledge;

/// Between two questions of an idle worker: as `examples/should-stop.sh` asks. In milliseconds.
const ASKS_EVERY: u64 = 30_000;

impl Fleet<'_> {
    pub(super) fn look(&mut self) -> Look {
        let boot_timeout = millis(self.setup.boot_timeout);
        while let Some(machine) = self.young.front().copied() {
            let it = &mut self.machines[machine];
            if it.young && it.billed + boot_timeout > self.now {
                break;
            }
            if std::mem::take(&mut it.young) {
                self.totals.young -= 1;
            }
            let _ = self.young.pop_front();
        }
        let boots = std::mem::take(&mut self.totals.boots);
        Look { pending: self.pending.len() as u64, boots, ..self.totals.clone() }
    }

    pub(super) fn decide(&mut self) {
        let Some(look) = self.looks.pop_front() else { return };
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let Ok(now) = Timestamp::from_millisecond(now) else { return };
        self.read_market(now);
        let situation = self.situation(&look, now);
        for (requested, booting) in &look.boots {
            let [requested, booting] = [requested, booting].map(|it| Duration::from_millis(*it));
            self.memory.record_startup(requested, booting);
        }
        let wish = self.policy.wish(&situation, &mut self.memory);
        self.ask_on_demand();
        let room = self.room();
        // Held against what the round knows, as the engine does: what was filled since the look is no gap.
        let coming = situation.requested;
        let missing = wish.coming.saturating_sub(coming).min(room);
        for (place, n) in self.places(missing, now) {
            for _ in 0..n {
                self.ask(place);
            }
        }
        for _ in 0..coming.saturating_sub(wish.coming) {
            if !self.cancel() {
                break;
            }
        }
        if situation.workers_consent {
            for _ in 0..wish.let_go.max(self.dear_and_idle()) {
                let Some(machine) = self.least_worth() else { break };
                self.end(machine);
                self.totals.stopped += 1;
            }
        }
    }

    /// Whether an idle worker can be told to stop now: where it has to ask, if it asked since the round
    /// before.
    pub(super) fn asks(&self, machine: usize) -> bool {
        let idle = self.now - self.machines[machine].since;
        let asked = |idle: u64| idle / ASKS_EVERY;
        self.setup.knowledge != Knowledge::Asking
            || asked(idle) > asked(idle.saturating_sub(self.round))
    }

    /// What a round knows: the look, and what was done since.
    fn situation(&self, look: &Look, now: Timestamp) -> Situation {
        let asked = self.totals.asked - look.asked;
        let cancelled = self.totals.cancelled - look.cancelled;
        let stopped = self.totals.stopped - look.stopped;
        let requested = (look.requested + asked).saturating_sub(cancelled);
        let up = (look.booting + look.idle + look.busy).saturating_sub(stopped);
        let known = Situation {
            pending: look.pending,
            requested,
            min: self.setup.min_instances,
            max: self.setup.max_instances,
            idle_timeout: self.setup.idle_timeout,
            ..Situation::nothing(now)
        };
        match self.setup.knowledge {
            Knowledge::Ids | Knowledge::Asking | Knowledge::Workers => {
                let idle = look.idle.saturating_sub(stopped);
                Situation {
                    running: Some(look.busy),
                    booting: look.booting,
                    idle,
                    busy: look.busy,
                    free_slots: look.booting + idle,
                    workers_consent: self.setup.knowledge.workers_consent(),
                    ..known
                }
            }
            // As the engine counts: running tasks are presumed on the oldest instances, and an
            // instance younger than the boot timeout that has none is presumed to boot.
            Knowledge::Counts => {
                let busy = look.busy.min(up);
                let booting = look.young.min(up - busy);
                let idle = up - busy - booting;
                Situation {
                    running: Some(look.busy),
                    booting,
                    idle,
                    busy,
                    free_slots: booting + idle,
                    ..known
                }
            }
            Knowledge::Pending => {
                let booting = look.young.min(up);
                Situation { booting, unknown: up - booting, free_slots: booting, ..known }
            }
        }
    }
}
