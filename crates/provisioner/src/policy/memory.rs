//! What policies learn of a worker type. Soft state: kept over restarts, of bounded size.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What is learned of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PolicyMemory {
    pub(super) last: Option<Timestamp>,
    pub(super) pending: u64,
    pub(super) busy: u64,
    pub(super) rate: f64,
    pub(super) busy_time: f64,
    pub(super) starts: f64,
    pub(super) peaks: VecDeque<(i64, u64)>,
    pub(super) boots: Vec<(f64, f64)>,
    pub(super) n_boots: usize,
}

impl PolicyMemory {
    /// Takes in how long an instance was asked for, and then booted.
    pub fn saw_boot(&mut self, requested: Duration, booting: Duration) {
        let (requested, booting) = (requested.as_secs_f64(), booting.as_secs_f64());
        let at = self.n_boots % 128;
        if self.boots.len() < 128 {
            self.boots.push((requested, booting));
        } else {
            self.boots[at] = (requested, booting);
        }
        self.n_boots += 1;
    }
}
