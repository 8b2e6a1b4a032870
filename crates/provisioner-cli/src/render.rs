//! Plans and rounds as text and JSON.
//!
//! The shapes here are the contract of `--output json`. Most are separate from the engine's types, so that
//! those can change.

mod columns;
pub(crate) mod demo;
mod status;
mod wrap;

use std::fmt;

use jiff::Timestamp;
use provisioner::internal::engine::{Action, Note, Plan, WorkerTypeStatus};
#[cfg(feature = "aws")]
use provisioner::internal::engine::{ActionOutcome, ActionResult, Report};
use serde::Serialize;

use crate::output;

pub(crate) use status::{StatusView, USUAL_WIDTH};

/// The contract of `plan --output json`, and with results of `run --once --output json`.
#[derive(Debug, Serialize)]
pub(crate) struct PlanView {
    time: Timestamp,
    worker_types: Vec<WorkerTypeStatus>,
    actions: Vec<ActionView>,
    notes: Vec<NoteView>,
}

#[derive(Debug, Serialize)]
struct ActionView {
    kind: &'static str,
    worker_type: Option<String>,
    count: u64,
    ids: Vec<String>,
    reason: ReasonView,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ResultView>,
}

#[derive(Debug, Serialize)]
struct ReasonView {
    kind: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct ResultView {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    requests: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
}

#[derive(Debug, Serialize)]
struct ErrorView {
    kind: &'static str,
    code: String,
    message: String,
    request_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct NoteView {
    worker_type: Option<String>,
    kind: &'static str,
    text: String,
}

impl PlanView {
    /// Shows a plan that was not carried out.
    pub(crate) fn of_plan(plan: &Plan, time: Timestamp) -> Self {
        Self {
            time,
            worker_types: plan.worker_types.clone(),
            actions: plan.actions.iter().map(|action| ActionView::of(action, None)).collect(),
            notes: plan.notes.iter().map(NoteView::of).collect(),
        }
    }

    /// Shows a round with the results of its actions.
    #[cfg(feature = "aws")]
    pub(crate) fn of_report(report: &Report, time: Timestamp) -> Self {
        let done = |executed: &ActionOutcome| {
            ActionView::of(&executed.action, Some(ResultView::of(executed)))
        };
        Self {
            actions: report.executed.iter().map(done).collect(),
            ..Self::of_plan(&report.plan, time)
        }
    }

    /// Whether there are actions, planned or carried out.
    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }
}

impl output::Report for PlanView {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "WORKER TYPE",
            "PENDING",
            "RUNNING",
            "OPEN",
            "BOOTING",
            "IDLE",
            "BUSY",
            "STOPPING",
            "WANTED",
        ];
        let rows = self.worker_types.iter().map(|row| {
            [
                row.name.clone(),
                row.pending.to_string(),
                row.running.to_string(),
                row.open_requests.to_string(),
                row.booting.to_string(),
                row.idle.to_string(),
                row.busy.to_string(),
                row.stopping.to_string(),
                row.wanted.to_string(),
            ]
        });
        output::write_table(f, header, rows)?;
        writeln!(f)?;
        writeln!(f, "{}", if self.actions.is_empty() { "Nothing to do." } else { "Actions:" })?;
        for action in &self.actions {
            action.text(f)?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nNotes:")?;
        }
        for note in &self.notes {
            let worker_type =
                note.worker_type.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            writeln!(f, "  {worker_type}{} ({})", note.text, note.kind)?;
        }
        Ok(())
    }
}

impl ActionView {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker_type = self.worker_type.as_deref().unwrap_or("several or none");
        writeln!(f, "  {} {} ({worker_type}): {}", self.kind, self.count, self.reason.text)?;
        if let Some(result) = &self.result {
            let pool = result.pool.as_ref().map(|pool| format!(" ({pool})")).unwrap_or_default();
            match &result.error {
                None => writeln!(f, "    {}{pool}", result.outcome)?,
                Some(error) => {
                    writeln!(f, "    {}{pool}: {}: {}", result.outcome, error.code, error.message)?;
                }
            }
        }
        if !self.ids.is_empty() {
            writeln!(f, "    {}", self.ids.join(" "))?;
        }
        Ok(())
    }
}

impl ActionView {
    fn of(action: &Action, result: Option<ResultView>) -> Self {
        Self {
            kind: action.kind.as_str(),
            worker_type: action.worker_type.as_ref().map(ToString::to_string),
            count: action.kind.count(),
            ids: action.kind.ids().into_iter().map(str::to_owned).collect(),
            reason: ReasonView {
                kind: action.reason.kind.as_str(),
                text: action.reason.text.clone(),
            },
            result,
        }
    }
}

#[cfg(feature = "aws")]
impl ResultView {
    fn of(executed: &ActionOutcome) -> Self {
        let pool = executed.launch.as_ref().map(|(pool, _)| pool.to_string());
        let (outcome, requests, refusal) = match &executed.result {
            ActionResult::Done(requests) => ("done", requests.as_slice(), None),
            ActionResult::Refused(refusal) => ("refused", &[][..], Some(refusal)),
            ActionResult::Unknown(refusal) => ("unknown", &[][..], Some(refusal)),
        };
        Self {
            outcome,
            pool,
            requests: requests.iter().map(ToString::to_string).collect(),
            error: refusal.map(|refusal| ErrorView {
                kind: refusal.class.as_str(),
                code: refusal.code.clone(),
                message: refusal.message.clone(),
                request_id: refusal.request_id.clone(),
            }),
        }
    }
}

impl NoteView {
    fn of(note: &Note) -> Self {
        Self {
            worker_type: note.worker_type.as_ref().map(ToString::to_string),
            kind: note.kind.as_str(),
            text: note.text.clone(),
        }
    }
}
