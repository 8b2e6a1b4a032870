//! The in-flight ledger: what was asked of EC2 and is not yet seen.
//!
//! An intent is written, and synced, before its call. After a crash the next process finds it and
//! repeats the call with the same token, so nothing is bought twice and nothing is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::ids::{ClientToken, SpotRequestId, WorkerTypeName};
use crate::domain::launch::{LaunchCall, Pool};
use crate::domain::money::UsdPerHour;

/// What was asked and is not yet seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ledger {
    /// Calls decided on whose answer is not known, by token.
    #[serde(default)]
    pub intents: BTreeMap<ClientToken, Intent>,
    /// Requests of ours whose fate is open: granted and not shown yet, waiting for capacity, cancelled by
    /// us or fulfilled without a sight of the instance. They are here, and not only in the soft state,
    /// because one that is fulfilled while it is cancelled leaves the lists of requests before its
    /// instance joins that of instances: whoever forgets it then buys it twice.
    #[serde(default)]
    pub granted: BTreeMap<SpotRequestId, Granted>,
    /// Until when nothing is launched, because the ledger before this one was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Timestamp>,
}

/// A call whose answer is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Intent {
    /// The whole call.
    pub call: LaunchCall,
    /// Since when EC2 is known to have taken it, though not with what result: it is then not repeated
    /// but looked up (`IdempotentParameterMismatch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
}

/// A request of ours whose fate is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Granted {
    /// Its worker type.
    pub worker_type: WorkerTypeName,
    /// The call that made it.
    pub token: ClientToken,
    /// The pool it asks.
    pub pool: Pool,
    /// When it was granted.
    pub at: Timestamp,
    /// When a describe call last showed it; kept from look to look, written when something else is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Since when its instance is seen. It stays for `visibility-window` from then on: another page may
    /// still be answered by who has not heard of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Timestamp>,
    /// The highest price it may pay.
    pub max_price: Option<UsdPerHour>,
}

impl Granted {
    /// Whether its instance was seen so lately that the next page may not show it again: what describe
    /// calls show lags by up to `window`.
    pub(crate) fn may_hide(&self, window: Duration, now: Timestamp) -> bool {
        self.hides_until(window).is_some_and(|until| now < until)
    }

    /// Until when that is so; `None`: its instance was not seen yet.
    pub(crate) fn hides_until(&self, window: Duration) -> Option<Timestamp> {
        self.arrived.map(|since| clock::after(since, window))
    }
}
