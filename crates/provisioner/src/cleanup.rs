//! `cleanup-aws`: cancels, terminates and deletes everything under a key-name, verifies that it is gone,
//! and only then forgets the key-name.
//!
//! [`targets`] lists the key-names, [`CleanupPlan::make`] finds what exists under them, and [`execute`]
//! removes that and then the key-names from the configuration file. If anything fails or is left, the file
//! is unchanged, so that the command can be run again. Running it when nothing is left is a success.
//!
//! Terminal input and output, and the question whether to go on, are the program's, and not in here.

mod error;
mod inventory;
mod passes;
mod plan;
mod remove;
mod report;
mod target;
mod worker_profile;

use std::path::PathBuf;
use std::time::Duration;

pub use error::CleanupError;
pub(crate) use inventory::{Inventory, InventoryItem};
pub use plan::CleanupPlan;
pub use remove::execute;
pub(crate) use report::TargetReport;
pub use report::{CleanupOutcome, CleanupReport};
pub(crate) use target::{CleanupTarget, NamedBy};
pub use target::{key_names_in_force, targets};
pub(crate) use worker_profile::WorkerProfile;

/// The options of a clean-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupOptions {
    /// Whether `--yes` was given. Together with a spelled-out `--key-name` it permits to end what runs under
    /// a foreign key pair. A yes at the terminal does not.
    pub yes: bool,
    /// The time limit for everything.
    pub timeout: Duration,
    /// The pauses between observations, in order; the last one repeats.
    pub pauses: Vec<Duration>,
    /// `provisioner.state-dir`.
    pub state_dir: Option<PathBuf>,
}

impl CleanupOptions {
    /// The default time limit. Our own choice: instances take some minutes to shut down.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
    /// The default pauses. Our own choice. Describe calls lag, and a request can be fulfilled between an
    /// observation and its cancelling. The first pauses are short so that the usual case ends soon.
    pub const PAUSES: [Duration; 4] = [
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(20),
        Duration::from_secs(30),
    ];
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self {
            yes: false,
            timeout: Self::DEFAULT_TIMEOUT,
            pauses: Self::PAUSES.to_vec(),
            state_dir: None,
        }
    }
}
