//! What describe calls show otherwise than before, as it comes to be shown: for who keeps a look up to date.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use jiff::Timestamp;
use provisioner::domain::ids::SpotRequestId;
use provisioner::domain::observed::SpotRequestState;
use provisioner::look::Look;

use super::World;
use crate::deployment::key;

/// A record, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Record {
    Machine(usize),
    Request(usize),
}

/// When records come to be shown otherwise.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    heap: BinaryHeap<Reverse<(Timestamp, Record)>>,
    /// Requests that the last update showed for being asked for by id.
    by_id: BTreeSet<usize>,
}

impl Shown {
    pub(super) fn add(&mut self, at: Timestamp, record: Record) {
        self.heap.push(Reverse((at, record)));
    }

    /// When a record comes to be shown otherwise next.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn next_until(&mut self, now: Timestamp) -> Option<Record> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, record))| record)
    }
}

impl World {
    /// Whoever keeps a look up to date begins with an empty one.
    pub(crate) fn show_all_again(&mut self) {
        self.shown.by_id.clear();
        for no in 0..self.machines.len() {
            self.shown.add(self.now, Record::Machine(no));
        }
        for no in 0..self.requests.len() {
            self.shown.add(self.now, Record::Request(no));
        }
    }

    /// Makes of `look`, which this world kept up to date so far, what [`observe`](Self::observe) would show
    /// now. Work proportional to what changed, and to `tracked`.
    pub(super) fn update(&mut self, look: &mut Look, tracked: &BTreeSet<SpotRequestId>) {
        let mut requests = BTreeSet::new();
        let ours = key();
        while let Some(record) = self.shown.next_until(self.now) {
            match record {
                Record::Request(no) => drop(requests.insert(no)),
                Record::Machine(no) => {
                    let machine = self.machines.at(no);
                    match machine.record.seen(self.now).filter(|_| machine.key == ours) {
                        Some(instance) => drop(look.show_instance(instance)),
                        None => look.hide_instance(&machine.truth().id),
                    }
                }
            }
        }
        for no in &requests {
            self.tidy_request(*no);
        }
        // As the adapter does: the requests of instances that do not say themselves what they are.
        let untagged =
            look.unclear().filter(|it| it.state.is_live() && it.tags.worker_type.is_none());
        let by_id: BTreeSet<usize> = untagged
            .filter_map(|instance| instance.spot_request.as_ref())
            .chain(tracked)
            .filter_map(|id| self.requests.number(id))
            .collect();
        let by_id_before = std::mem::take(&mut self.shown.by_id);
        requests.extend(by_id.iter().chain(&by_id_before));
        for no in requests {
            let request = self.requests.at(no);
            let shown = request.record.seen(self.now).filter(|it| {
                let on_the_pages =
                    matches!(it.state, SpotRequestState::Open | SpotRequestState::Active);
                request.key == ours && (on_the_pages || by_id.contains(&no))
            });
            match shown {
                Some(shown) => drop(look.show_request(shown)),
                None => look.hide_request(&request.truth().id),
            }
        }
        self.shown.by_id = by_id;
        look.set_key_pair(self.key_pair);
    }
}
