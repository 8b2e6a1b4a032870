//! File descriptors: how many the process may have, and how they are divided.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors that the listeners leave alone: for the ledger and the other files, the queue, AWS, name
/// resolution, and the runtime.
const OTHERS: u64 = 64;

/// The most connections of one listener. They take milliseconds each, so that this suffices for tens of
/// thousands of workers that ask every 30 s.
const MOST_SEATS: u64 = 256;

/// The fewest connections of one listener: under a limit this low the daemon works, and is hard to reach.
const FEWEST_SEATS: u64 = 4;

/// Raises the soft limit of the process to the hard one. The soft limit is often 1024 for the sake of
/// programs that use `select(2)`, which this is none of.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "raised the limit of open files"),
        Err(error) => {
            tracing::debug!(%error, "the limit of open files cannot be raised: {error}");
        }
    }
}

/// Returns how many connections each of the two listeners may have at the same time.
pub(crate) fn seats() -> usize {
    divide(getrlimit(Resource::Nofile).current)
}

fn divide(limit: Option<u64>) -> usize {
    let seats = limit.map_or(MOST_SEATS, |limit| limit.saturating_sub(OTHERS) / 2);
    usize::try_from(seats.clamp(FEWEST_SEATS, MOST_SEATS)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_leave_descriptors_for_the_ledger_and_the_calls() {
        for (limit, seats) in
            [(None, 256), (Some(1 << 20), 256), (Some(1024), 256), (Some(256), 96), (Some(64), 4)]
        {
            assert_eq!(divide(limit), seats, "{limit:?}");
        }
    }
}
