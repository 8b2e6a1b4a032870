//! The words of the domain as types: what every other room of the crate speaks in.
//!
//! Plain data and arithmetic on it. Nothing in here decides, performs I/O or reads a clock.

pub mod bulk;
pub mod clock;
pub mod demand;
pub mod duration;
pub mod ids;
pub mod launch;
pub mod ledger;
pub mod money;
pub mod observed;
pub mod plural;
pub mod prices;
pub mod refusal;
pub mod stop_secret;
pub(crate) mod suggest;
pub mod user_data;
