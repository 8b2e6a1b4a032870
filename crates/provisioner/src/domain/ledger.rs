//! The in-flight ledger: what was requested from EC2 and is not yet visible there.
//!
//! An intent is written, and synced, before its call. After a crash the next process finds it and
//! repeats the call with the same token, so nothing is bought twice and nothing is forgotten.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::clock;
use crate::domain::ids::{ClientToken, SpotRequestId, WorkerTypeName};
use crate::domain::launch::{LaunchCall, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::money::UsdPerHour;
use crate::domain::spending::Spending;

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
    /// The name of this ledger, which tells its launches from those of another one. An engine names one
    /// that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LedgerId>,
    /// What was spent in the last days.
    #[serde(default)]
    pub spending: Spending,
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
    /// Since when the configuration has no longer the image, the instance type or the price of the call.
    /// It is not made again then, but its requests are searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<Timestamp>,
    /// In how many observations it was looked for, as far as that matters.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub looks: u32,
}

/// A launch or a request is not taken for lost before it was looked for in so many observations: the clock
/// may be ahead in one or a few of them.
pub(crate) const LEAST_LOOKS: u32 = 5;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Intent {
    /// A call that is about to be made.
    pub(crate) fn new(call: LaunchCall) -> Self {
        Self { call, accepted: None, withdrawn: None, looks: 0 }
    }
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
    /// In how many observations since then it was missing, as far as that matters.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u32,
    /// Since when its instance is visible. The entry stays for `visibility-window` from then on, because
    /// a replica that does not know the instance yet may answer the next call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Timestamp>,
    /// The highest price it may pay.
    pub max_price: Option<UsdPerHour>,
}

/// The name of a ledger, with which every client token of its launches begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct LedgerId(String);

/// A text that is not the name of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {} hexadecimal digits", LedgerId::LEN)]
pub struct NoLedgerId;

impl LedgerId {
    /// In characters: with the rest of a client token, they stay below EC2's 64.
    const LEN: usize = 16;

    /// Makes a name of a random number.
    pub fn new(random: u64) -> Self {
        Self(format!("{random:016x}"))
    }

    /// Returns the ledger whose launches carry `token`, and the rest of the token; `None` for the tokens of
    /// earlier versions, and for any other text.
    pub fn of(token: &ClientToken) -> Option<(Self, &str)> {
        let (id, rest) = token.as_str().split_at_checked(Self::LEN)?;
        let rest = rest.strip_prefix('-').filter(|rest| uuid::Uuid::parse_str(rest).is_ok())?;
        Some((Self::try_from(id.to_owned()).ok()?, rest))
    }
}

impl TryFrom<String> for LedgerId {
    type Error = NoLedgerId;

    fn try_from(text: String) -> Result<Self, NoLedgerId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let valid = text.len() == Self::LEN && text.bytes().all(is_digit);
        valid.then_some(Self(text)).ok_or(NoLedgerId)
    }
}

impl fmt::Display for LedgerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// No call asks for more instances. EC2's quotas are far below.
const MOST_INSTANCES: u32 = 100_000;

impl Ledger {
    /// Returns what contradicts itself in it, if something does: its parts say the same things twice, and a
    /// ledger in which they differ was not written by us.
    pub fn contradiction(&self) -> Option<String> {
        let intents = self.intents.iter().find_map(|(token, intent)| {
            let call = &intent.call;
            let differs = |what: &str, tag: &str, value: &str| {
                let tagged = call.tags.get(tag).map(String::as_str);
                (tagged != Some(value))
                    .then(|| format!("{what} of the launch {token} differs from its tag"))
            };
            if call.token != *token {
                return Some(format!("the launch {token} has the client token {}", call.token));
            }
            if !(1..=MOST_INSTANCES).contains(&call.count) {
                return Some(format!("the launch {token} asks for {} instances", call.count));
            }
            if call.valid_until < call.decided {
                return Some(format!("the launch {token} was decided after its end"));
            }
            differs("the client token", TAG_INTENT, token.as_str())
                .or_else(|| differs("the worker type", TAG_WORKER_TYPE, call.worker_type.as_str()))
                .or_else(|| differs("the key-name", TAG_KEY_NAME, call.key_name.as_str()))
        });
        intents.or_else(|| self.spending.contradiction())
    }

    /// Every remembered instant that is past by its meaning.
    pub(crate) fn instants(&mut self) -> impl Iterator<Item = &mut Timestamp> {
        let Self { intents, granted, id: _, spending: _, hold_until: _ } = self;
        let intents = intents.values_mut().flat_map(|intent| {
            let Intent { call, accepted, withdrawn, looks: _ } = intent;
            [Some(&mut call.decided), accepted.as_mut(), withdrawn.as_mut()].into_iter().flatten()
        });
        let granted = granted.values_mut().flat_map(|granted| {
            let Granted { at, last_seen, arrived, .. } = granted;
            [Some(at), last_seen.as_mut(), arrived.as_mut()].into_iter().flatten()
        });
        intents.chain(granted)
    }
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
