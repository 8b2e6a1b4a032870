//! What a round observes and does.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::policy::Situation;

use super::{Counters, Simulation};
use crate::simulation::setup::WorkerKnowledge;
use crate::time::millis;

/// How often an idle worker asks whether to stop, in milliseconds, as in `examples/should-stop.sh`.
const ASK_INTERVAL: u64 = 30_000;

impl Simulation<'_> {
    pub(super) fn observe(&mut self) -> Counters {
        let boot_timeout = millis(self.setup.boot_timeout);
        while let Some(index) = self.young.front().copied() {
            let instance = &mut self.instances[index];
            if instance.young && instance.billed_from + boot_timeout > self.now {
                break;
            }
            if std::mem::take(&mut instance.young) {
                self.totals.young -= 1;
            }
            let _ = self.young.pop_front();
        }
        let boots = std::mem::take(&mut self.totals.boots);
        Counters { pending: self.pending.len() as u64, boots, ..self.totals.clone() }
    }

    pub(super) fn decide(&mut self) {
        let Some(observed) = self.observations.pop_front() else { return };
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let Ok(now) = Timestamp::from_millisecond(now) else { return };
        self.observe_market(now);
        let situation = self.situation(&observed, now);
        for (requested, booting) in &observed.boots {
            self.memory
                .record_startup(Duration::from_millis(*requested), Duration::from_millis(*booting));
        }
        let target = self.policy.target(&situation, &mut self.memory);
        self.request_on_demand();
        let budget = self.budget();
        // Like the engine, this compares the target with what the round knows: a request that was fulfilled
        // after the observation leaves no gap.
        let coming = situation.requested;
        let missing = target.coming.saturating_sub(coming).min(budget);
        for (purchase, n) in self.purchases(missing, now) {
            for _ in 0..n {
                self.request(purchase);
            }
        }
        for _ in 0..coming.saturating_sub(target.coming) {
            if !self.cancel() {
                break;
            }
        }
        if situation.workers_consent {
            for _ in 0..target.let_go.max(self.idle_on_demand()) {
                let Some(instance) = self.take_least_valuable() else { break };
                self.end(instance);
                self.totals.stopped += 1;
            }
        }
    }

    /// Returns whether an idle worker can be told to stop now. A worker that has to ask can be told only if
    /// it asked since the last round.
    pub(super) fn can_be_told(&self, instance: usize) -> bool {
        let idle = self.now - self.instances[instance].since;
        let questions = |idle: u64| idle / ASK_INTERVAL;
        self.setup.knowledge != WorkerKnowledge::Asking
            || questions(idle) > questions(idle.saturating_sub(self.round_interval))
    }

    /// Returns what the round knows: the observation, corrected by what was done since.
    fn situation(&self, observed: &Counters, now: Timestamp) -> Situation {
        let asked = self.totals.asked - observed.asked;
        let cancelled = self.totals.cancelled - observed.cancelled;
        let stopped = self.totals.stopped - observed.stopped;
        let up = (observed.booting + observed.idle + observed.busy).saturating_sub(stopped);
        let known = Situation {
            pending: observed.pending,
            requested: (observed.requested + asked).saturating_sub(cancelled),
            min: self.setup.min_instances,
            max: self.setup.max_instances,
            idle_timeout: self.setup.idle_timeout,
            ..Situation::nothing(now)
        };
        match self.setup.knowledge {
            WorkerKnowledge::Ids | WorkerKnowledge::Asking | WorkerKnowledge::Workers => {
                let idle = observed.idle.saturating_sub(stopped);
                Situation {
                    running: Some(observed.busy),
                    booting: observed.booting,
                    idle,
                    busy: observed.busy,
                    free_slots: observed.booting + idle,
                    workers_consent: self.setup.knowledge.workers_consent(),
                    ..known
                }
            }
            // The engine counts in the same way: it presumes the running tasks on the oldest instances,
            // and presumes that an instance without a task boots while it is younger than the boot timeout.
            WorkerKnowledge::Counts => {
                let busy = observed.busy.min(up);
                let booting = observed.young.min(up - busy);
                let idle = up - busy - booting;
                Situation {
                    running: Some(observed.busy),
                    booting,
                    idle,
                    busy,
                    free_slots: booting + idle,
                    ..known
                }
            }
            WorkerKnowledge::Pending => {
                let booting = observed.young.min(up);
                Situation { booting, unknown: up - booting, free_slots: booting, ..known }
            }
        }
    }
}
