//! The loop: one round after the other, until it is stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::open::{Daemon, State};
use super::round::RoundEnd;
use super::round_summary::{QueueRead, RoundSummary};
use crate::domain::clock;
use crate::queue::source::DemandSource;
use crate::status::Trigger;

/// Too many rounds failed in a row (`provisioner.max-failed-rounds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} rounds in a row failed, and provisioner.max-failed-rounds is {0}")]
pub struct GaveUp(pub u32);

impl<S: DemandSource> Daemon<S> {
    /// Runs rounds until `stop` is cancelled: one at once, then one at each interval or `wake`, never
    /// two at a time and never closer than `min-interval`. `tell` hears of each.
    pub async fn run(
        &mut self,
        stop: &CancellationToken,
        wake: &Notify,
        tell: impl FnMut(RoundSummary<'_>),
    ) -> Result<(), GaveUp> {
        // A restart is an operator's way to ask for the next try of what was paused.
        self.engine.resume_paused();
        let ended = self.rounds(stop, wake, tell).await;
        if let State::Locked(state) = &self.state {
            self.memory_writer.leave(state, self.engine.memory());
        }
        ended
    }

    async fn rounds(
        &mut self,
        stop: &CancellationToken,
        wake: &Notify,
        mut tell: impl FnMut(RoundSummary<'_>),
    ) -> Result<(), GaveUp> {
        let mut last_success = None;
        loop {
            self.take_up_reload();
            self.read = QueueRead::default();
            let started = Instant::now();
            let mut earliest = started + self.settings.provisioner.min_interval;
            let end = self.round(stop).await;
            let due = match &end {
                RoundEnd::Stopped => return Ok(()),
                RoundEnd::Done(report) => {
                    if report.demand_known {
                        last_success = Some(self.clock.now());
                    }
                    if report.throttled {
                        earliest = self.clock.instant(report.wake);
                    }
                    report.wake
                }
                RoundEnd::Planned(plan) => {
                    if plan.demand_known() {
                        last_success = Some(self.clock.now());
                    }
                    clock::after(self.clock.now(), self.settings.provisioner.interval)
                }
                // A wake-up does not make EC2 answer: the pause is kept.
                RoundEnd::Failed { wake, .. } => {
                    earliest = self.clock.instant(*wake);
                    *wake
                }
            };
            let failed_rounds = self.engine.failed_rounds();
            let (ended, took) = (self.clock.now(), started.elapsed());
            let machines = self.engine.capacity();
            let spare = clock::age(ended, due);
            self.prices.refresh(&self.client, &machines, spare, stop, wake).await;
            self.record_prices();
            let pause = clock::age(self.clock.now(), due);
            tell(RoundSummary {
                settings: &self.settings,
                end: &end,
                read: &self.read,
                ended,
                took,
                machines: &machines,
                prices: self.prices.prices(),
                record: &self.record,
                last_success,
                failed_rounds,
                next: pause,
            });
            let most = self.settings.provisioner.max_failed_rounds;
            if most > 0 && failed_rounds >= most {
                return Err(GaveUp(most));
            }
            let reloaded = Arc::clone(&self.next);
            let Some(trigger) = wait(pause, earliest, stop, wake, &reloaded.there).await else {
                return Ok(());
            };
            self.trigger = trigger;
        }
    }
}

/// Waits for `pause`, or until woken or reloaded, but not before `earliest`. Returns what it was; `None`:
/// stop.
async fn wait(
    pause: Duration,
    earliest: Instant,
    stop: &CancellationToken,
    wake: &Notify,
    reloaded: &Notify,
) -> Option<Trigger> {
    let trigger = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        () = wake.notified() => Trigger::WakeUp,
        () = reloaded.notified() => Trigger::Reload,
        () = tokio::time::sleep(pause) => Trigger::Due,
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = tokio::time::sleep_until(earliest) => Some(trigger),
    }
}
