//! `cleanup-aws`: everything tied to a key-name cancelled, terminated, deleted, verified to be gone,
//! and only then forgotten.
//!
//! [`targets`] says which key-names, [`CleanupPlan::make`] what there is of them, [`execute`] removes it and
//! then the key-names from the configuration file. Whatever is left or fails keeps the file as it is,
//! so that all of it can be run again; running it when nothing is left is success.
//!
//! Deliberately not here: terminal input and output, and the question whether to go on.

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
pub use inventory::{Inventory, InventoryItem};
pub use plan::CleanupPlan;
pub use remove::execute;
pub use report::{CleanupOutcome, CleanupReport, Leftover, StillNamed, TargetReport};
pub use target::{CleanupTarget, NamedBy, key_names_in_force, targets};
pub use worker_profile::WorkerProfile;

/// How to clean up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupOptions {
    /// `--yes` was given: with `--key-name` spelled out, also what runs under somebody's own key pair
    /// is ended. A yes at the terminal is not that.
    pub yes: bool,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Between looks: one after the other, the last one then over and over.
    pub pauses: Vec<Duration>,
    /// `provisioner.state-dir`.
    pub state_dir: Option<PathBuf>,
}

impl CleanupOptions {
    /// How long a clean-up may take unless the user says otherwise.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_mins(10);
    /// Describe calls lag, and a request can be fulfilled between look and cancel. Short first, so
    /// that the usual case ends soon; then longer, because what lags that far lags for long.
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
