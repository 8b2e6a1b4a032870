//! Scheduled events, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

use super::lifecycle::Reclaim;
use crate::queue::TaskNo;

/// An event that concerns a request or machine, by its number, or the market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Fill(usize),
    Fail(usize),
    NotOffered(usize),
    Expire(usize),
    Running(usize),
    LaunchEnds(usize),
    PowerOff(usize),
    Up(usize),
    Finished(TaskNo, usize),
    Idle(usize),
    Ask(usize),
    Stopping(usize),
    Notice(usize),
    Interrupted(usize, Reclaim),
    Stopped(usize),
    Terminated(usize),
    Vanish(usize),
    Market,
}

/// Future events. Simultaneous events happen in the order in which they were scheduled.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    thought_of: u64,
}

impl Events {
    pub(super) fn add(&mut self, at: Timestamp, event: Event) {
        self.thought_of += 1;
        self.heap.push(Reverse((at, self.thought_of, event)));
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn next_until(&mut self, until: Timestamp) -> Option<(Timestamp, Event)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
