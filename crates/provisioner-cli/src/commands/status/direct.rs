//! Looking at AWS and the queue, and at what a daemon has left in its state directory.

use std::sync::Arc;

use provisioner::daemon::{Reach, Surveyor};
use provisioner::queue::Queue;
use provisioner::settings::Settings;
use provisioner::state_dir::StateDir;
use provisioner::status::{ProblemScope, ProblemSeen, Status};

use crate::connect::{self, Connection};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// What AWS's refusal to let us in is called.
const NOT_CONNECTED: &str = "not-connected";

/// What looks for itself.
pub(super) struct Direct {
    settings: Arc<Settings>,
    surveyor: Surveyor<Queue>,
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
        let surveyor = Surveyor::new(Arc::clone(&settings), queue);
        Ok(Self { settings, surveyor, connection: None })
    }

    /// Looks once. An error is the user's to mend: a wrong account or region, or nothing to start from.
    pub(super) async fn look(&mut self) -> Result<Status, Failure> {
        let Self { settings, surveyor, connection } = self;
        let saved = saved_state_dir(settings);
        let reach = match connected(settings, connection).await? {
            Ok((Connection { client, key_name, .. }, state_dir)) => {
                Reach { ec2: Ok((client, key_name)), state_dir: Some(state_dir) }
            }
            Err(why) => Reach { ec2: Err(why), state_dir: saved.as_ref() },
        };
        Ok(surveyor.look(reach).await)
    }

    /// What it looks at, in a few words.
    pub(super) fn place(&self) -> String {
        let key_name = self.settings.provisioner.key_name.as_ref();
        key_name.map(ToString::to_string).unwrap_or_default()
    }
}

/// Connects if need be. Not to be let in is told with the rest: what the queue says is known all the same.
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

/// Where the state is, as far as that is known without AWS.
fn saved_state_dir(settings: &Settings) -> Option<StateDir> {
    let (aws, provisioner) = (&settings.aws, &settings.provisioner);
    let region = aws.saved_region.as_deref().or(aws.region.as_deref())?;
    let (account, key_name) = (aws.account_id.as_deref()?, provisioner.key_name.as_ref()?);
    StateDir::locate(provisioner.state_dir.as_deref(), account, region, key_name).ok()
}
