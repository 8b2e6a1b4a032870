//! What the daemon says: one line per action, one per round that did something, and each note once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::aws;
use crate::domain::ids::{SpotRequestId, WorkerTypeName, Zone};
use crate::domain::plural;
use crate::domain::shown::shown;
use crate::engine::{ActionKind, ActionOutcome, ActionResult, Note, NoteKind, Plan, Report};

/// What tells one note from another.
type Key = (Option<WorkerTypeName>, NoteKind, Option<String>);

/// How many names of unknown worker types are remembered as reported.
const MOST_REMEMBERED: usize = 10_000;

/// Remembers what was said already.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// The notes of the last round with their texts: a note that stays is not said again, and its end is
    /// said once.
    last: BTreeMap<Key, String>,
    /// Said once and never again.
    once: BTreeSet<Key>,
    warnings: BTreeSet<String>,
    failing: Option<String>,
    rounds: u64,
}

impl Reporter {
    /// A round begins.
    pub(super) fn begin(&mut self) {
        self.rounds += 1;
    }

    /// The number of the round under way, or of the last one.
    pub(super) fn iteration(&self) -> u64 {
        self.rounds
    }

    pub(super) fn executed(&self, executed: &ActionOutcome) {
        let ActionOutcome { action, launch, result } = executed;
        let kind = action.kind.as_str();
        let count = action.kind.count();
        let ids = action.kind.ids().join(" ");
        let (instances, requests) = match &action.kind {
            ActionKind::Cancel(_) => (None, Some(ids.clone())),
            ActionKind::Terminate(_) | ActionKind::Tag(_) => (Some(ids.clone()), None),
            ActionKind::Request(_) => (None, None),
        };
        let made = match result {
            ActionResult::Done(made) if !made.is_empty() => {
                Some(made.iter().map(SpotRequestId::as_str).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        };
        let pool = launch.as_ref().map(|(pool, _)| pool);
        let what = pool.map_or(ids, ToString::to_string);
        let refusal = match result {
            ActionResult::Done(_) => None,
            ActionResult::Refused(refusal) | ActionResult::Unknown(refusal) => Some(refusal),
        };
        let text = &action.reason.text;
        // One list of fields for all; those that are `None` are left out.
        macro_rules! tell {
            ($level:ident, $($message:tt)+) => {
                tracing::$level!(
                    reconcile.iteration = self.rounds,
                    action.kind = kind,
                    action.count = count,
                    action.reason = action.reason.kind.as_str(),
                    outcome = result.as_str(),
                    worker_type = action.worker_type.as_ref().map(WorkerTypeName::as_str),
                    instance.r#type = pool.map(|pool| pool.instance_type.as_str()),
                    zone = pool.and_then(|pool| pool.zone.as_ref()).map(Zone::as_str),
                    token = launch.as_ref().map(|(_, token)| token.as_str()),
                    instance.id = instances,
                    spot_request.id = made.or(requests),
                    error.kind = refusal.map(|refusal| refusal.class.as_str()),
                    error.code = refusal.map(|refusal| refusal.code.as_str()),
                    aws.operation = action.kind.operation(),
                    aws.request_id = refusal.and_then(|refusal| refusal.request_id.as_deref()),
                    $($message)+
                )
            };
        }
        match result {
            ActionResult::Done(_) => tell!(info, "{kind} {count} ({what}): {text}"),
            ActionResult::Refused(refusal) => {
                tell!(
                    warn,
                    "{kind} {count} ({what}) was refused: {refusal}; wanted because {text}"
                );
            }
            ActionResult::Unknown(refusal) => tell!(
                warn,
                "{kind} {count} ({what}) got no clear answer: {refusal}; wanted because {text}"
            ),
        }
    }

    pub(super) fn round(&mut self, report: &Report, took: Duration) {
        if self.failing.take().is_some() {
            tracing::info!(reconcile.iteration = self.rounds, "EC2 can be observed again");
        }
        self.notes(&report.plan.notes);
        let (round, actions) = (self.rounds, report.executed.len());
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let next = report.wake;
        if actions > 0 {
            tracing::info!(
                reconcile.iteration = round, actions, duration_ms, %next,
                "round {round} ended: {}", plural::count(actions, "action")
            );
        } else {
            tracing::debug!(
                reconcile.iteration = round, actions, duration_ms, %next,
                "round {round} ended: nothing to do"
            );
        }
    }

    /// What a dry run would have done.
    pub(super) fn planned(&mut self, plan: &Plan) {
        for action in &plan.actions {
            let kind = action.kind.as_str();
            let count = action.kind.count();
            let ids = Some(action.kind.ids().join(" ")).filter(|ids| !ids.is_empty());
            let (instances, requests) = match &action.kind {
                ActionKind::Cancel(_) => (None, ids),
                ActionKind::Terminate(_) | ActionKind::Tag(_) => (ids, None),
                ActionKind::Request(_) => (None, None),
            };
            tracing::info!(
                reconcile.iteration = self.rounds,
                action.kind = kind,
                action.count = count,
                action.reason = action.reason.kind.as_str(),
                outcome = "dry-run",
                worker_type = action.worker_type.as_ref().map(WorkerTypeName::as_str),
                instance.id = instances,
                spot_request.id = requests,
                "would {kind} {count}: {}",
                action.reason.text
            );
        }
        self.notes(&plan.notes);
    }

    pub(super) fn notes(&mut self, notes: &[Note]) {
        let mut seen = BTreeMap::new();
        for note in notes {
            let key = (note.worker_type.clone(), note.kind, note.subject.clone());
            let forever =
                matches!(note.kind, NoteKind::UnknownWorkerType | NoteKind::RunningIgnored);
            let new = if forever {
                self.once.len() < MOST_REMEMBERED && self.once.insert(key)
            } else {
                let new = !self.last.contains_key(&key);
                seen.insert(key, note.text.clone()).is_none() && new
            };
            if !new {
                continue;
            }
            let worker_type = note.worker_type.as_ref().map(WorkerTypeName::as_str);
            let kind = note.kind.as_str();
            let round = self.rounds;
            if note.kind.is_problem() {
                tracing::warn!(
                    reconcile.iteration = round,
                    note.kind = kind,
                    worker_type,
                    "{}",
                    note.text
                );
            } else {
                tracing::info!(
                    reconcile.iteration = round,
                    note.kind = kind,
                    worker_type,
                    "{}",
                    note.text
                );
            }
        }
        // Without the demand most notes are not looked for, so that their absence says nothing.
        if notes.iter().any(|note| note.kind == NoteKind::DemandUnknown) {
            for (key, text) in std::mem::take(&mut self.last) {
                seen.entry(key).or_insert(text);
            }
        }
        for ((worker_type, kind, _), text) in
            self.last.iter().filter(|(key, _)| !seen.contains_key(*key))
        {
            tracing::info!(
                reconcile.iteration = self.rounds,
                note.kind = kind.as_str(),
                note.ended = true,
                worker_type = worker_type.as_ref().map(WorkerTypeName::as_str),
                "no longer so: {text}"
            );
        }
        self.last = seen;
    }

    pub(super) fn warning(&mut self, text: &str) {
        if self.warnings.len() < MOST_REMEMBERED && self.warnings.insert(text.to_owned()) {
            tracing::warn!("{}", shown(text));
        }
    }

    pub(super) fn failed(&mut self, error: &aws::Error, wake: Timestamp) {
        let text = error.to_string();
        let code = error.code().to_owned();
        // The same failure again is no news.
        if self.failing.as_ref() == Some(&code) {
            tracing::debug!(
                reconcile.iteration = self.rounds, error = text, next = %wake,
                "EC2 still cannot be observed"
            );
            return;
        }
        tracing::error!(
            reconcile.iteration = self.rounds, error.kind = %error.class(), error.code = code, aws.operation = error.operation,
            aws.request_id = error.refusal.request_id, next = %wake,
            "EC2 cannot be observed, so nothing is done: {text}"
        );
        self.failing = Some(code);
    }
}
