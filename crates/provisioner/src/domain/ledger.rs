//! The in-flight ledger: what was requested from EC2 and is not yet visible there.
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

/// What was requested and is not yet visible.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ledger {
    /// Calls that were decided and whose answer is not known, by token.
    #[serde(default)]
    pub intents: BTreeMap<ClientToken, Intent>,
    /// Our requests whose fate is open: granted and not visible yet, waiting for capacity, cancelled by
    /// us, or fulfilled while the instance is not visible. They are stored here, and not only in the soft
    /// state, because a request that is fulfilled while it is being cancelled disappears from the list of
    /// requests before its instance appears in the list of instances: forgetting it in between would buy
    /// it twice.
    #[serde(default)]
    pub granted: BTreeMap<SpotRequestId, Granted>,
    /// Until when nothing is launched, because the previous ledger was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Timestamp>,
}

/// A call whose answer is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Intent {
    /// The complete call.
    pub call: LaunchCall,
    /// Since when EC2 is known to have accepted the call, without its result being known
    /// (`IdempotentParameterMismatch`). Its requests are then searched for instead of repeating it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Timestamp>,
}

/// A request whose fate is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Granted {
    /// Its worker type.
    pub worker_type: WorkerTypeName,
    /// The client token of the call that made it.
    pub token: ClientToken,
    /// The pool that it asks.
    pub pool: Pool,
    /// When it was granted.
    pub at: Timestamp,
    /// When a describe call last showed it. A change of this alone is not worth writing the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Since when its instance is visible. The entry stays for `visibility-window` from then on, because
    /// a replica that does not know the instance yet may answer the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Timestamp>,
    /// The highest price it may pay.
    pub max_price: Option<UsdPerHour>,
}

impl Granted {
    /// Returns whether its instance became visible so recently that the next page may lack it: describe
    /// calls lag by up to `window`.
    pub(crate) fn may_hide(&self, window: Duration, now: Timestamp) -> bool {
        self.hides_until(window).is_some_and(|until| now < until)
    }

    /// Returns until when the next page may lack its instance; `None` if it was not visible yet.
    pub(crate) fn hides_until(&self, window: Duration) -> Option<Timestamp> {
        self.arrived.map(|since| clock::after(since, window))
    }
}
