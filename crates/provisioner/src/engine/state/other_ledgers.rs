//! Launches of other ledgers under our key-name: the traces of another daemon, or of what was here before.
//!
//! Every launch carries the name of its ledger. One that another ledger made before this process ran, or
//! while it took over, is no news: a host was moved, a ledger was lost, a backup was restored. One that was
//! made later is another daemon that works beside us, which no fence of ours knows of.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::clock;
use crate::domain::ledger::LedgerId;
use crate::engine::state::durable::moved;

/// What was seen of other ledgers.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct OtherLedgers {
    /// When this process began.
    started: Option<Timestamp>,
    /// The operator says that no other daemon runs (`--assume-alone`).
    assumed_alone: bool,
    /// The latest launch that was seen, by EC2's clock.
    newest: Option<Timestamp>,
    /// The other daemon, and when it was last seen to launch.
    daemon: Option<(LedgerId, Timestamp)>,
    /// Instances and requests of earlier ledgers in the last observation.
    pub(in crate::engine) earlier: BTreeMap<LedgerId, u64>,
}

/// Another daemon that launches under our key-name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct OtherDaemon {
    pub(in crate::engine) ledger: LedgerId,
    /// Until when nothing is launched, unless it launches again.
    pub(in crate::engine) until: Timestamp,
}

impl OtherLedgers {
    /// Begins to look out for them.
    pub(in crate::engine) fn since(started: Timestamp) -> Self {
        Self { started: Some(started), ..Self::default() }
    }

    /// Takes the operator's word that there is no other daemon.
    pub(in crate::engine) fn assume_alone(&mut self) {
        self.assumed_alone = true;
    }

    /// Follows the clock, as all that is remembered does.
    pub(in crate::engine) fn follow_clock(&mut self, step: SignedDuration, now: Timestamp) {
        let last = self.daemon.as_mut().map(|(_, last)| last);
        for at in self.started.iter_mut().chain(last) {
            *at = moved(*at, step).min(now);
        }
    }

    /// Begins another observation.
    pub(in crate::engine) fn look_again(&mut self) {
        self.earlier.clear();
    }

    /// Takes in a launch of another ledger, which EC2 says was `created` then.
    pub(in crate::engine) fn saw(
        &mut self,
        ledger: LedgerId,
        created: Timestamp,
        window: Duration,
        now: Timestamp,
    ) {
        let begun = self.started.is_none_or(|started| created > clock::after(started, window));
        if !begun || self.assumed_alone {
            *self.earlier.entry(ledger).or_default() += 1;
        } else if self.newest.is_none_or(|newest| created > newest) {
            self.newest = Some(created);
            self.daemon = Some((ledger, now));
        }
    }

    /// The other daemon, while launches are held for it.
    pub(in crate::engine) fn daemon(
        &self,
        window: Duration,
        now: Timestamp,
    ) -> Option<OtherDaemon> {
        let (ledger, last) = self.daemon.as_ref()?;
        let until = clock::after(*last, window);
        (now < until).then(|| OtherDaemon { ledger: ledger.clone(), until })
    }
}
