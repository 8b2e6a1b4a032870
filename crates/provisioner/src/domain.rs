//! The vocabulary of the domain as types, which every other room of the crate uses.
//!
//! Plain data and arithmetic on it. Nothing in here makes decisions, performs I/O or reads a clock.

pub(crate) mod bulk;
pub(crate) mod clock;
pub(crate) mod cool_down;
pub(crate) mod demand;
pub(crate) mod duration;
pub(crate) mod error_chain;
pub(crate) mod ids;
pub(crate) mod launch;
pub(crate) mod ledger;
pub(crate) mod loopback;
pub(crate) mod money;
pub(crate) mod observed;
pub(crate) mod plural;
pub(crate) mod prices;
pub(crate) mod proxy;
pub(crate) mod refusal;
pub(crate) mod shown;
pub(crate) mod spending;
pub(crate) mod stop_secret;
pub(crate) mod suggest;
pub(crate) mod user_data;
