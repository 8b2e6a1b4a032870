//! The pauses after rounds that failed or were throttled.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::cool_down::growing;
use crate::domain::ids::WorkerTypeName;
use crate::engine::state::api_budget::ApiBudget;
use crate::engine::state::token::Tokens;
use crate::settings::Settings;

/// The longest pause after failed or throttled rounds.
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause while only the queue fails: it is the user's own and cheap to ask, and tasks wait.
const LONGEST_QUEUE_PAUSE: Duration = Duration::from_secs(10);

/// What holds calls back: failures in a row, of rounds as a whole, and EC2's limits.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct Backoff {
    pub(in crate::engine) budget: ApiBudget,
    /// Since when launches of a worker type have been wanted that EC2's limits held back.
    pub(in crate::engine) waiting: BTreeMap<WorkerTypeName, Timestamp>,
    pub(in crate::engine) throttled_rounds: u32,
    pub(in crate::engine) failed_rounds: u32,
}

/// A pause that grows with the failures in a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct GrowingPause {
    failures: u32,
    longest: Duration,
}

impl Backoff {
    /// Sees to it that nothing remembered lies after `now`.
    pub(in crate::engine) fn not_after(&mut self, now: Timestamp) {
        for since in self.waiting.values_mut() {
            *since = (*since).min(now);
        }
    }

    /// EC2 could not be observed.
    pub(in crate::engine) fn round_failed(&mut self) -> GrowingPause {
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        GrowingPause { failures: self.failed_rounds, longest: LONGEST_FAILURE_PAUSE }
    }

    /// A round was decided. Returns the pause that it asks for, if it does.
    pub(in crate::engine) fn round_ended(
        &mut self,
        demand_known: bool,
        throttled: bool,
    ) -> Option<GrowingPause> {
        self.failed_rounds = if demand_known { 0 } else { self.failed_rounds.saturating_add(1) };
        self.throttled_rounds = if throttled { self.throttled_rounds.saturating_add(1) } else { 0 };
        if throttled {
            let failures = self.throttled_rounds.saturating_add(1);
            Some(GrowingPause { failures, longest: LONGEST_FAILURE_PAUSE })
        } else if demand_known {
            None
        } else {
            Some(GrowingPause { failures: self.failed_rounds, longest: LONGEST_QUEUE_PAUSE })
        }
    }
}

impl GrowingPause {
    /// When the pause ends. It is uneven by up to a fifth, so that many daemons do not march in step.
    pub(in crate::engine) fn until(
        self,
        tokens: &mut Tokens,
        settings: &Settings,
        now: Timestamp,
    ) -> Timestamp {
        let interval = settings.provisioner.interval;
        let pause = growing(interval, self.failures, self.longest.max(interval));
        let jitter = f64::from(u32::try_from(tokens.jitter() >> 32).unwrap_or(0));
        let uneven = pause.mul_f64(0.8 + 0.4 * jitter / f64::from(u32::MAX));
        clock::after(now, uneven.max(settings.provisioner.min_interval))
    }
}
