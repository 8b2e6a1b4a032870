//! Reloads the configuration on SIGHUP. It is checked first, and an invalid one is not used.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use provisioner::internal::config::{self, Entry, Origin};
use provisioner::internal::daemon::Reloader;
use provisioner::internal::domain::plural;
use provisioner::internal::queue::Queue;
use provisioner::internal::status::LastReload;
use tokio::sync::Notify;

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::{load, notify};

/// Reloads at each of `hang_ups`, until the future is dropped. `told` hears of each outcome.
pub(crate) async fn reload_at(
    hang_ups: &Notify,
    context: &Context,
    mut reloader: Reloader<Queue>,
    mut in_force: Vec<Entry>,
    told: impl Fn(&LastReload),
) -> Infallible {
    reloader.record(None);
    loop {
        hang_ups.notified().await;
        let began = Timestamp::now();
        notify::reloading();
        let failure = match reload(context, &mut reloader, &in_force) {
            Ok(entries) => {
                in_force = entries;
                None
            }
            Err(failure) => {
                for (message, hint) in failure.messages() {
                    let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                    tracing::error!(
                        "the configuration was not reloaded, and the old one stays in force: {message}{hint}"
                    );
                }
                Some(on_one_line(&failure))
            }
        };
        let last = LastReload { began, time: Timestamp::now(), failure };
        told(&last);
        reloader.record(Some(last));
        notify::reloaded();
    }
}

/// Returns all that is wrong, with what to do about it.
fn on_one_line(failure: &Failure) -> String {
    let of = |(message, hint): (&str, Option<&str>)| {
        let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{message}{hint}")
    };
    failure.messages().map(of).collect::<Vec<_>>().join("; ")
}

fn reload(
    context: &Context,
    reloader: &mut Reloader<Queue>,
    in_force: &[Entry],
) -> Result<Vec<Entry>, Failure> {
    let loaded = load::load_quietly(context).map_err(|error| load::failure(&error))?;
    // An empty configuration would retire every worker type.
    if let (Some(gone), true) = (file_of(in_force), loaded.files_read.is_empty()) {
        return Err(Failure::usage(format!("`{}` no longer exists", gone.display())));
    }
    let before = Arc::clone(reloader.current());
    let now = Arc::new(loaded.settings);
    let source = if Queue::can_be_kept(&before, &now) {
        None
    } else {
        let source = Queue::from_settings(&now);
        Some(source.map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?)
    };
    reloader.reload(Arc::clone(&now), source).map_err(|error| {
        Failure::from_error(ExitStatus::USAGE, &error)
            .with_hint("restart the daemon to change it; instances and requests are not affected")
    })?;
    for config::Warning { message, hint } in &loaded.warnings {
        tracing::warn!("{message} ({hint})");
    }
    let changes = config::diff(in_force, &loaded.entries);
    for change in &changes {
        tracing::info!(key = change.key, "configuration: {change}");
    }
    // The content of a user data file changes without its key.
    for (name, worker_type) in &now.worker_types {
        let old = before.worker_types.get(name);
        if old.is_some_and(|old| old.user_data != worker_type.user_data) {
            let key = format!("worker-types.{name}.user-data");
            tracing::info!(key, "configuration: the user data of `{name}` changed");
        }
    }
    tracing::info!(
        changes = changes.len(),
        "configuration reloaded: {} changed",
        plural::count(changes.len(), "key")
    );
    Ok(loaded.entries)
}

/// Returns the first file from which the configuration in force was read, if there is one.
fn file_of(in_force: &[Entry]) -> Option<&Path> {
    in_force.iter().find_map(|entry| match &entry.origin {
        Origin::File { path, .. } => Some(&**path),
        Origin::Environment { .. } | Origin::Flag { .. } | Origin::Default => None,
    })
}
