//! Another configuration for a daemon that runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::error_chain::error_chain;
use crate::settings::{Aws, Provisioner, Server, Settings, WorkerServer};
use crate::state_dir::LockedStateDir;
use crate::status::{LastReload, ReloadRecord};

/// Hands a running daemon another configuration (see [`super::Daemon::reloader`]).
#[derive(Debug)]
pub struct Reloader<S> {
    current: Arc<Settings>,
    next: Arc<Next<S>>,
    /// Where reloads are recorded; `None` in a dry run, which writes nothing.
    state: Option<Arc<LockedStateDir>>,
}

/// These keys name what the process holds: the connection, the lock, the listening socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be changed while the daemon runs", listed(keys))]
pub struct NeedsRestart {
    /// The keys, dotted as in the configuration.
    pub keys: Vec<&'static str>,
}

/// `a`, `a and b`, `a, b and c`.
fn listed(keys: &[&str]) -> String {
    match keys {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What is to be taken up before the next round. The latest wins.
#[derive(Debug)]
pub(super) struct Next<S> {
    slot: Mutex<Option<(Arc<Settings>, Option<S>)>>,
    pub(super) there: Notify,
}

impl<S> Next<S> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { slot: Mutex::new(None), there: Notify::new() })
    }

    pub(super) fn take(&self) -> Option<(Arc<Settings>, Option<S>)> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<S> Reloader<S> {
    pub(super) fn new(
        current: Arc<Settings>,
        next: Arc<Next<S>>,
        state: Option<Arc<LockedStateDir>>,
    ) -> Self {
        Self { current, next, state }
    }

    /// Records in the state directory how the last reload of this process ended, or with `None` that SIGHUP
    /// makes it reload.
    pub fn record(&self, last: Option<LastReload>) {
        let Some(state) = &self.state else { return };
        if let Err(error) = state.write_reload(&ReloadRecord { pid: std::process::id(), last }) {
            tracing::warn!(error = %error_chain(&error), "the reload could not be recorded");
        }
    }

    /// What is in force, or was handed over last.
    pub fn current(&self) -> &Arc<Settings> {
        &self.current
    }

    /// Has the daemon go on with `settings` from its next round on, which comes at once. What it
    /// remembers of machines and launches stays. `source` replaces the demand source, if given.
    ///
    /// # Errors
    /// Nothing is changed if `settings` differ in a key that needs a restart.
    pub fn reload(
        &mut self,
        settings: Arc<Settings>,
        source: Option<S>,
    ) -> Result<(), NeedsRestart> {
        let keys = needing_restart(&self.current, &settings);
        if !keys.is_empty() {
            return Err(NeedsRestart { keys });
        }
        self.current = Arc::clone(&settings);
        let mut slot = self.next.slot.lock().unwrap_or_else(PoisonError::into_inner);
        // A source that the daemon has not taken up yet is still newer than its own.
        let source = source.or_else(|| slot.take().and_then(|(_, source)| source));
        *slot = Some((settings, source));
        drop(slot);
        self.next.there.notify_one();
        Ok(())
    }
}

fn needing_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let Aws { region, saved_region, profile, endpoint_url, account_id } = &old.aws;
    let Provisioner { key_name, state_dir, .. } = &old.provisioner;
    let Server { listen, hosts, workers } = &old.server;
    let at = |workers: &Option<WorkerServer>| workers.as_ref().map(|workers| workers.listen);
    [
        ("provisioner.key-name", *key_name == new.provisioner.key_name),
        ("provisioner.state-dir", *state_dir == new.provisioner.state_dir),
        ("aws.region", *region == new.aws.region && *saved_region == new.aws.saved_region),
        ("aws.profile", *profile == new.aws.profile),
        ("aws.endpoint-url", *endpoint_url == new.aws.endpoint_url),
        ("aws.account-id", *account_id == new.aws.account_id),
        ("server.listen", *listen == new.server.listen),
        ("server.hosts", *hosts == new.server.hosts),
        ("server.worker-listen", at(workers) == at(&new.server.workers)),
    ]
    .into_iter()
    .filter_map(|(key, same)| (!same).then_some(key))
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn settings(text: &str) -> Arc<Settings> {
        Arc::new(config::parse(text, Path::new("/")).unwrap().settings)
    }

    #[test]
    fn the_latest_configuration_wins_and_no_source_is_lost() {
        let next = Next::new();
        let mut reloader = Reloader::new(settings(""), Arc::clone(&next), None);
        assert!(next.take().is_none());
        reloader.reload(settings("[limits]\nmax-instances = 1"), Some("source")).unwrap();
        let latest = settings("[limits]\nmax-instances = 2");
        reloader.reload(Arc::clone(&latest), None).unwrap();
        assert_eq!(next.take(), Some((latest, Some("source"))));
        assert!(next.take().is_none());
    }

    #[test]
    fn keys_are_listed_as_people_do() {
        let said = |keys: &[&'static str]| NeedsRestart { keys: keys.to_vec() }.to_string();
        assert_eq!(said(&["a"]), "a cannot be changed while the daemon runs");
        assert_eq!(said(&["a", "b"]), "a and b cannot be changed while the daemon runs");
        assert_eq!(said(&["a", "b", "c"]), "a, b and c cannot be changed while the daemon runs");
    }

    #[test]
    fn what_the_process_holds_needs_a_restart() {
        let next = Next::<()>::new();
        let mut reloader = Reloader::new(settings("[aws]\nregion = \"eu-west-1\""), next, None);
        for (text, keys) in [
            ("[aws]\nregion = \"eu-west-2\"", &["aws.region"][..]),
            (
                "[aws]\nregion = \"eu-west-1\"\n[provisioner]\nkey-name = \"x\"\nstate-dir = \"/x\"",
                &["provisioner.key-name", "provisioner.state-dir"],
            ),
            ("[aws]\nregion = \"eu-west-1\"\n[server]\nlisten = \"\"", &["server.listen"]),
            (
                "[aws]\nregion = \"eu-west-1\"\n[server]\nworker-listen = \"10.0.0.1:3001\"",
                &["server.worker-listen"],
            ),
        ] {
            let before = Arc::clone(reloader.current());
            let error = reloader.reload(settings(text), None).unwrap_err();
            assert_eq!(error.keys, keys);
            assert_eq!(*reloader.current(), before);
        }
    }
}
