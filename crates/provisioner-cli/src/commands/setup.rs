//! `setup-aws`.

use crate::args::SetupAws;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Makes a key-name, its key pair and what else is asked for, and saves it.
#[cfg(feature = "aws")]
pub(super) async fn setup(args: SetupAws, mut context: Context) -> Result<ExitStatus, Failure> {
    use provisioner::internal::setup::{self, SetupOptions};

    use super::local::{self, Local, Missing};

    // An interrupt must not leave a key pair behind that no file names: the first one waits for the
    // few bounded calls to end, or to be undone.
    let interrupted = crate::signals::listen()?;
    let SetupAws { globals: _, public_key, prefix, with_worker_profile, force, dry_run } = args;
    let Local { file, loaded, client } = local::open(&mut context, Missing::Made).await?;
    let state_dir = loaded.settings.provisioner.state_dir;
    let options =
        SetupOptions { prefix, public_key, with_worker_profile, force, dry_run, state_dir };
    let mut report = setup::setup(&client, file, &options).await.map_err(|error| {
        let status = if error.is_usage() { ExitStatus::USAGE } else { ExitStatus::FAILED };
        Failure::from_error(status, &error).with_hint(error.hint().unwrap_or_default())
    })?;
    let notices = context.notices;
    let mut progress = |line: &str| notices.progress(line);
    let finished = tokio::select! {
        () = interrupted.cancelled() => false,
        () = setup::finish(&client, &mut report, &mut progress) => true,
    };
    if !finished {
        notices.progress("interrupted: not waiting for IAM any longer; the rest is done");
    }
    for warning in &report.warnings {
        notices.warning(&warning.message, &warning.hint);
    }
    context.output.print(&report)?;
    Ok(ExitStatus::DONE)
}

/// Says what is missing.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "as with AWS")]
pub(super) async fn setup(_args: SetupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`setup-aws`"))
}
