//! Whether the loop runs, and whether its rounds succeed.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::daemon::{RoundEnd, RoundSummary};
use provisioner::internal::domain::plural;
use provisioner::internal::engine::NoteKind;
use tokio::time::Instant;

/// A loop that has not run for three intervals, and at least this long, is stuck. A round may take longer
/// than a short interval, because it waits for the queue and for pages of EC2.
const STALL_FLOOR: Duration = Duration::from_mins(1);

/// The state of the loop as of its last round.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// When the loop last ran; while it pauses on purpose, when it is due to run next.
    pub(crate) turned: Instant,
    /// When the last round ended that was decided with a known demand.
    pub(crate) succeeded: Option<Instant>,
    /// The wall-clock time of that moment.
    pub(crate) last_success: Option<Timestamp>,
    /// When the last round ended.
    pub(crate) last_round: Option<Timestamp>,
    /// The number of consecutive rounds that failed.
    pub(crate) failed_rounds: u32,
    /// Why the last round failed, if it did.
    pub(crate) failure: Option<String>,
    /// Why nothing is launched although all is well: another daemon launches under the same key-name.
    pub(crate) other_daemon: Option<String>,
    /// Why the configuration that was to be taken up last was not, if so: the old one stays in force.
    pub(crate) reload_failure: Option<String>,
    /// The time between rounds.
    pub(crate) interval: Duration,
}

impl Health {
    /// Creates the state of a loop that starts now.
    pub(crate) fn starting(interval: Duration) -> Self {
        Self {
            turned: Instant::now(),
            succeeded: None,
            last_success: None,
            last_round: None,
            failed_rounds: 0,
            failure: None,
            other_daemon: None,
            reload_failure: None,
            interval,
        }
    }

    /// Records a round that ended just now.
    pub(crate) fn update(&mut self, turn: &RoundSummary<'_>) {
        let failure = failure(turn.end);
        let now = Instant::now();
        if failure.is_none() {
            self.succeeded = Some(now);
        }
        // The loop pauses on purpose until the next round is due.
        self.turned = now + turn.next;
        self.last_success = turn.last_success;
        self.last_round = Some(turn.ended);
        self.failed_rounds = turn.failed_rounds;
        self.failure = failure;
        if let Some(plan) = turn.end.plan() {
            let mut notes = plan.notes.iter();
            let note = notes.find(|note| note.kind == NoteKind::OtherDaemon);
            self.other_daemon = note.map(|note| note.text.clone());
        }
        self.interval = turn.settings.provisioner.interval;
    }

    /// Whether the loop hangs.
    pub(crate) fn is_stalled(&self) -> bool {
        self.turned.elapsed() > stall_after(self.interval)
    }

    /// Returns why the daemon is not ready, if so.
    ///
    /// It is ready once a round has read EC2 and the queue and decided. A long round does not change that,
    /// and failed rounds do after three intervals, because single failures are normal.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.is_stalled() {
            let seconds = self.turned.elapsed().as_secs();
            return Some(format!("the loop has not run for {seconds}s"));
        }
        let Some(succeeded) = self.succeeded else {
            return Some(match &self.failure {
                Some(failure) => format!("no round has succeeded yet: {failure}"),
                None => "no round has ended yet".to_owned(),
            });
        };
        let failure = self.failure.as_ref()?;
        let late = succeeded.elapsed() > self.interval.saturating_mul(3);
        late.then(|| format!("{} failed: {failure}", plural::count(self.failed_rounds, "round")))
    }
}

fn stall_after(interval: Duration) -> Duration {
    interval.saturating_mul(3).max(STALL_FLOOR)
}

/// Returns why a round was not decided with a known demand.
fn failure(end: &RoundEnd) -> Option<String> {
    let plan = match end {
        RoundEnd::Done(report) => &report.plan,
        RoundEnd::Planned(plan) => plan,
        RoundEnd::Failed { error, .. } => return Some(format!("EC2 cannot be observed: {error}")),
        RoundEnd::Stopped => return None,
    };
    plan.demand_unknown().map(|note| note.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_loop_has_a_minute_at_least() {
        assert_eq!(stall_after(Duration::from_secs(10)), Duration::from_mins(1));
        assert_eq!(stall_after(Duration::from_mins(1)), Duration::from_mins(3));
        assert_eq!(stall_after(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn failures_end_readiness_after_three_intervals_and_long_rounds_do_not() {
        let interval = Duration::from_secs(10);
        let well = Health { succeeded: Some(ago(50)), ..Health::starting(interval) };
        assert_eq!(well.not_ready(), None, "a round of 50 seconds is under way");
        let failure = Some("EC2 cannot be observed: x".to_owned());
        let failing = Health { failure, failed_rounds: 4, ..well.clone() };
        let reason = failing.not_ready().unwrap();
        assert_eq!(reason, "4 rounds failed: EC2 cannot be observed: x");
        let lately = Health { succeeded: Some(ago(20)), ..failing };
        assert_eq!(lately.not_ready(), None);
        let stalled = Health { turned: ago(75), ..well };
        assert_eq!(stalled.not_ready().unwrap(), "the loop has not run for 75s");
    }
}
