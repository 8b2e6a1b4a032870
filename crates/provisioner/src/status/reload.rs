//! What a daemon records about reloads of its configuration.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How the last reload of a daemon's configuration ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// When the daemon began to read the configuration. A reload that was asked for later is another one.
    pub began: Timestamp,
    /// When it ended.
    pub time: Timestamp,
    /// Why the old configuration stays in force; `None` if the new one is.
    pub failure: Option<String>,
}

/// The record of reloads in the state directory, where `provisionerd reload` waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReloadRecord {
    /// The process that reloads at SIGHUP. Any other holder of the lock would be ended by that signal.
    pub pid: u32,
    /// Its last reload, if there was one.
    pub last: Option<LastReload>,
}
