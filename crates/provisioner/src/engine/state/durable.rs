//! What outlives the process: the in-flight ledger, and the soft state beside it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::clock;
use crate::domain::ids::ClientToken;
use crate::domain::ledger::{Ledger, LedgerId};
use crate::engine::state::memory::Memory;

/// The ledger is written for what was spent alone this often: a process that is killed loses no more, and
/// of machines that run on nothing.
const SPENDING_WRITTEN_EVERY: Duration = Duration::from_mins(1);

/// Between two looks at the clock passes no more than this, or three intervals: a failed round is tried again
/// within a minute, and reading takes a few. More is taken for a step of the clock, and for one interval of
/// time. If it was none, what is remembered is taken for younger than it is, which does no harm.
const LONGEST_BETWEEN_LOOKS: Duration = Duration::from_mins(10);

/// The state that a driver keeps on disk.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Durable {
    pub(in crate::engine) ledger: Ledger,
    /// Whether the ledger has changed since it was last written.
    pub(in crate::engine) ledger_dirty: bool,
    pub(in crate::engine) memory: Memory,
    /// When the spending in the ledger on disk was counted.
    spending_written: Option<Timestamp>,
    /// What the clock last showed.
    clock: Option<Timestamp>,
    /// How far it was set ahead since the process began.
    pub(in crate::engine) ahead: SignedDuration,
}

impl Durable {
    /// Begins with what was found on disk.
    pub(in crate::engine) fn new(
        mut ledger: Ledger,
        is_on_disk: bool,
        memory: Memory,
        nonce: u64,
    ) -> Self {
        let mut dirty = !is_on_disk;
        if ledger.id.is_none() {
            ledger.id = Some(LedgerId::new(nonce));
            dirty = true;
        }
        let on_disk = ledger.spending.clone();
        ledger.spending.merge(&memory.known_spending());
        dirty |= ledger.spending != on_disk;
        Self {
            ledger,
            ledger_dirty: dirty,
            memory,
            spending_written: None,
            clock: None,
            ahead: SignedDuration::ZERO,
        }
    }

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

    /// Has the ledger written if what was spent was last written long ago.
    pub(in crate::engine) fn keep_spending(&mut self, now: Timestamp) {
        self.memory.spending.clone_from(&self.ledger.spending);
        self.memory.spent = None;
        let written = self.spending_written;
        let is_recent = |at| at <= now && clock::age(at, now) < SPENDING_WRITTEN_EVERY;
        self.ledger_dirty |= !written.is_some_and(is_recent) && !self.ledger.spending.is_zero(now);
    }

    /// The ledger is on disk as it is.
    pub(in crate::engine) fn ledger_written(&mut self) {
        self.ledger_dirty = false;
        self.spending_written = self.clock;
    }

    /// Takes in what the clock shows. No remembered instant lies after that, and where the clock was set,
    /// all that is remembered moves with it: a clock that is ahead for some rounds ages nothing, and costs
    /// nothing once it is right again. Returns by how much it was set.
    pub(in crate::engine) fn follow_clock(
        &mut self,
        interval: Duration,
        window: Duration,
        now: Timestamp,
    ) -> SignedDuration {
        let step = self.clock.replace(now).map_or(SignedDuration::ZERO, |last| {
            let longest = LONGEST_BETWEEN_LOOKS.max(interval.saturating_mul(3));
            let signed = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
            let elapsed = now.duration_since(last);
            if elapsed.is_negative() {
                elapsed
            } else if elapsed > signed(longest) {
                elapsed.saturating_sub(signed(interval))
            } else {
                SignedDuration::ZERO
            }
        });
        // One that was ahead when the process began is right once it was set back.
        self.ahead = self.ahead.saturating_add(step).max(SignedDuration::ZERO);
        for at in self.memory.instants() {
            *at = moved(*at, step).min(now);
        }
        let mut changed = false;
        for at in self.ledger.instants() {
            let moved = moved(*at, step).min(now);
            changed |= moved != *at;
            *at = moved;
        }
        if let Some(until) = &mut self.ledger.hold_until {
            let moved = moved(*until, step).min(clock::after(now, window));
            changed |= moved != *until;
            *until = moved;
        }
        self.ledger_dirty |= changed;
        step
    }
}

/// The instant after the clock was set by `step`.
pub(in crate::engine) fn moved(at: Timestamp, step: SignedDuration) -> Timestamp {
    at.saturating_add(step).unwrap_or(at)
}
