//! Problems: each is listed once for as long as it lasts, with how to fix it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::refusal::Refusal;
use crate::engine::Note;

/// How many problems are kept: more than anybody reads, and few enough to write in every round.
const MAX_PROBLEMS: usize = 10;

/// How long a problem is still listed after it has ended, so that somebody who comes to see what an alarm
/// was about finds it.
const KEPT_AFTER_END: Duration = Duration::from_mins(15);

/// The longest message kept, in characters. EC2's "encoded authorization failure message" alone takes a
/// thousand.
const LONGEST_MESSAGE: usize = 2000;

/// Something that goes wrong, or did so recently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When it last happened.
    pub time: Timestamp,
    /// When it first happened, without a round in between in which it did not.
    pub since: Timestamp,
    /// When it first did not happen any more.
    pub ended: Option<Timestamp>,
    /// The number of rounds in which it happened.
    pub rounds: u64,
    /// The worker type; `None` if it concerns no particular one.
    pub worker_type: Option<WorkerTypeName>,
    /// The AWS call; `None` if it was not about a call.
    pub operation: Option<String>,
    /// AWS's error code, or a code of our own such as the kind of a note (`cooling-down`).
    pub code: String,
    /// AWS's message, or ours.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
    /// What to do about it, if that is known.
    pub fix: Option<String>,
}

/// What a problem is about, which determines when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemScope {
    /// EC2 could not be observed. It ends with the next observation.
    #[serde(rename = "look")] // its name in the state file
    Observation,
    /// Prices are unknown. It ends when they are fetched.
    Prices,
    /// A launch was refused. It ends with a round in which no launch of the worker type is refused or
    /// withheld.
    Launch,
    /// Anything else. It ends with a round with a known demand in which it does not happen again.
    Round,
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemSeen {
    /// What it is about.
    pub scope: ProblemScope,
    /// As in [`Problem`].
    pub worker_type: Option<WorkerTypeName>,
    /// As in [`Problem`].
    pub operation: Option<String>,
    /// As in [`Problem`].
    pub code: String,
    /// As in [`Problem`].
    pub message: String,
    /// As in [`Problem`].
    pub request_id: Option<String>,
    /// As in [`Problem`].
    pub fix: Option<String>,
}

impl ProblemSeen {
    /// Makes an occurrence of a refusal by AWS.
    pub fn refusal(scope: ProblemScope, operation: &'static str, refusal: &Refusal) -> Self {
        Self {
            scope,
            worker_type: None,
            operation: Some(operation.to_owned()),
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            request_id: refusal.request_id.clone(),
            fix: refusal.hint().map(str::to_owned),
        }
    }

    /// Makes an occurrence of a note that reports a problem; returns `None` for other notes.
    pub fn note(note: &Note) -> Option<Self> {
        note.kind.is_problem().then(|| Self {
            worker_type: note.worker_type.clone(),
            fix: note.kind.fix().map(str::to_owned),
            ..Self::own(ProblemScope::Round, note.kind.as_str(), &note.text)
        })
    }

    /// Makes an occurrence with a code and a message of our own.
    pub fn own(scope: ProblemScope, code: &str, message: &str) -> Self {
        Self {
            scope,
            worker_type: None,
            operation: None,
            code: code.to_owned(),
            message: message.to_owned(),
            request_id: None,
            fix: None,
        }
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn with_fix(self, fix: Option<String>) -> Self {
        Self { fix, ..self }
    }

    fn is(&self, kept: &Kept) -> bool {
        let Problem { worker_type, operation, code, .. } = &kept.problem;
        self.scope == kept.scope
            && self.worker_type == *worker_type
            && self.operation == *operation
            && self.code == *code
    }

    fn new_problem(self, now: Timestamp) -> Kept {
        let Self { scope, worker_type, operation, code, message, request_id, fix } = self;
        let problem = Problem {
            time: now,
            since: now,
            ended: None,
            rounds: 1,
            worker_type,
            operation,
            code,
            message: shortened(message),
            request_id,
            fix,
        };
        Kept { scope, problem }
    }
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// The most recent problems, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Problems(Vec<Kept>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    scope: ProblemScope,
    #[serde(flatten)]
    problem: Problem,
}

impl Problems {
    /// Adds the problems seen at `now`; several occurrences count as one. Problems that were not seen and
    /// that are `over` end at `now`, and those that ended long ago are forgotten.
    pub(super) fn update(
        &mut self,
        seen: Vec<ProblemSeen>,
        now: Timestamp,
        over: impl Fn(ProblemScope, &Problem) -> bool,
    ) {
        for seen in seen {
            let known = self.0.iter().position(|kept| seen.is(kept));
            let mut new = seen.new_problem(now);
            if let Some(known) = known {
                let old = self.0.swap_remove(known).problem;
                if old.ended.is_none() {
                    new.problem.since = old.since;
                    new.problem.rounds = old.rounds + u64::from(old.time != now);
                }
            }
            self.0.push(new);
        }
        for Kept { scope, problem } in &mut self.0 {
            if problem.time != now && problem.ended.is_none() && over(*scope, problem) {
                problem.ended = Some(now);
            }
        }
        self.0.retain(|Kept { problem, .. }| {
            problem.ended.is_none_or(|ended| clock::age(ended, now) < KEPT_AFTER_END)
        });
        // Persisting problems come first; among either group, the most recent.
        self.0.sort_by(|Kept { problem: a, .. }, Kept { problem: b, .. }| {
            let last = |problem: &Problem| problem.ended.unwrap_or(problem.time);
            (a.ended.is_some(), last(b), &a.worker_type, a.since).cmp(&(
                b.ended.is_some(),
                last(a),
                &b.worker_type,
                b.since,
            ))
        });
        self.0.truncate(MAX_PROBLEMS);
    }

    /// Returns the persisting problems, then those that have ended. If there was no round since, the latter
    /// may have ended long ago.
    pub(super) fn list(&self) -> Vec<Problem> {
        self.0.iter().map(|kept| kept.problem.clone()).collect()
    }
}
