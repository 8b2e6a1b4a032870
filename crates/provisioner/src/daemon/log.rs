//! What the daemon says: one line per action, one per round that did something, and each note once.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::aws;
use crate::engine::{Executed, ExecutedResult, Note, NoteKind, Plan, Report};
use crate::ids::{SpotRequestId, WorkerTypeName};

/// What tells one note from another.
type Key = (Option<WorkerTypeName>, NoteKind, Option<String>);

/// How many names of unknown worker types are remembered as reported.
const MOST_REMEMBERED: usize = 10_000;

/// Remembers what was said already.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// The notes of the last round: a note that stays is not said again.
    last: BTreeSet<Key>,
    /// Said once and never again.
    once: BTreeSet<Key>,
    warnings: BTreeSet<String>,
    failing: Option<String>,
    rounds: u64,
}

impl Reporter {
    pub(super) fn executed(executed: &Executed) {
        let Executed { action, launch, result } = executed;
        let kind = action.kind.as_str();
        let count = action.kind.count();
        let ids = action.kind.ids().join(" ");
        let worker_type =
            action.worker_type.as_ref().map(WorkerTypeName::as_str).unwrap_or_default();
        let reason = action.reason.kind.as_str();
        let (pool, token) = launch
            .as_ref()
            .map(|(pool, token)| (pool.to_string(), token.to_string()))
            .unwrap_or_default();
        let text = &action.reason.text;
        let what = if pool.is_empty() { ids.clone() } else { pool.clone() };
        match result {
            ExecutedResult::Done(requests) => {
                let requests: Vec<_> = requests.iter().map(SpotRequestId::as_str).collect();
                tracing::info!(
                    action.kind = kind,
                    action.count = count,
                    action.reason = reason,
                    worker_type,
                    pool,
                    token,
                    ids,
                    requests = requests.join(" "),
                    outcome = "done",
                    "{kind} {count} ({what}): {text}"
                );
            }
            ExecutedResult::Refused(refusal) => tracing::warn!(
                action.kind = kind, action.count = count, action.reason = reason, worker_type,
                pool, token, ids, outcome = "refused", error.kind = %refusal.class,
                error.code = refusal.code, aws.request_id = refusal.request_id,
                "{kind} {count} ({what}) was refused: {refusal}; wanted because {text}"
            ),
            ExecutedResult::Unknown(refusal) => tracing::warn!(
                action.kind = kind, action.count = count, action.reason = reason, worker_type,
                pool, token, ids, outcome = "unknown", error.kind = %refusal.class,
                error.code = refusal.code, aws.request_id = refusal.request_id,
                "{kind} {count} ({what}) got no clear answer: {refusal}; wanted because {text}"
            ),
        }
    }

    pub(super) fn round(&mut self, report: &Report) {
        self.rounds += 1;
        if self.failing.take().is_some() {
            tracing::info!("EC2 can be observed again");
        }
        self.notes(&report.plan.notes);
        let done = report.executed.len();
        if done > 0 {
            tracing::info!(round = self.rounds, actions = done, next = %report.wake, "round {} ended: {done} actions", self.rounds);
        } else {
            tracing::debug!(round = self.rounds, next = %report.wake, "round {} ended: nothing to do", self.rounds);
        }
    }

    /// What a dry run would have done.
    pub(super) fn planned(&mut self, plan: &Plan) {
        for action in &plan.actions {
            let kind = action.kind.as_str();
            let count = action.kind.count();
            tracing::info!(
                action.kind = kind,
                action.count = count,
                action.reason = action.reason.kind.as_str(),
                worker_type =
                    action.worker_type.as_ref().map(WorkerTypeName::as_str).unwrap_or_default(),
                ids = action.kind.ids().join(" "),
                outcome = "dry-run",
                "would {kind} {count}: {}",
                action.reason.text
            );
        }
        self.notes(&plan.notes);
    }

    pub(super) fn notes(&mut self, notes: &[Note]) {
        let mut seen = BTreeSet::new();
        for note in notes {
            let key = (note.worker_type.clone(), note.kind, note.subject.clone());
            let forever =
                matches!(note.kind, NoteKind::UnknownWorkerType | NoteKind::RunningIgnored);
            let new = if forever {
                self.once.len() < MOST_REMEMBERED && self.once.insert(key)
            } else {
                let new = !self.last.contains(&key);
                seen.insert(key) && new
            };
            if !new {
                continue;
            }
            let worker_type =
                note.worker_type.as_ref().map(WorkerTypeName::as_str).unwrap_or_default();
            let kind = note.kind.as_str();
            if note.kind.withholds()
                || matches!(note.kind, NoteKind::DemandUnknown | NoteKind::StrayKept)
            {
                tracing::warn!(note.kind = kind, worker_type, "{}", note.text);
            } else {
                tracing::info!(note.kind = kind, worker_type, "{}", note.text);
            }
        }
        self.last = seen;
    }

    pub(super) fn warning(&mut self, text: &str) {
        if self.warnings.len() < MOST_REMEMBERED && self.warnings.insert(text.to_owned()) {
            tracing::warn!("{text}");
        }
    }

    pub(super) fn failed(&mut self, error: &aws::Error, wake: Timestamp) {
        self.rounds += 1;
        let text = error.to_string();
        let code = error.code().to_owned();
        // The same failure again is no news.
        if self.failing.as_ref() == Some(&code) {
            tracing::debug!(error = text, next = %wake, "EC2 still cannot be observed");
            return;
        }
        tracing::error!(
            error.kind = %error.class(), error.code = code, aws.operation = error.operation,
            aws.request_id = error.refusal.request_id, next = %wake,
            "EC2 cannot be observed, so nothing is done: {text}"
        );
        self.failing = Some(code);
    }
}
