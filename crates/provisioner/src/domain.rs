//! The vocabulary of the domain as types, which every other room of the crate uses.
//!
//! Plain data and arithmetic on it. Nothing in here makes decisions, performs I/O or reads a clock.

pub mod bulk;
pub mod clock;
pub mod demand;
pub mod duration;
pub mod error_chain;
pub mod ids;
pub mod launch;
pub mod ledger;
pub mod loopback;
pub mod money;
pub mod observed;
pub mod plural;
pub mod prices;
pub mod refusal;
pub mod stop_secret;
pub(crate) mod suggest;
pub mod user_data;
