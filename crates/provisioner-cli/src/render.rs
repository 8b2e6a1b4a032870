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
use provisioner::internal::domain::shown::shown;
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
    worker_types: Vec<WorkerTypeView>,
    actions: Vec<ActionView>,
    notes: Vec<NoteView>,
    #[serde(skip)]
    demand_known: bool,
    /// Whether a note holds something back that is wanted.
    #[serde(skip)]
    is_withheld: bool,
}

/// One worker type. What is not known is `None`, and never 0.
#[derive(Debug, Serialize)]
struct WorkerTypeView {
    name: String,
    pending: Option<u64>,
    running: Option<u64>,
    open_requests: u64,
    booting: u64,
    idle: u64,
    busy: u64,
    stopping: u64,
    wanted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_pending: Option<Timestamp>,
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
            worker_types: plan
                .worker_types
                .iter()
                .map(|status| WorkerTypeView::of(status, plan.demand_known()))
                .collect(),
            actions: plan.actions.iter().map(|action| ActionView::of(action, None)).collect(),
            notes: plan.notes.iter().map(NoteView::of).collect(),
            demand_known: plan.demand_known(),
            is_withheld: plan.notes.iter().any(|note| note.kind.withholds()),
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
                count(row.pending),
                count(row.running),
                row.open_requests.to_string(),
                row.booting.to_string(),
                row.idle.to_string(),
                row.busy.to_string(),
                row.stopping.to_string(),
                count(row.wanted),
            ]
        });
        output::write_table(f, header, rows)?;
        writeln!(f)?;
        if !self.demand_known {
            writeln!(
                f,
                "? is unknown: the queue could not be read, so nothing is done for its tasks."
            )?;
        }
        match (self.actions.is_empty(), self.demand_known, self.is_withheld) {
            (false, ..) => writeln!(f, "Actions:")?,
            (true, true, false) => writeln!(f, "Nothing to do.")?,
            (true, true, true) => {
                writeln!(f, "Nothing is done now; a note says what is held back.")?;
            }
            (true, false, _) => {}
        }
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

impl WorkerTypeView {
    fn of(status: &WorkerTypeStatus, demand_known: bool) -> Self {
        let WorkerTypeStatus {
            name,
            pending,
            running,
            open_requests,
            booting,
            idle,
            busy,
            stopping,
            wanted,
            oldest_pending,
        } = status;
        let demanded = |count: u64| demand_known.then_some(count);
        Self {
            name: name.clone(),
            pending: demanded(*pending),
            running: *running,
            open_requests: *open_requests,
            booting: *booting,
            idle: *idle,
            busy: *busy,
            stopping: *stopping,
            wanted: demanded(*wanted),
            oldest_pending: *oldest_pending,
        }
    }
}

/// Writes a count that may not be known.
fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

impl ActionView {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker_type = self.worker_type.as_deref().unwrap_or("several or none");
        writeln!(f, "  {} {} ({worker_type}): {}", self.kind, self.count, self.reason.text)?;
        if let Some(result) = &self.result {
            let pool = result.pool.as_ref().map(|pool| format!(" ({pool})")).unwrap_or_default();
            match &result.error {
                None => writeln!(f, "    {}{pool}", result.outcome)?,
                Some(ErrorView { code, message, .. }) => {
                    let (code, message) = (shown(code), shown(message));
                    writeln!(f, "    {}{pool}: {code}: {message}", result.outcome)?;
                }
            }
        }
        if !self.ids.is_empty() {
            writeln!(f, "    {}", shown(self.ids.join(" ")))?;
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

#[cfg(test)]
mod tests {
    use provisioner::internal::engine::NoteKind;

    use super::*;
    use crate::args::OutputFormat;
    use crate::output::tests::printed;

    fn plan(notes: Vec<Note>) -> PlanView {
        let status = WorkerTypeStatus { name: "linux".to_owned(), busy: 2, ..Default::default() };
        let plan = Plan { worker_types: vec![status], notes, ..Plan::default() };
        PlanView::of_plan(&plan, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_plan_without_the_queue_shows_no_zero_and_does_not_say_that_there_is_nothing_to_do() {
        let down = Note::new(None, NoteKind::DemandUnknown, "down".to_owned());
        let unknown = plan(vec![down]);
        let text = printed(OutputFormat::Text, &unknown);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["linux", "?", "?", "0", "0", "0", "2", "0", "?"]);
        assert!(text.contains("? is unknown: the queue could not be read"), "{text}");
        assert!(!text.contains("Nothing to do"), "{text}");
        let json: serde_json::Value =
            serde_json::from_str(&printed(OutputFormat::Json, &unknown)).unwrap();
        let row = &json["worker_types"][0];
        assert!(row["pending"].is_null() && row["wanted"].is_null() && row["running"].is_null());
        assert_eq!((&row["busy"], &row["open_requests"]), (&2.into(), &0.into()));
        assert!(printed(OutputFormat::Text, &plan(Vec::new())).contains("Nothing to do."));
        let held = Note::new(None, NoteKind::LedgerLost, "lost".to_owned());
        let text = printed(OutputFormat::Text, &plan(vec![held]));
        assert!(text.contains("held back") && !text.contains("Nothing to do"), "{text}");
    }
}
