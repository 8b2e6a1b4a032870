//! The numbers that decided, and the sentence they make.

use std::fmt;

/// Why a policy wishes what it wishes. Numbers alone, so that a round that does nothing writes no text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// One instance per waiting task that no instance has room for.
    Short,
    /// worker-manager's estimator.
    WorkerManager {
        /// Its ratio.
        ratio: f64,
    },
    /// Ours.
    Adaptive,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => Ok(()),
            Self::WorkerManager { ratio } => write!(f, "worker-manager, ratio {ratio}"),
            Self::Adaptive => Ok(()),
        }
    }
}
