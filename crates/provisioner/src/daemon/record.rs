//! The record that a round leaves for `status`: how it ended, and what went wrong in it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::open::{Daemon, State};
use super::round::RoundEnd;
use crate::aws;
use crate::domain::clock;
use crate::domain::demand::FinishedTask;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::WorkerTypeName;
use crate::engine::{ActionKind, ActionOutcome, ActionResult, Plan};
use crate::queue::source::DemandSource;
use crate::status::{ActionCounts, LastRound, ProblemScope, ProblemSeen, RoundOutcome};

impl RoundEnd {
    /// What was decided; `None` if nothing was.
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Done(report) => Some(&report.plan),
            Self::Planned(plan) => Some(plan),
            Self::Failed { .. } | Self::Stopped => None,
        }
    }

    /// How it ended, in one word.
    pub fn outcome(&self) -> RoundOutcome {
        match self {
            Self::Done(report) if !report.demand_known => RoundOutcome::DemandUnknown,
            Self::Done(report) if report.incomplete => RoundOutcome::Incomplete,
            Self::Done(_) => RoundOutcome::Done,
            Self::Planned(_) => RoundOutcome::DryRun,
            Self::Failed { .. } | Self::Stopped => RoundOutcome::Failed,
        }
    }

    fn executed(&self) -> &[ActionOutcome] {
        match self {
            Self::Done(report) => &report.executed,
            Self::Planned(_) | Self::Failed { .. } | Self::Stopped => &[],
        }
    }
}

impl ProblemSeen {
    /// EC2 could not be observed.
    pub(super) fn failed_look(error: &aws::Error) -> Self {
        Self::refusal(ProblemScope::Observation, error.operation, &error.refusal)
    }
}

impl<S: DemandSource> Daemon<S> {
    /// Records the tasks that ended, for `simulate`. Nothing but that depends on it.
    pub(super) fn record_load(&mut self, tasks: &BTreeMap<WorkerTypeName, Vec<FinishedTask>>) {
        let State::Locked(state) = &self.state else { return };
        if tasks.is_empty() {
            return;
        }
        match state.record_load(tasks) {
            Ok(()) => self.load_unrecorded = false,
            Err(error) if !self.load_unrecorded => {
                self.load_unrecorded = true;
                tracing::warn!(error = %error_chain(&error), "the load could not be recorded");
            }
            Err(_) => {}
        }
    }

    /// Records a round that has ended. One that was stopped has not.
    pub(super) fn record_round(&mut self, end: &RoundEnd, took: Duration) {
        let now = self.clock.now();
        let next = match end {
            RoundEnd::Stopped => return,
            RoundEnd::Done(report) => report.wake,
            RoundEnd::Failed { wake, .. } => *wake,
            RoundEnd::Planned(_) => clock::after(now, self.settings.provisioner.interval),
        };
        let demand_known = end.plan().is_some_and(Plan::demand_known);
        let round = LastRound {
            time: now,
            outcome: end.outcome(),
            trigger: self.trigger,
            iteration: self.reporter.iteration(),
            duration_seconds: took.as_secs_f64(),
            actions: count(end.executed()),
            next,
        };
        self.record.round(round, problems(end), demand_known);
        self.save_record();
    }

    /// Records how asking for prices went, if there was an answer.
    pub(super) fn record_prices(&mut self) {
        if self.prices.take_news() {
            self.record.prices(self.prices.problem(), self.clock.now());
            self.save_record();
        }
    }

    fn save_record(&self) {
        if let State::Locked(state) = &self.state
            && let Err(error) = state.write_record(&self.record)
        {
            // Nothing depends on it, and what does is told by the ledger's own failure.
            tracing::debug!(error = %error_chain(&error), "the last round could not be saved");
        }
    }
}

fn count(executed: &[ActionOutcome]) -> ActionCounts {
    let mut counts = ActionCounts::default();
    for one in executed {
        match one.result {
            ActionResult::Done(_) => counts.done += 1,
            ActionResult::Refused(_) | ActionResult::Unknown(_) => counts.failed += 1,
        }
    }
    counts
}

fn problems(end: &RoundEnd) -> Vec<ProblemSeen> {
    if let RoundEnd::Failed { error, .. } = end {
        return vec![ProblemSeen::failed_look(error)];
    }
    let refused = end.executed().iter().filter_map(|ActionOutcome { action, result, .. }| {
        let (ActionResult::Refused(refusal) | ActionResult::Unknown(refusal)) = result else {
            return None;
        };
        let scope = match action.kind {
            ActionKind::Request(_) => ProblemScope::Launch,
            ActionKind::Cancel(_) | ActionKind::Terminate(_) | ActionKind::Tag(_) => {
                ProblemScope::Round
            }
        };
        let seen = ProblemSeen::refusal(scope, action.kind.operation(), refusal);
        Some(ProblemSeen { worker_type: action.worker_type.clone(), ..seen })
    });
    let notes = end.plan().into_iter().flat_map(|plan| &plan.notes);
    refused.chain(notes.filter_map(ProblemSeen::note)).collect()
}
