//! Connects to AWS, but only to the account and region of the key-name.

use provisioner::internal::aws::{Client, ConnectOptions};
use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner::internal::settings::Settings;
use provisioner::internal::state_dir::{StateDir, StateDirError};

use crate::exit::{ExitStatus, Failure};
use crate::load;

/// A connection to the account and region that the key-name lives in.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) key_name: KeyName,
    pub(crate) account: String,
}

/// Why there is no connection.
pub(crate) enum NotConnected {
    /// The user has to fix it.
    Final(Failure),
    /// AWS did not answer; it may answer later.
    Unanswered(Failure),
}

impl From<NotConnected> for Failure {
    fn from(not_connected: NotConnected) -> Self {
        match not_connected {
            NotConnected::Final(failure) | NotConnected::Unanswered(failure) => failure,
        }
    }
}

/// Connects, and checks that the account and region are those that `setup-aws` saved.
pub(crate) async fn connect(settings: &Settings) -> Result<Connection, NotConnected> {
    let key_name = load::key_name(settings).map_err(NotConnected::Final)?.clone();
    let aws = &settings.aws;
    let client = Client::connect(&ConnectOptions::from(aws))
        .await
        .map_err(|error| NotConnected::Final(Failure::from_error(ExitStatus::USAGE, &error)))?;
    load::same_region(settings, client.region()).map_err(NotConnected::Final)?;
    let account = client.account_id().await.map_err(|error| {
        let failure = Failure::from_error(ExitStatus::FAILED, &error)
            .with_hint(error.hint().unwrap_or_default());
        match error.class() {
            RefusalClass::Transient | RefusalClass::Throttled => NotConnected::Unanswered(failure),
            _ => NotConnected::Final(failure),
        }
    })?;
    if let Some(saved) = aws.account_id.as_ref().filter(|saved| **saved != account) {
        let failure = Failure::usage(format!(
            "the credentials belong to account {account}, but the key-name was created in account \
             {saved}; nothing was changed"
        ));
        return Err(NotConnected::Final(
            failure.with_hint("use credentials of that account, or another configuration file"),
        ));
    }
    Ok(Connection { client, key_name, account })
}

impl Connection {
    /// Returns the state directory of this key-name, which holds its ledger.
    pub(crate) fn state_dir(&self, settings: &Settings) -> Result<StateDir, Failure> {
        StateDir::locate(
            settings.provisioner.state_dir.as_deref(),
            &self.account,
            self.client.region(),
            &self.key_name,
        )
        .map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))
    }
}

/// Returns the failure of a state directory that cannot be used, with the process that holds it and a hint.
pub(crate) fn state_dir_failure(error: &StateDirError) -> Failure {
    let status = match error {
        StateDirError::Newer { .. } => ExitStatus::USAGE,
        _ => ExitStatus::FAILED,
    };
    Failure::from_error(status, error).with_hint(error.hint().unwrap_or_default())
}
