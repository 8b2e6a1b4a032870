//! What a daemon records about its rounds: the last one, and recent problems.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::problem::{Problem, ProblemScope, ProblemSeen, Problems};
use crate::engine::NoteKind;

/// The last round and the most recent problems. The daemon stores it in the state directory, so that
/// `status` can show it without a running daemon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RoundRecord {
    last_round: Option<LastRound>,
    problems: Problems,
}

/// A round that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastRound {
    /// When it ended.
    pub time: Timestamp,
    /// How it ended.
    pub outcome: RoundOutcome,
    /// What started it.
    pub trigger: Trigger,
    /// Its number since the daemon's start.
    pub iteration: u64,
    /// How long it took, including the time spent waiting for EC2 and the queue.
    pub duration_seconds: f64,
    /// The number of actions.
    pub actions: ActionCounts,
    /// When the next one was due.
    pub next: Timestamp,
}

/// How many actions were carried out, by result.
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
    /// Everything wanted was done.
    Done,
    /// Something was withheld or failed.
    Incomplete,
    /// The round was decided without knowing the queue's tasks.
    DemandUnknown,
    /// EC2 could not be observed, so nothing was decided.
    Failed,
    /// The round was decided but not carried out, as requested by `--dry-run`.
    DryRun,
    /// A value that this version does not know.
    #[serde(other)]
    Unrecognised,
}

impl RoundOutcome {
    /// Returns a stable name for metrics and JSON.
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

/// What started a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The start of the program.
    #[default]
    Start,
    /// The interval had passed.
    Due,
    /// A wake-up.
    WakeUp,
    /// A new configuration.
    Reload,
    /// A value that this version does not know.
    #[serde(other)]
    Unrecognised,
}

impl RoundRecord {
    /// Returns the last round, if one has ended.
    pub fn last_round(&self) -> Option<&LastRound> {
        self.last_round.as_ref()
    }

