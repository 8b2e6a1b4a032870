//! Reads the demand: how many tasks wait, how many run, and on which machines.
//!
//! The daemon asks a [`source::DemandSource`] once per round. Embedders bring their own; the programs
//! use [`http::HttpQueue`].
//!
//! # How a queue behind HTTP is read
//!
//! One round sends `GET <base>/jobs?state=PENDING`, then `…?state=RUNNING`. `http::endpoint` makes the
//! request and enforces the timeout, the size limit and the rules for tokens and redirects.
//! `http::json_array` cuts the body, as it streams in, into the elements of its array; `http::response`
//! reads each element as a `http::task`; `http::tally` counts it per worker type. At most one element is
//! in memory, and nothing grows with the number of tasks beyond fixed bounds.
//!
//! The order matters: a task that starts between the two requests is counted twice for one round, and
//! never missed.
//!
//! A queue object remembers little from round to round: whether RUNNING was ever answered, whether the
//! queue honours `state` (`http::state_filter`, which compares the two responses by
//! `http::task_fingerprint`), and which tasks ran (`http::task_history`, from which waiting and run
//! times are measured).
//!
//! # What it assumes
//!
//! - A response that was not understood completely is an error and never a smaller demand. A single
//!   element that is valid JSON but not a task is skipped and counted.
//! - A queue that cannot list running tasks answers RUNNING with 404 or 400 from the start. Once it has
//!   answered otherwise, it must go on doing so.
//! - The next round is the retry, so that nothing is repeated within one. Every round reports everything
//!   that was skipped; the caller decides what is news.

pub mod http;
pub mod source;
