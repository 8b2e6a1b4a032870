//! What goes wrong, told once for as long as it lasts, and who can mend it how.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::refusal::Refusal;
use crate::engine::Note;

/// How many are kept: more than anybody reads, and little enough to write in every round.
const MOST: usize = 10;

/// How long one is still told after it has ended.
const TOLD_AFTER_END: Duration = Duration::from_mins(15);

/// The longest message kept. EC2's "encoded authorization failure message" alone takes a thousand.
const LONGEST_MESSAGE: usize = 2000;

/// Something that goes wrong, or did lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// When it last happened.
    pub time: Timestamp,
    /// When it first did, without a round in between that went well.
    pub since: Timestamp,
    /// When a round first went without it.
    pub ended: Option<Timestamp>,
    /// In how many rounds it happened.
    pub rounds: u64,
    /// For which worker type; `None` if for none in particular.
    pub worker_type: Option<WorkerTypeName>,
    /// The AWS call; `None` if it was none.
    pub operation: Option<String>,
    /// AWS's error code, or our word, as notes have one (`cooling-down`).
    pub code: String,
    /// AWS's message, or ours.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
    /// What to do about it, where that is known.
    pub fix: Option<String>,
}

/// What a problem is about, which tells what its end looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// EC2 could not be observed. Ended by any look.
    Look,
    /// Prices are unknown. Ended by an answer.
    Prices,
    /// A launch was refused. Ended by a round in which nothing of the worker type is refused or withheld.
    Launch,
    /// Anything else. Ended by a round on a known demand that does not meet it again.
    Round,
}

/// A problem as it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is about.
    pub scope: Scope,
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

impl Seen {
    /// What AWS said no with to a call.
    pub fn refusal(scope: Scope, operation: &'static str, refusal: &Refusal) -> Self {
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

    /// A note that says that something is wrong; of others, nothing.
    pub fn note(note: &Note) -> Option<Self> {
        note.kind.is_problem().then(|| Self {
            worker_type: note.worker_type.clone(),
            fix: note.kind.fix().map(str::to_owned),
            ..Self::own(Scope::Round, note.kind.as_str(), &note.text)
        })
    }

    /// In our own words.
    pub fn own(scope: Scope, code: &str, message: &str) -> Self {
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

    /// The same with what to do about it.
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

/// The last few problems, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Problems(Vec<Kept>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    scope: Scope,
    #[serde(flatten)]
    problem: Problem,
}

impl Problems {
    /// Takes in what was met at `now`, each distinct one once however often it was met. Of those that
    /// were not met, the ones that are `over` have ended; what ended long ago is forgotten.
    pub(super) fn take_in(
        &mut self,
        seen: Vec<Seen>,
        now: Timestamp,
        over: impl Fn(Scope, &Problem) -> bool,
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
            problem.ended.is_none_or(|ended| clock::age(ended, now) < TOLD_AFTER_END)
        });
        // What goes on first, and of either kind the latest.
        self.0.sort_by(|Kept { problem: a, .. }, Kept { problem: b, .. }| {
            let last = |problem: &Problem| problem.ended.unwrap_or(problem.time);
            (a.ended.is_some(), last(b), &a.worker_type, a.since).cmp(&(
                b.ended.is_some(),
                last(a),
                &b.worker_type,
                b.since,
            ))
        });
        self.0.truncate(MOST);
    }

    /// What goes on first, then what has ended. That may have been long ago, if no round came since.
    pub(super) fn list(&self) -> Vec<Problem> {
        self.0.iter().map(|kept| kept.problem.clone()).collect()
    }
}