    /// Returns the persisting problems, then those that ended recently.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.list()
    }

    /// Adds a round and the problems seen in it.
    pub fn round(&mut self, round: LastRound, seen: Vec<ProblemSeen>, demand_known: bool) {
        let observed = round.outcome != RoundOutcome::Failed;
        let concerned: BTreeSet<_> =
            seen.iter().filter_map(|seen| seen.worker_type.clone()).collect();
        self.problems.update(seen, round.time, |scope, problem| match scope {
            ProblemScope::Observation => observed,
            ProblemScope::Prices => false,
            ProblemScope::Round => observed && demand_known,
            // While launches of the worker type are withheld, the refusal is the reason for that.
            ProblemScope::Launch => {
                let goes_on =
                    problem.worker_type.as_ref().is_some_and(|name| concerned.contains(name));
                observed && demand_known && !goes_on
            }
        });
        self.last_round = Some(round);
    }

    /// Adds the result of fetching prices: the problem, or `None` if they were fetched.
    pub fn prices(&mut self, problem: Option<ProblemSeen>, now: Timestamp) {
        self.problems
            .update(problem.into_iter().collect(), now, |scope, _| scope == ProblemScope::Prices);
    }

    /// Adds the problems of an observation outside of a round.
    pub(super) fn observed_directly(
        &mut self,
        seen: Vec<ProblemSeen>,
        observed: bool,
        demand_known: bool,
        now: Timestamp,
    ) {
        let demand_unknown = NoteKind::DemandUnknown.as_str();
        self.problems.update(seen, now, |scope, problem| match scope {
            ProblemScope::Observation => observed,
            ProblemScope::Round => demand_known && problem.code == demand_unknown,
            // Such an observation launches nothing, and may not have needed prices.
            ProblemScope::Prices | ProblemScope::Launch => false,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::clock;
    use crate::domain::refusal::{Refusal, RefusalClass};

    fn at(seconds: u64) -> Timestamp {
        clock::after("2026-11-23T12:00:00Z".parse().unwrap(), Duration::from_secs(seconds))
    }

    fn round(seconds: u64, outcome: RoundOutcome) -> LastRound {
        LastRound {
            time: at(seconds),
            outcome,
            trigger: Trigger::Due,
            iteration: 1,
            duration_seconds: 0.5,
            actions: ActionCounts::default(),
            next: at(seconds + 10),
        }
    }

    fn refused(scope: ProblemScope, worker_type: &str, code: &str) -> ProblemSeen {
        let refusal = Refusal {
            class: RefusalClass::NoCapacity,
            code: code.to_owned(),
            message: "no".to_owned(),
            request_id: Some("r-1".to_owned()),
        };
        let worker_type = (!worker_type.is_empty()).then(|| worker_type.into());
        ProblemSeen { worker_type, ..ProblemSeen::refusal(scope, "Call", &refusal) }
    }

    fn withheld(worker_type: &str) -> ProblemSeen {
        let seen = ProblemSeen::own(ProblemScope::Round, "cooling-down", "all refused");
        ProblemSeen { worker_type: Some(worker_type.into()), ..seen }
    }

    /// Returns the codes in the order of the list, and whether each problem has ended.
    fn listed(record: &RoundRecord) -> Vec<(String, bool)> {
        let problems = record.problems().into_iter();
        problems.map(|problem| (problem.code, problem.ended.is_some())).collect()
    }

    #[test]
    fn a_problem_is_told_once_with_its_beginning_and_its_latest_words() {
        let mut record = RoundRecord::default();
        for (n, seconds) in [0, 10, 20].into_iter().enumerate() {
            let again = [1, 2].map(|_| ProblemSeen {
                message: format!("for the {n}th time"),
                ..refused(ProblemScope::Launch, "linux", "InsufficientInstanceCapacity")
            });
            record.round(round(seconds, RoundOutcome::Incomplete), again.to_vec(), true);
        }
        let [problem] = &record.problems()[..] else { panic!("{record:?}") };
        assert_eq!((problem.since, problem.time, problem.rounds), (at(0), at(20), 3));
        assert_eq!(problem.message, "for the 2th time");
        assert!(problem.fix.as_deref().unwrap().contains("instance-types"));
    }

    #[test]
    fn a_refused_launch_has_not_ended_while_the_type_waits_for_its_turn() {
        let mut record = RoundRecord::default();
        let refusal = || refused(ProblemScope::Launch, "linux", "Refused");
        record.round(round(0, RoundOutcome::Incomplete), vec![refusal()], true);
        record.round(round(10, RoundOutcome::Incomplete), vec![withheld("linux")], true);
        record.round(round(20, RoundOutcome::DemandUnknown), Vec::new(), false);
        assert_eq!(
            listed(&record),
            [("cooling-down".to_owned(), false), ("Refused".to_owned(), false)]
        );
        record.round(round(30, RoundOutcome::Incomplete), vec![withheld("windows")], true);
        assert_eq!(
            listed(&record)[1..],
            ["Refused", "cooling-down"].map(|code| (code.to_owned(), true))
        );
        assert_eq!(record.problems()[1].ended, Some(at(30)));
        // It begins again.
        record.round(round(40, RoundOutcome::Incomplete), vec![refusal()], true);
        assert_eq!((record.problems()[0].since, record.problems()[0].rounds), (at(40), 1));
    }

    #[test]
    fn a_failed_observation_ends_nothing_and_ends_with_the_next_one() {
        let mut record = RoundRecord::default();
        let stray = ProblemSeen::own(ProblemScope::Round, "stray-kept", "kept");
        record.round(round(0, RoundOutcome::Done), vec![stray.clone()], true);
        let failed = vec![refused(ProblemScope::Observation, "", "RequestLimitExceeded")];
        record.round(round(10, RoundOutcome::Failed), failed, false);
        assert!(record.problems().iter().all(|problem| problem.ended.is_none()));
        record.round(round(20, RoundOutcome::DemandUnknown), Vec::new(), false);
        assert_eq!(listed(&record)[1], ("RequestLimitExceeded".to_owned(), true));
        assert_eq!(listed(&record)[0], ("stray-kept".to_owned(), false));
        assert_eq!(record.last_round().unwrap().time, at(20));
    }

    #[test]
    fn prices_end_with_an_answer() {
        let mut record = RoundRecord::default();
        record.prices(Some(refused(ProblemScope::Prices, "", "UnauthorizedOperation")), at(0));
        record.round(round(10, RoundOutcome::Done), Vec::new(), true);
        assert_eq!(listed(&record), [("UnauthorizedOperation".to_owned(), false)]);
        record.prices(None, at(20));
        assert_eq!(listed(&record), [("UnauthorizedOperation".to_owned(), true)]);
    }

    #[test]
    fn a_direct_observation_ends_what_it_disproves() {
        let mut record = RoundRecord::default();
        let unknown =
            ProblemSeen::own(ProblemScope::Round, NoteKind::DemandUnknown.as_str(), "down");
        let seen =
            vec![unknown, withheld("linux"), refused(ProblemScope::Observation, "", "Throttling")];
        record.round(round(0, RoundOutcome::Failed), seen, false);
        record.observed_directly(Vec::new(), true, true, at(10));
        let ended = listed(&record).into_iter().filter(|(_, ended)| *ended).map(|(code, _)| code);
        assert_eq!(ended.collect::<Vec<_>>(), ["demand-unknown", "Throttling"]);
    }

    #[test]
    fn what_has_ended_goes_first_and_after_a_while() {
        let mut record = RoundRecord::default();
        let many: Vec<_> =
            (0..30).map(|n| refused(ProblemScope::Round, "", &format!("code-{n:02}"))).collect();
        record.round(round(0, RoundOutcome::Done), many[..1].to_vec(), true);
        record.round(round(10, RoundOutcome::Done), many[1..5].to_vec(), true);
        record.round(round(20, RoundOutcome::Done), many[1..].to_vec(), true);
        assert_eq!(listed(&record).len(), 10);
        assert!(listed(&record).iter().all(|(_, ended)| !ended), "{record:?}");
        record.round(round(30, RoundOutcome::Done), Vec::new(), true);
        assert!(listed(&record).iter().all(|(_, ended)| *ended));
        record.round(round(30 + 15 * 60, RoundOutcome::Done), Vec::new(), true);
        assert!(listed(&record).is_empty());
    }

    #[test]
    fn a_message_without_an_end_gets_one() {
        let mut record = RoundRecord::default();
        let endless = ProblemSeen::own(ProblemScope::Round, "long", &"ä".repeat(5000));
        record.round(round(0, RoundOutcome::Done), vec![endless], true);
        assert_eq!(record.problems()[0].message.chars().count(), 2001);
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut record = RoundRecord::default();
        let seen = vec![withheld("linux"), refused(ProblemScope::Launch, "linux", "Refused")];
        record.round(round(0, RoundOutcome::Incomplete), seen, true);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RoundRecord>(&text).unwrap(), record);
        let newer = text.replace("\"due\"", "\"whim\"").replace("\"incomplete\"", "\"odd\"");
        let read: RoundRecord = serde_json::from_str(&newer).unwrap();
        assert_eq!(read.last_round().unwrap().trigger, Trigger::Unrecognised);
        assert_eq!(read.last_round().unwrap().outcome, RoundOutcome::Unrecognised);
    }
}
