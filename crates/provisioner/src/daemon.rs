//! The asynchronous driver: runs the engine against EC2, a queue and the disk.
//!
//! It decides nothing. A round ([`round`]) reads the queue, then EC2, has the engine decide, and carries
//! out its effects one after another. Between rounds ([`rounds`]) the daemon waits for the time that the
//! engine named, a wake-up or another configuration.
//!
//! - A mutating call is never cancelled half-way: a stop is looked at between effects, so that a request is
//!   either unsent or recorded. Ending the daemon never terminates instances.
//! - A round is decided on one complete observation or not at all, and a failed round is repeated after a
//!   growing pause; nothing is repeated within a round.
//! - What is logged is said once ([`log`]): a note is reported when it begins, not in every round.
//! - Beside the loop stand the record of rounds for `status` ([`record`]), spot prices ([`prices`]), the
//!   names that worker types use in AWS ([`resolve`]), and when the soft state is written
//!   ([`memory_writer`]).

#[cfg(feature = "aws")]
mod clock;
#[cfg(feature = "aws")]
mod log;
#[cfg(feature = "aws")]
mod memory_writer;
#[cfg(feature = "aws")]
mod open;
#[cfg(feature = "aws")]
mod prices;
#[cfg(feature = "aws")]
mod record;
#[cfg(feature = "aws")]
mod reload;
#[cfg(feature = "aws")]
mod resolve;
#[cfg(feature = "aws")]
mod round;
#[cfg(feature = "aws")]
mod round_summary;
#[cfg(feature = "aws")]
mod rounds;
#[cfg(feature = "aws")]
mod status_probe;
mod stop_listener;

pub use stop_listener::StopListener;

#[cfg(feature = "aws")]
pub use clock::{Clock, ClockOffset};
#[cfg(feature = "aws")]
pub use open::{Daemon, MissingLedger, ProcessSeed};
#[cfg(feature = "aws")]
pub use reload::{NeedsRestart, Reloader};
#[cfg(feature = "aws")]
pub use round::RoundEnd;
#[cfg(feature = "aws")]
pub use round_summary::{QueueRead, RoundSummary};
#[cfg(feature = "aws")]
pub use rounds::GaveUp;
#[cfg(feature = "aws")]
pub use status_probe::{ProbeReach, StatusProbe};
