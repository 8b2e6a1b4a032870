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

    fn refused(scope: Scope, worker_type: &str, code: &str) -> Seen {
        let refusal = Refusal {
            class: RefusalClass::NoCapacity,
            code: code.to_owned(),
            message: "no".to_owned(),
            request_id: Some("r-1".to_owned()),
        };
        let worker_type = (!worker_type.is_empty()).then(|| worker_type.into());
        Seen { worker_type, ..Seen::refusal(scope, "Call", &refusal) }
    }

    fn withheld(worker_type: &str) -> Seen {
        let seen = Seen::own(Scope::Round, "cooling-down", "all refused");
        Seen { worker_type: Some(worker_type.into()), ..seen }
    }

    /// Code and whether it has ended, in the order in which they are told.
    fn told(record: &Record) -> Vec<(String, bool)> {
        let problems = record.problems().into_iter();
        problems.map(|problem| (problem.code, problem.ended.is_some())).collect()
    }

    #[test]
    fn a_problem_is_told_once_with_its_beginning_and_its_latest_words() {
        let mut record = Record::default();
        for (n, seconds) in [0, 10, 20].into_iter().enumerate() {
            let again = [1, 2].map(|_| Seen {
                message: format!("for the {n}th time"),
                ..refused(Scope::Launch, "linux", "InsufficientInstanceCapacity")
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
        let mut record = Record::default();
        let refusal = || refused(Scope::Launch, "linux", "Refused");
        record.round(round(0, RoundOutcome::Incomplete), vec![refusal()], true);
        record.round(round(10, RoundOutcome::Incomplete), vec![withheld("linux")], true);
        record.round(round(20, RoundOutcome::DemandUnknown), Vec::new(), false);
        assert_eq!(
            told(&record),
            [("cooling-down".to_owned(), false), ("Refused".to_owned(), false)]
        );
        record.round(round(30, RoundOutcome::Incomplete), vec![withheld("windows")], true);
        assert_eq!(
            told(&record)[1..],
            ["Refused", "cooling-down"].map(|code| (code.to_owned(), true))
        );
        assert_eq!(record.problems()[1].ended, Some(at(30)));
        // It begins anew.
        record.round(round(40, RoundOutcome::Incomplete), vec![refusal()], true);
        assert_eq!((record.problems()[0].since, record.problems()[0].rounds), (at(40), 1));
    }

    #[test]
    fn a_look_that_failed_ends_nothing_but_with_the_next_look() {
        let mut record = Record::default();
        let stray = Seen::own(Scope::Round, "stray-kept", "kept");
        record.round(round(0, RoundOutcome::Done), vec![stray.clone()], true);
        let failed = vec![refused(Scope::Look, "", "RequestLimitExceeded")];
        record.round(round(10, RoundOutcome::Failed), failed, false);
        assert!(record.problems().iter().all(|problem| problem.ended.is_none()));
        record.round(round(20, RoundOutcome::DemandUnknown), Vec::new(), false);
        assert_eq!(told(&record)[1], ("RequestLimitExceeded".to_owned(), true));
        assert_eq!(told(&record)[0], ("stray-kept".to_owned(), false));
        assert_eq!(record.last_round().unwrap().time, at(20));
    }

    #[test]
    fn prices_end_with_an_answer() {
        let mut record = Record::default();
        record.prices(Some(refused(Scope::Prices, "", "UnauthorizedOperation")), at(0));
        record.round(round(10, RoundOutcome::Done), Vec::new(), true);
        assert_eq!(told(&record), [("UnauthorizedOperation".to_owned(), false)]);
        record.prices(None, at(20));
        assert_eq!(told(&record), [("UnauthorizedOperation".to_owned(), true)]);
    }

    #[test]
    fn somebody_elses_look_ends_what_it_disproves() {
        let mut record = Record::default();
        let unknown = Seen::own(Scope::Round, NoteKind::DemandUnknown.as_str(), "down");
        let seen = vec![unknown, withheld("linux"), refused(Scope::Look, "", "Throttling")];
        record.round(round(0, RoundOutcome::Failed), seen, false);
        record.look(Vec::new(), true, true, at(10));
        let ended = told(&record).into_iter().filter(|(_, ended)| *ended).map(|(code, _)| code);
        assert_eq!(ended.collect::<Vec<_>>(), ["demand-unknown", "Throttling"]);
    }

    #[test]
    fn what_has_ended_goes_first_and_after_a_while() {
        let mut record = Record::default();
        let many: Vec<_> =
            (0..30).map(|n| refused(Scope::Round, "", &format!("code-{n:02}"))).collect();
        record.round(round(0, RoundOutcome::Done), many[..1].to_vec(), true);
        record.round(round(10, RoundOutcome::Done), many[1..5].to_vec(), true);
        record.round(round(20, RoundOutcome::Done), many[1..].to_vec(), true);
        assert_eq!(told(&record).len(), 10);
        assert!(told(&record).iter().all(|(_, ended)| !ended), "{record:?}");
        record.round(round(30, RoundOutcome::Done), Vec::new(), true);
        assert!(told(&record).iter().all(|(_, ended)| *ended));
        record.round(round(30 + 15 * 60, RoundOutcome::Done), Vec::new(), true);
        assert!(told(&record).is_empty());
    }

    #[test]
    fn a_message_without_an_end_gets_one() {
        let mut record = Record::default();
        let endless = Seen::own(Scope::Round, "long", &"ä".repeat(5000));
        record.round(round(0, RoundOutcome::Done), vec![endless], true);
        assert_eq!(record.problems()[0].message.chars().count(), 2001);
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut record = Record::default();
        let seen = vec![withheld("linux"), refused(Scope::Launch, "linux", "Refused")];
        record.round(round(0, RoundOutcome::Incomplete), seen, true);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        let newer = text.replace("\"due\"", "\"whim\"").replace("\"incomplete\"", "\"odd\"");
        let read: Record = serde_json::from_str(&newer).unwrap();
        assert_eq!(read.last_round().unwrap().trigger, Trigger::Unrecognised);
        assert_eq!(read.last_round().unwrap().outcome, RoundOutcome::Unrecognised);
    }
}
