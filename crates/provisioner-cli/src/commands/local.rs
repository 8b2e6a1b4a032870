//! What `setup-aws` and `cleanup-aws` start from: the local configuration file, and AWS.

use std::path::Path;

use provisioner::internal::aws::{Client, ConnectOptions};
use provisioner::internal::config::edit::{ConfigFile, EditError};
use provisioner::internal::config::{Loaded, lookup};

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// Stands in for a configuration file that is yet to be made: reads as an empty one, and keeps the
/// files out that `--config` replaces.
const NO_FILE: &str = "/dev/null";

/// The local configuration file, and AWS as the whole configuration says.
pub(super) struct Local {
    /// The file that is edited.
    pub(super) file: ConfigFile,
    /// What is in force.
    pub(super) loaded: Loaded,
    /// Not used yet.
    pub(super) client: Client,
}

/// What it means that there is no file at the path given with `--config`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is yet to be made.
    Made,
    /// The path is wrong.
    Refused,
}

/// Loads the configuration, opens the local file and finds region and credentials.
pub(super) async fn open(context: &mut Context, missing: Missing) -> Result<Local, Failure> {
    let explicit = context.globals.config.clone();
    let path = lookup::local_file(explicit.as_deref(), &context.current_dir);
    if explicit.is_none()
        && let Some(warning) = lookup::skipped_local_file(&context.current_dir)
    {
        // What is saved there nobody would read, and what is in it may be somebody else's.
        let message = format!(
            "the local configuration file is not read, and so not edited: {}",
            warning.message
        );
        return Err(Failure::usage(message).with_hint(warning.hint));
    }
    if missing == Missing::Made && explicit.is_some() && !path.exists() {
        context.globals.config = Some(Path::new(NO_FILE).to_owned());
    }
    let loaded = load::load_config(context)?;
    load::known_profile(&loaded, context)?;
    let file = ConfigFile::open(&path)
        .map_err(|error: EditError| Failure::from_error(ExitStatus::USAGE, &error))?;
    let client = Client::connect(&ConnectOptions::from(&loaded.settings.aws))
        .await
        .map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?;
    Ok(Local { file, loaded, client })
}
