//! What a daemon remembers of its rounds, for whoever asks later: the last one, and what went wrong.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, Problems, Scope, Seen};
use crate::engine::NoteKind;

/// The last round, and the last few things that went wrong. A daemon keeps it beside its ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    last_round: Option<LastRound>,
    problems: Problems,
}

/// A round that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastRound {
    /// When it ended.
    pub time: Timestamp,
    /// How.
    pub outcome: RoundOutcome,
    /// What brought it.
    pub trigger: Trigger,
    /// Which one it was, since the daemon's start.
    pub iteration: u64,
    /// How long it took, waiting for EC2 and the queue included.
    pub duration_seconds: f64,
    /// What was done.
    pub actions: ActionCounts,
    /// When the next one was due.
    pub next: Timestamp,
}

/// How many actions were carried out, and how that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionCounts {
    /// Done.
    pub done: u64,
    /// Refused, or without a clear answer.
    pub failed: u64,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundOutcome {
    /// Everything that was wanted was done.
    Done,
    /// Something was withheld, or failed.
    Incomplete,
    /// Decided without knowing the queue's tasks.
    DemandUnknown,
    /// EC2 could not be observed: nothing was decided.
    Failed,
    /// Decided and not carried out, as was wished.
    DryRun,
    /// One that this version does not know.
    #[serde(other)]
    Unrecognised,
}

impl RoundOutcome {
    /// A stable name for metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::DemandUnknown => "demand-unknown",
            Self::Failed => "failed",
            Self::DryRun => "dry-run",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// What brought a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The start of the program.
    #[default]
    Start,
    /// It was due.
    Due,
    /// A wake-up.
    WakeUp,
    /// Another configuration.
    Reload,
    /// One that this version does not know.
    #[serde(other)]
    Unrecognised,
}

impl Record {
    /// The last round, if one has ended.
    pub fn last_round(&self) -> Option<&LastRound> {
        self.last_round.as_ref()
    }

    /// What goes wrong, then what did lately.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.list()
    }

    /// Takes in a round and what went wrong in it.
    pub fn round(&mut self, round: LastRound, seen: Vec<Seen>, demand_known: bool) {
        let looked = round.outcome != RoundOutcome::Failed;
        let concerned: BTreeSet<_> =
            seen.iter().filter_map(|seen| seen.worker_type.clone()).collect();
        self.problems.take_in(seen, round.time, |scope, problem| match scope {
            Scope::Look => looked,
            Scope::Prices => false,
            Scope::Round => looked && demand_known,
            // It waits for its turn, or is withheld for a while on account of the refusal.
            Scope::Launch => {
                let goes_on = problem.worker_type.as_ref().is_some_and(|it| concerned.contains(it));
                looked && demand_known && !goes_on
            }
        });
        self.last_round = Some(round);
    }

    /// Takes in that prices were asked for: why there are none, or that there are.
    pub fn prices(&mut self, problem: Option<Seen>, now: Timestamp) {
        self.problems
            .take_in(problem.into_iter().collect(), now, |scope, _| scope == Scope::Prices);
    }

    /// Takes in a look that somebody else took: what went wrong in it, and what did not.
    pub(super) fn look(
        &mut self,
        seen: Vec<Seen>,
        looked: bool,
        demand_known: bool,
        now: Timestamp,
    ) {
        let demand_unknown = NoteKind::DemandUnknown.as_str();
        self.problems.take_in(seen, now, |scope, problem| match scope {
            Scope::Look => looked,
            Scope::Round => demand_known && problem.code == demand_unknown,
            // A look tries no launch, and may have had no need to ask for prices.
            Scope::Prices | Scope::Launch => false,
        });
    }
}
