//! `provisionerd plan`: prints what the next round would do, and why.

use std::path::Path;
use std::sync::Arc;

use provisioner::internal::engine::NoteKind;
use provisioner::internal::engine::snapshot::{self, Snapshot};
use provisioner::internal::settings::Settings;

use crate::args::PlanArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use crate::render::PlanView;

/// Plans from a saved observation or a new one.
pub(crate) async fn plan(args: PlanArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let loaded = load::load_config(&context)?;
    if args.snapshot.is_none() {
        load::known_profile(&loaded, &context)?;
    }
    let settings = Arc::new(loaded.settings);
    let snapshot = match &args.snapshot {
        Some(path) => read(path)?,
        None => observe(&settings).await?,
    };
    if let Some(path) = &args.save_snapshot {
        write(path, snapshot.clone())?;
        context.notices.progress(format!("saved the observation in `{}`", path.display()));
    }
    let plan = snapshot.plan(settings);
    let view = PlanView::of_plan(&plan, snapshot.time);
    context.output.report(&view)?;
    if let Some(note) = plan.notes.iter().find(|note| note.kind == NoteKind::DemandUnknown) {
        return Err(Failure::failed(note.text.clone()));
    }
    Ok(if args.exit_code && view.has_actions() { ExitStatus::ACTIONS } else { ExitStatus::DONE })
}

#[cfg(feature = "aws")]
async fn observe(settings: &Arc<Settings>) -> Result<Snapshot, Failure> {
    use provisioner::internal::daemon::{Daemon, MissingLedger};
    use provisioner::internal::queue::Queue;

    let connection = crate::connect::connect(settings).await?;
    let state_dir = connection.state_dir(settings)?;
    let queue = Queue::from_settings(settings)
        .map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?;
    let crate::connect::Connection { client, key_name, .. } = connection;
    let settings = Arc::clone(settings);
    let mut daemon =
        Daemon::dry_run(settings, key_name, client, queue, &state_dir, MissingLedger::IsLost)
            .map_err(|error| crate::connect::state_dir_failure(&error))?;
    daemon.snapshot().await.map_err(|error| {
        Failure::from_error(ExitStatus::FAILED, &error).with_hint(error.hint().unwrap_or_default())
    })
}

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "with AWS it waits")]
async fn observe(_: &Arc<Settings>) -> Result<Snapshot, Failure> {
    Err(super::needs_aws("`provisionerd plan` without `--snapshot`"))
}

fn read(path: &Path) -> Result<Snapshot, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("failed to read the snapshot `{shown}`")).caused_by(&error)
    })?;
    let snapshot: Snapshot = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("`{shown}` is not a snapshot of `plan --save-snapshot`"))
            .caused_by(&error)
    })?;
    if snapshot.version != snapshot::VERSION {
        return Err(Failure::usage(format!(
            "the snapshot `{shown}` has version {}; this program reads version {}",
            snapshot.version,
            snapshot::VERSION
        )));
    }
    Ok(snapshot)
}

fn write(path: &Path, snapshot: Snapshot) -> Result<(), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::failed(format!("failed to save the snapshot in `{}`", path.display()))
            .caused_by(error)
    };
    let text =
        serde_json::to_string_pretty(&snapshot.redacted()).map_err(|error| failed(&error))?;
    std::fs::write(path, text + "\n").map_err(|error| failed(&error))
}
