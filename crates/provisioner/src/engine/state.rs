//! What the engine knows: what outlives the process ([`durable`]: ledger and [`memory`]), what the last
//! observation showed ([`view`]: the [`index`] of machines and requests by owner), and the pauses between
//! rounds that failed ([`backoff`]) and between calls ([`api_budget`]).

pub(super) mod api_budget;
pub(super) mod backoff;
pub(super) mod capacity;
pub(super) mod durable;
pub(super) mod failures;
pub(super) mod group;
pub(super) mod idleness;
pub(super) mod in_flight;
pub(super) mod index;
pub(super) mod lookup;
pub(super) mod machine;
pub(super) mod memory;
pub(super) mod other_ledgers;
pub(super) mod places;
pub(super) mod token;
pub(super) mod view;
