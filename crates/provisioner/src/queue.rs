//! Reads the demand: how many tasks wait, how many run, and on which machines.
//!
//! The daemon asks a [`DemandSource`] once per round. Embedders bring their own; the programs use
//! [`Queue`], which stands for the kind of queue that the configuration names. So far that is a queue
//! behind HTTP.
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
//! - A queue that cannot list running tasks refuses RUNNING from the start, with 501 or a 4xx that is not
//!   about this client (401, 403, 408, 429). Once it has answered with 200, it must go on doing so.
//! - The next round is the retry, so that nothing is repeated within one. Every round reports everything
//!   that was skipped; the caller decides what is news.

use std::collections::BTreeSet;

use crate::domain::demand::Demand;
use crate::domain::ids::InstanceId;
use crate::settings::Settings;

pub(crate) mod http;
pub(crate) mod source;

use http::{HttpQueue, TaskFilter};
use source::{DemandError, DemandSource};

/// The queue that the configuration names.
#[derive(Debug)]
#[non_exhaustive]
pub enum Queue {
    /// A queue behind HTTP.
    Http(HttpQueue),
}

impl Queue {
    /// Makes the queue of `settings`. Connects to nothing yet.
    pub fn from_settings(settings: &Settings) -> Result<Self, DemandError> {
        Ok(Self::Http(HttpQueue::from_settings(settings)?))
    }

    /// Returns whether a queue made from `before` can be used under `now`. A new one would have to find
    /// out again what its queue can do.
    pub fn can_be_kept(before: &Settings, now: &Settings) -> bool {
        // The queue's settings, and what `TaskFilter` takes from the others.
        before.queue == now.queue
            && TaskFilter::from_settings(before) == TaskFilter::from_settings(now)
    }
}

impl DemandSource for Queue {
    async fn demand(&mut self, owned: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        match self {
            Self::Http(queue) => queue.demand(owned).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn settings(queue: &str, worker_type: &str) -> Settings {
        let text = format!(
            "[queue]\nurl = 'http://localhost:8314/v1'\n{queue}\n[worker-types.linux]\n\
             image-id = 'ami-0123456789abcdef0'\ninstance-types = ['c7g.large']\n{worker_type}\n"
        );
        config::parse(&text, Path::new("/")).unwrap().settings
    }

    #[test]
    fn a_queue_is_kept_unless_what_it_was_made_of_changes() {
        let before = settings("", "");
        assert!(Queue::can_be_kept(&before, &settings("", "max-instances = 7")));
        assert!(!Queue::can_be_kept(&before, &settings("timeout = '7s'", "")));
        assert!(!Queue::can_be_kept(&before, &settings("", "aliases = ['debian']")));
    }
}
