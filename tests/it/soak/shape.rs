//! The resources of the process, from `/proc`, and whether they grow.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// At one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    rss_kib: u64,
    /// The part without pages of files, which the kernel reclaims when memory is short and which show nothing.
    anonymous_kib: u64,
    fds: usize,
    threads: u64,
}

/// The samples of one process.
#[derive(Debug)]
pub(super) struct Shape {
    pid: u32,
    every: Duration,
    since: Instant,
    samples: Vec<Sample>,
}

/// The medians and maxima of an early and of the last part of a process's life.
#[derive(Debug)]
pub(super) struct Growth {
    lived: Duration,
    early: Window,
    late: Window,
}

#[derive(Debug)]
struct Window {
    rss_kib: u64,
    anonymous_kib: u64,
    fds: usize,
    most_fds: usize,
    threads: u64,
    most_threads: u64,
}

impl Shape {
    pub(super) fn of(pid: u32, every: Duration) -> Self {
        Self { pid, every, since: Instant::now(), samples: Vec::new() }
    }

    /// Takes a sample when one is due.
    pub(super) fn look(&mut self) {
        if self.samples.last().is_some_and(|last| last.at.elapsed() < self.every) {
            return;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("a status");
        let number = |field: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
        };
        let fds = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("its descriptors").count();
        self.samples.push(Sample {
            at: Instant::now(),
            rss_kib: number("VmRSS"),
            anonymous_kib: number("RssAnon"),
            fds,
            threads: number("Threads"),
        });
    }

    /// Whether there are enough samples to distinguish growth from chance.
    pub(super) fn is_telling(&self) -> bool {
        self.samples.len() >= 50
    }

    /// Holds the second fifth of the life, after the warm-up, against the last.
    pub(super) fn growth(&self) -> Growth {
        let n = self.samples.len();
        Growth {
            lived: self.since.elapsed(),
            early: Window::of(&self.samples[n / 5..2 * n / 5]),
            late: Window::of(&self.samples[n - n / 5..]),
        }
    }
}

impl Window {
    fn of(samples: &[Sample]) -> Self {
        Self {
            rss_kib: median(samples.iter().map(|sample| sample.rss_kib)),
            anonymous_kib: median(samples.iter().map(|sample| sample.anonymous_kib)),
            fds: median(samples.iter().map(|sample| sample.fds)),
            most_fds: samples.iter().map(|sample| sample.fds).max().unwrap(),
            threads: median(samples.iter().map(|sample| sample.threads)),
            most_threads: samples.iter().map(|sample| sample.threads).max().unwrap(),
        }
    }
}

fn median<T: Ord + Copy>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

impl Growth {
    /// Nothing grew by more than chance: memory by a tenth and 1 MiB (a quarter and 4 MiB while the
    /// process is young), descriptors and threads not at all beyond the most that a round takes.
    #[track_caller]
    pub(super) fn is_none(&self, long: bool) {
        let Self { early, late, .. } = self;
        let allowed = if long {
            early.anonymous_kib + early.anonymous_kib / 10 + 1024
        } else {
            early.anonymous_kib + early.anonymous_kib / 4 + 4 * 1024
        };
        assert!(late.anonymous_kib <= allowed, "memory grew: {self}");
        assert!(late.fds <= early.fds + 2, "descriptors grew: {self}");
        assert!(late.most_fds <= MOST_FDS && early.most_fds <= MOST_FDS, "descriptors: {self}");
        assert!(late.threads <= early.threads + 2, "threads grew: {self}");
    }
}

/// The runtime's own, the lock, the log, and a handful of connections to AWS and the queue.
const MOST_FDS: usize = 40;

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lived, early, late } = self;
        let mib = |kib: u64| format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024);
        write!(
            f,
            "in the last process ({} s), early and late: resident memory {} and {} \
             (of this anonymous {} and {}), \
             descriptors {} and {} (at most {} and {}), threads {} and {} (at most {} and {})",
            lived.as_secs(),
            mib(early.rss_kib),
            mib(late.rss_kib),
            mib(early.anonymous_kib),
            mib(late.anonymous_kib),
            early.fds,
            late.fds,
            early.most_fds,
            late.most_fds,
            early.threads,
            late.threads,
            early.most_threads,
            late.most_threads,
        )
    }
}
