//! What outlives the process: the in-flight ledger, and the soft state beside it.

use jiff::Timestamp;

use crate::domain::ids::ClientToken;
use crate::domain::ledger::Ledger;
use crate::engine::state::memory::Memory;

/// The state that a driver keeps on disk.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Durable {
    pub(in crate::engine) ledger: Ledger,
    /// Whether the ledger has changed since it was last written.
    pub(in crate::engine) ledger_dirty: bool,
    pub(in crate::engine) memory: Memory,
}

impl Durable {
    /// Removes the intent of a call that was answered, or never made.
    pub(in crate::engine) fn close_intent(&mut self, token: &ClientToken) {
        self.ledger.intents.remove(token);
        self.ledger_dirty = true;
    }

    /// Ends the hold after a lost ledger once its time is over.
    pub(in crate::engine) fn end_hold(&mut self, now: Timestamp) {
        if self.ledger.hold_until.is_some_and(|until| until <= now) {
            self.ledger.hold_until = None;
            self.ledger_dirty = true;
        }
    }
}
