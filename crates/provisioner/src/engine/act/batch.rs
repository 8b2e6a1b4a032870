//! Bulk calls: many ids in one, and one bad id does not fail the rest.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use crate::domain::refusal::Refusal;

/// How many ids go into one cancelling, terminating or tagging call. EC2 recommends at most 1000
/// instances in one `TerminateInstances` (API Reference).
const BULK: usize = 1000;

/// The ids of one bulk call, with the actions they belong to.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Batch<I> {
    pub(in crate::engine) parts: Vec<(usize, Vec<I>)>,
}

impl<I: Clone + Ord + fmt::Display> Batch<I> {
    /// Joins the ids of several actions into bulk calls.
    pub(in crate::engine) fn bulk(
        actions: impl IntoIterator<Item = (usize, Vec<I>)>,
    ) -> VecDeque<Self> {
        let mut batches: VecDeque<Self> = VecDeque::new();
        let mut room = 0;
        for (action, ids) in actions {
            let mut ids = ids.as_slice();
            while !ids.is_empty() {
                if room == 0 {
                    batches.push_back(Self { parts: Vec::new() });
                    room = BULK;
                }
                let (now, later) = ids.split_at(ids.len().min(room));
                room -= now.len();
                ids = later;
                if let Some(batch) = batches.back_mut() {
                    batch.parts.push((action, now.to_vec()));
                }
            }
        }
        batches
    }

    pub(in crate::engine) fn ids(&self) -> Vec<I> {
        self.parts.iter().flat_map(|(_, ids)| ids.iter().cloned()).collect()
    }

    /// Splits off the ids that EC2's message names: one bad id fails a whole call.
    pub(in crate::engine) fn without_named(&self, refusal: &Refusal) -> Option<(Self, Self)> {
        let ids = self.parts.iter().flat_map(|(_, ids)| ids);
        let named: BTreeSet<I> = ids.filter(|id| refusal.names(&id.to_string())).cloned().collect();
        if named.is_empty() {
            return None;
        }
        let pick = |keep: bool| Self {
            parts: self
                .parts
                .iter()
                .map(|(action, ids)| {
                    let ids = ids.iter().filter(|id| named.contains(*id) == keep).cloned();
                    (*action, ids.collect::<Vec<_>>())
                })
                .filter(|(_, ids)| !ids.is_empty())
                .collect(),
        };
        Some((pick(true), pick(false)))
    }
}
