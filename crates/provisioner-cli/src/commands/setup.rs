//! `setup-aws`.

use crate::args::SetupAws;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Creates a key-name, its key pair and the other resources that were asked for, and saves them.
#[cfg(feature = "aws")]
pub(super) async fn setup(args: SetupAws, mut context: Context) -> Result<ExitStatus, Failure> {
    use provisioner::internal::domain::observed::KeyPairType;
    use provisioner::internal::setup::{self, SetupOptions};

    use super::local::{self, Local, MissingFile};
    use crate::args::KeyTypeArg;

    // An interrupt must not leave behind a key pair that no file names: after the first one the few
    // bounded calls are still finished or undone.
    let interrupted = crate::signals::listen()?;
    let SetupAws { globals: _, public_key, key_type, prefix, with_worker_profile, force, dry_run } =
        args;
    let key_type = match key_type {
        KeyTypeArg::Ed25519 => KeyPairType::Ed25519,
        KeyTypeArg::Rsa => KeyPairType::Rsa,
    };
    let Local { file, loaded, client } = local::open(&mut context, MissingFile::Created).await?;
    let state_dir = loaded.settings.provisioner.state_dir;
    let options = SetupOptions {
        prefix,
        public_key,
        key_type,
        with_worker_profile,
        force,
        dry_run,
        state_dir,
    };
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
        notices.progress("interrupted: no longer waiting for IAM; everything else is done");
    }
    for warning in &report.warnings {
        notices.warning(&warning.message, &warning.hint);
    }
    context.output.print(&report)?;
    Ok(ExitStatus::DONE)
}

/// Fails, because this needs AWS.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "with AWS it waits")]
pub(super) async fn setup(_args: SetupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`setup-aws`"))
}
