//! When the soft state is written to disk: when something was learned, and not after every round.
//!
//! With many machines it is megabytes, and every write is synced.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::error_chain::error_chain;
use crate::engine::Memory;
use crate::state_dir::LockedStateDir;

/// What every round adds to is written this often. A process that is killed loses no more of it: what
/// machines cost that ended in this time, and since when others have been idle.
const AT_LEAST_EVERY: Duration = Duration::from_mins(1);

/// What was written last.
#[derive(Debug, Default)]
pub(super) struct MemoryWriter {
    written: Option<(u64, Instant)>,
}

impl MemoryWriter {
    /// Writes `memory` if something was learned since the last time, or that was long ago.
    pub(super) fn keep(&mut self, state: &LockedStateDir, memory: &Memory) {
        let (learned, now) = (memory.learned(), Instant::now());
        if self.is_due(learned, now) {
            self.write(state, memory, learned, now);
        }
    }

    /// Writes `memory` for the next process, which is to go on where this one ended.
    pub(super) fn leave(&mut self, state: &LockedStateDir, memory: &Memory) {
        self.write(state, memory, memory.learned(), Instant::now());
    }

    fn is_due(&self, learned: u64, now: Instant) -> bool {
        self.written.is_none_or(|(before, at)| {
            before != learned || now.duration_since(at) >= AT_LEAST_EVERY
        })
    }

    fn write(&mut self, state: &LockedStateDir, memory: &Memory, learned: u64, now: Instant) {
        match state.write_memory(memory) {
            Ok(()) => self.written = Some((learned, now)),
            Err(error) => {
                tracing::warn!(error = %error_chain(&error), "the soft state could not be saved");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_written_when_something_was_learned_and_once_a_minute() {
        let mut writer = MemoryWriter::default();
        let now = Instant::now();
        assert!(writer.is_due(7, now), "the first time");
        writer.written = Some((7, now));
        assert!(!writer.is_due(7, now + Duration::from_secs(59)));
        assert!(writer.is_due(7, now + Duration::from_mins(1)));
        assert!(writer.is_due(8, now));
    }
}
