//! Reads the status from AWS, the queue, and the state directory of the daemon.

use std::sync::Arc;

use provisioner::internal::daemon::{ProbeReach, StatusProbe};
use provisioner::internal::queue::Queue;
use provisioner::internal::settings::Settings;
use provisioner::internal::state_dir::StateDir;
use provisioner::internal::status::{ProblemScope, ProblemSeen, Status};

use crate::connect::{self, Connection};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// The code of the problem that we cannot connect to AWS.
const NOT_CONNECTED: &str = "not-connected";

/// Reads the status without a daemon.
pub(super) struct Direct {
    settings: Arc<Settings>,
    probe: StatusProbe<Queue>,
    connection: Option<Connected>,
}

type Connected = (Connection, StateDir);

impl Direct {
    pub(super) fn new(context: &Context) -> Result<Self, Failure> {
        let loaded = load::load_config(context)?;
        load::key_name(&loaded.settings)?;
        load::known_profile(&loaded, context)?;
        let settings = Arc::new(loaded.settings);
        let queue = Queue::from_settings(&settings)
            .map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?;
        let probe = StatusProbe::new(Arc::clone(&settings), queue);
        Ok(Self { settings, probe, connection: None })
    }

    /// Reads the status once. It only fails for what the user has to fix, such as a wrong account or region.
    pub(super) async fn read(&mut self) -> Result<Status, Failure> {
        let Self { settings, probe, connection } = self;
        let saved = saved_state_dir(settings);
        let reach = match connected(settings, connection).await? {
            Ok((Connection { client, key_name, .. }, state_dir)) => {
                ProbeReach { ec2: Ok((client, key_name)), state_dir: Some(state_dir) }
            }
            Err(why) => ProbeReach { ec2: Err(why), state_dir: saved.as_ref() },
        };
        Ok(probe.read(reach).await)
    }

    /// Returns the key-name, as the name of the source.
    pub(super) fn place(&self) -> String {
        let key_name = self.settings.provisioner.key_name.as_ref();
        key_name.map(ToString::to_string).unwrap_or_default()
    }
}

/// Connects unless it has a connection. A failure to connect becomes a problem of the status, because the
/// queue can be read all the same.
async fn connected<'a>(
    settings: &Settings,
    connection: &'a mut Option<Connected>,
) -> Result<Result<&'a Connected, ProblemSeen>, Failure> {
    let connected = match connection.take() {
        Some(connected) => connected,
        None => match connect::connect(settings).await.map_err(Failure::from) {
            Ok(connection) => {
                let state_dir = connection.state_dir(settings)?;
                (connection, state_dir)
            }
            Err(failure) if failure.status() == ExitStatus::USAGE => return Err(failure),
            Err(failure) => {
                let fix = failure.messages().find_map(|(_, hint)| hint.map(str::to_owned));
                let seen = ProblemSeen::own(
                    ProblemScope::Observation,
                    NOT_CONNECTED,
                    &failure.to_string(),
                );
                return Ok(Err(seen.with_fix(fix)));
            }
        },
    };
    Ok(Ok(connection.insert(connected)))
}

/// Returns the state directory if it can be located without AWS.
fn saved_state_dir(settings: &Settings) -> Option<StateDir> {
    let aws = &settings.aws;
    let provisioner = &settings.provisioner;
    let region = aws.saved_region.as_deref().or(aws.region.as_deref())?;
    let account = aws.account_id.as_deref()?;
    let key_name = provisioner.key_name.as_ref()?;
    StateDir::locate(provisioner.state_dir.as_deref(), account, region, key_name).ok()
}
