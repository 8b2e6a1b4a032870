//! `provisionerd reload`: has the running daemon take up the configuration, and reports whether it did.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::config::{ConfigError, Loaded};
use provisioner::internal::state_dir::{LockHolder, StateDir, StateDirError};
use provisioner::internal::status::LastReload;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// How long the outcome is waited for. Reading a configuration takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks at the state directory.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the configuration can name the state directory even if it cannot be read.
const STATE_DIR_VARIABLE: &str = "PROVISIONER__PROVISIONER__STATE_DIR";

/// A daemon that reloads at SIGHUP.
struct Running {
    state_dir: StateDir,
    pid: u32,
}

/// Sends SIGHUP to the daemon and waits for the outcome.
pub(super) async fn reload(context: &Context) -> Result<ExitStatus, Failure> {
    // A configuration that is not valid is refused by the daemon too, which then shows that it was.
    let loaded = load::load_quietly(context);
    let Running { state_dir, pid } = match find(context, loaded.as_ref()) {
        Ok(running) => running,
        Err(not_found) => {
            return Err(match &loaded {
                Ok(_) => not_found,
                Err(invalid) => load::failure(invalid).and(not_found),
            });
        }
    };
    let asked = Timestamp::now();
    let failed = || format!("failed to signal the daemon, process {pid}");
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| Failure::failed(failed()))?;
    kill_process(process, Signal::HUP).map_err(|error| {
        Failure::failed(failed())
            .caused_by(&error)
            .with_hint("run this command as the daemon's own user, or as root")
    })?;
    let Some(LastReload { failure, .. }) = outcome(&state_dir, asked).await? else {
        return Err(Failure::failed(format!(
            "the daemon, process {pid}, did not report an outcome within {}s",
            PATIENCE.as_secs()
        ))
        .with_hint(
            "its log says what it does, and `provisionerd status` whether its rounds go on",
        ));
    };
    match failure {
        None => {
            context.notices.progress(format!("process {pid} has taken up the configuration"));
            Ok(ExitStatus::DONE)
        }
        Some(why) => Err(Failure::failed(format!(
            "the configuration was not reloaded, and the old one stays in force: {why}"
        ))),
    }
}

/// Waits for the outcome of a reload that began after `asked`.
async fn outcome(state_dir: &StateDir, asked: Timestamp) -> Result<Option<LastReload>, Failure> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let record = state_dir.read_reload().map_err(|error| unreadable(&error))?;
        let last = record.and_then(|record| record.last);
        if let Some(last) = last.filter(|last| last.began >= asked) {
            return Ok(Some(last));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

/// Finds the daemon of the configuration. Without a valid one, the only daemon there is.
fn find(context: &Context, loaded: Result<&Loaded, &ConfigError>) -> Result<Running, Failure> {
    let root = match loaded {
        Ok(loaded) => loaded.settings.provisioner.state_dir.clone(),
        Err(_) => context.environment.get(STATE_DIR_VARIABLE).map(PathBuf::from),
    };
    let state_dirs = StateDir::all_under(root.as_deref()).map_err(|error| unreadable(&error))?;
    let ours = |state_dir: &&StateDir| loaded.is_ok_and(|loaded| belongs(state_dir.path(), loaded));
    let mut found = Vec::new();
    for state_dir in state_dirs.iter().filter(|dir| loaded.is_err() || ours(dir)) {
        let holder = state_dir.holder().map_err(|error| unreadable(&error))?;
        let Some(LockHolder { pid: Some(pid) }) = holder else { continue };
        let record = state_dir.read_reload().map_err(|error| unreadable(&error))?;
        // The signal would end any other process than a daemon that has said that it reloads.
        if record.is_some_and(|record| record.pid == pid) {
            found.push(Running { state_dir: state_dir.clone(), pid });
        } else {
            let path = state_dir.path().display();
            tracing::debug!("`{path}` is locked by process {pid}, which does not reload");
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(running), None) => Ok(running),
        (None, _) => Err(Failure::failed("no daemon that reloads was found").with_hint(
            "is `provisionerd run` running on this machine, with this configuration and as this user?",
        )),
        (Some(_), Some(_)) => Err(Failure::failed("several daemons run with this state directory")
            .with_hint("name the configuration of one of them with --config")),
    }
}

/// Returns whether a state directory is that of the configuration, as far as it says.
fn belongs(path: &Path, loaded: &Loaded) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let aws = &loaded.settings.aws;
    let region = aws.saved_region.as_ref().or(aws.region.as_ref());
    let key_name = loaded.settings.provisioner.key_name.as_ref();
    key_name.is_none_or(|key_name| name.ends_with(&format!("-{key_name}")))
        && aws.account_id.as_ref().is_none_or(|account| name.starts_with(&format!("{account}-")))
        && region.is_none_or(|region| name.contains(&format!("-{region}-")))
}

fn unreadable(error: &StateDirError) -> Failure {
    Failure::from_error(ExitStatus::FAILED, error).with_hint(error.hint().unwrap_or_default())
}
