//! Whether further rounds would come to anything.

use jiff::Timestamp;

use crate::domain::ledger::Ledger;
use crate::engine::Engine;
use crate::engine::memory::Memory;

impl Engine {
    /// Until when rounds come to nothing and may as well be left out, if EC2 and the queue show nothing else
    /// than they did. `None`: the next round may come to something.
    ///
    /// Only for who [follows](Engine::follow) looks and demands: else all is counted anew in every round.
    /// What is spent is rounded up with every look, so that without some it may be less by micro-dollars;
    /// where a decision hangs on that, no round is left out. Nor is one with a policy that learns from every
    /// look.
    pub fn quiet_until(&self) -> Option<Timestamp> {
        let quiet = self.was_quiet
            && self.round.is_none()
            // Workers may say something at any time.
            && !self.desk.book().is_open()
            && self.settings.limits.max_usd_per_day.is_none()
            && !self.settings.worker_types.values().any(|it| it.policy.learns())
            && self.nothing_is_open()
            && nothing_is_awaited(&self.memory)
            && self.index.is_plain();
        quiet.then(|| {
            let changes = self.index.next_change().into_iter();
            changes.chain(self.next_settled()).min().unwrap_or(Timestamp::MAX)
        })
    }

    /// Whether of all that was asked for it is seen what became of it.
    fn nothing_is_open(&self) -> bool {
        let Ledger { intents, granted, hold_until } = &self.ledger;
        intents.is_empty()
            && granted.keys().all(|id| self.index.arrived.contains_key(id))
            && hold_until.is_none()
    }

    /// When the next request leaves the ledger.
    fn next_settled(&self) -> Option<Timestamp> {
        let window = self.settings.provisioner.visibility_window;
        self.ledger.granted.values().filter_map(|it| it.hides_until(window)).min()
    }
}

fn nothing_is_awaited(memory: &Memory) -> bool {
    let Memory {
        // These matter where something is wanted, and are noted then.
        cool_downs: _,
        breakers: _,
        unknown_profiles: _,
        failures: _,
        configured: _,
        machines: _,
        open,
        cancelling,
        fulfilled,
        ended,
        unclaimed_since,
        policies: _,
        spent: _,
    } = memory;
    open.is_empty()
        && cancelling.is_empty()
        && fulfilled.is_empty()
        && ended.is_empty()
        && unclaimed_since.is_empty()
}
