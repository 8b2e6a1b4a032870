//! `cleanup-aws`.

use crate::args::CleanupAws;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Lists what there is, asks, removes it, and reports what is left.
#[cfg(feature = "aws")]
pub(super) async fn cleanup(args: CleanupAws, mut context: Context) -> Result<ExitStatus, Failure> {
    use provisioner::internal::cleanup::{self, CleanupOptions, CleanupOutcome, CleanupPlan};

    use super::local::{self, Local, MissingFile};
    use crate::confirm::Confirm;
    use crate::load;

    let CleanupAws { globals: _, key_names, yes, dry_run, timeout } = args;
    let confirm = if yes { Confirm::AssumeYes } else { Confirm::Prompt };
    if !dry_run {
        confirm.check_terminal()?;
    }
    let interrupted = crate::signals::listen()?;
    let untouched = || Failure::failed("interrupted; nothing was touched");
    let notices = context.notices;

    let planning = async {
        let Local { file, loaded, client } =
            local::open(&mut context, MissingFile::Refused).await?;
        let in_force = cleanup::key_names_in_force(&loaded);
        let saved = file.saved().map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?;
        if let Some(other) = saved.key_name.filter(|name| Some(name) != in_force.key_name.as_ref())
        {
            let path = file.path().display();
            notices.warning(
                format!("`{other}` in {path} is not the key-name in force, and is not covered"),
                &format!("add `--key-name {other}` to cover it too"),
            );
        }
        let targets = cleanup::targets(&in_force, &key_names, client.region()).map_err(failure)?;
        let plan = CleanupPlan::make(&client, targets).await.map_err(failure)?;
        Ok::<_, Failure>((file, loaded.settings, client, plan))
    };
    let (file, settings, client, plan) = tokio::select! {
        () = interrupted.cancelled() => return Err(untouched()),
        planned = planning => planned?,
    };
    if dry_run {
        context.output.print(&plan)?;
        return Ok(ExitStatus::DONE);
    }

    if confirm == Confirm::Prompt && !plan.is_empty() {
        let listing = plan.to_string();
        let asked =
            tokio::task::spawn_blocking(move || confirm.ask(&listing, "Remove all of this?"));
        let answer = tokio::select! {
            () = interrupted.cancelled() => return Err(untouched()),
            answer = asked => answer,
        };
        let answer =
            answer.map_err(|error| Failure::failed("failed to ask").caused_by(&error))??;
        if !answer {
            return Err(Failure::failed("not confirmed; nothing was touched"));
        }
    } else {
        notices.progress(&plan);
    }

    let state_dir = settings.provisioner.state_dir;
    let options = CleanupOptions { yes, timeout, state_dir, ..CleanupOptions::default() };
    let mut progress = |line: &str| notices.progress(line);
    let mut report = tokio::select! {
        () = interrupted.cancelled() => {
            return Err(Failure::partly("interrupted; the configuration is unchanged")
                .with_hint("run `cleanup-aws` again: it continues where it stopped"));
        }
        report = cleanup::execute(&client, plan, file, &options, &mut progress) => {
            report.map_err(failure)?
        }
    };
    if let Ok(loaded) = load::load_quietly(&context) {
        report.note_still_named(&loaded);
    }
    context.output.print(&report)?;
    match report.outcome {
        CleanupOutcome::Done => Ok(ExitStatus::DONE),
        CleanupOutcome::Partly => Err(left(Failure::partly("not everything is gone"), &report)),
        CleanupOutcome::Failed => Err(left(Failure::failed("nothing could be removed"), &report)),
    }
}

#[cfg(feature = "aws")]
fn left(failure: Failure, report: &provisioner::internal::cleanup::CleanupReport) -> Failure {
    let failure = failure.with_hint("fix what the messages name, then run `cleanup-aws` again");
    let left = report.key_names.iter().flat_map(|name| &name.left);
    left.fold(failure, |failure, left| {
        failure.and(Failure::partly(format!("{} is left: {}", left.what, left.why)))
    })
}

#[cfg(feature = "aws")]
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failure(error: provisioner::internal::cleanup::CleanupError) -> Failure {
    let status = if error.is_usage() { ExitStatus::USAGE } else { ExitStatus::FAILED };
    Failure::from_error(status, &error).with_hint(error.hint().unwrap_or_default())
}

/// Fails, because this needs AWS.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "with AWS it waits")]
pub(super) async fn cleanup(_args: CleanupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`cleanup-aws`"))
}
