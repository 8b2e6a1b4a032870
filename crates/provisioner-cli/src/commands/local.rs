//! The start of `setup-aws` and `cleanup-aws`: the local configuration file, and a connection to AWS.

use std::path::Path;

use provisioner::internal::aws::{Client, ConnectOptions};
use provisioner::internal::config::edit::{ConfigFile, EditError};
use provisioner::internal::config::{Loaded, lookup};

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// Stands in for a configuration file that does not exist yet: it reads as an empty file, and the files
/// that `--config` replaces are not read.
const NO_FILE: &str = "/dev/null";

/// The local configuration file, and a client for the AWS account of the complete configuration.
pub(super) struct Local {
    /// The file that is edited.
    pub(super) file: ConfigFile,
    /// The configuration in force.
    pub(super) loaded: Loaded,
    /// A client that has made no call yet.
    pub(super) client: Client,
}

/// How a missing file at the path of `--config` is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MissingFile {
    /// The file will be created.
    Created,
    /// The path is wrong.
    Refused,
}

/// Loads the configuration, opens the local file and finds region and credentials.
pub(super) async fn open(context: &mut Context, missing: MissingFile) -> Result<Local, Failure> {
    let explicit = context.globals.config.clone();
    let path = lookup::local_file(explicit.as_deref(), &context.current_dir);
    if explicit.is_none()
        && let Some(warning) = lookup::skipped_local_file(&context.current_dir)
    {
        // Nothing would read what we save there, and its content may come from another user.
        let message = format!(
            "the local configuration file is not read, and so not edited: {}",
            warning.message
        );
        return Err(Failure::usage(message).with_hint(warning.hint));
    }
    if missing == MissingFile::Created && explicit.is_some() && !path.exists() {
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
