//! Whether two answers hold the same tasks, in bounded memory.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::answer::Seen;

/// A bottom-k sketch: the smallest hashes of a set are a fair sample of it, and the same sample for the
/// same set in any order. A set of up to [`Sketch::SIZE`] elements is there whole.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    smallest: BTreeSet<u64>,
}

impl Sketch {
    const SIZE: usize = 256;

    /// Adds an element.
    ///
    /// A task that the queue started between two reads is not the same in both: that it has a worker or a
    /// start now is part of what is compared, or each such task would look as if `state` were ignored.
    pub(super) fn add(&mut self, seen: &Seen<'_>) {
        let mut hasher = DefaultHasher::new();
        match seen {
            Seen::Task(task, text) => {
                match &task.id {
                    Some(id) => (true, id.as_ref()).hash(&mut hasher),
                    None => (false, *text).hash(&mut hasher),
                }
                (task.worker_id.is_some(), task.started.is_some()).hash(&mut hasher);
            }
            Seen::Malformed(text) => (false, *text).hash(&mut hasher),
            Seen::Oversized => return,
        }
        self.insert(hasher.finish());
    }

    fn insert(&mut self, hash: u64) {
        if self.smallest.len() < Self::SIZE {
            self.smallest.insert(hash);
        } else if self.smallest.last().is_some_and(|last| hash < *last)
            && self.smallest.insert(hash)
        {
            self.smallest.pop_last();
        }
    }

    /// Returns whether at least nine in ten of all elements are in both; `None` if there are none.
    pub(super) fn resembles(&self, other: &Self) -> Option<bool> {
        let union = self.smallest.union(&other.smallest).take(Self::SIZE);
        let mut all = 0;
        let mut shared = 0;
        for hash in union {
            all += 1;
            if self.smallest.contains(hash) && other.smallest.contains(hash) {
                shared += 1;
            }
        }
        (all > 0).then_some(shared * 10 >= all * 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(elements: impl IntoIterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        for element in elements {
            sketch.add(&Seen::Malformed(&element.to_string()));
        }
        sketch
    }

    #[test]
    fn small_sets_are_compared_whole() {
        assert_eq!(sketch([]).resembles(&sketch([])), None);
        assert_eq!(sketch([1]).resembles(&sketch([])), Some(false));
        assert_eq!(sketch([1, 2]).resembles(&sketch([2, 1])), Some(true));
        assert_eq!(sketch(1..=9).resembles(&sketch(1..=8)), Some(false));
        assert_eq!(sketch(1..=10).resembles(&sketch(1..=9)), Some(true));
    }

    #[test]
    fn large_sets_are_compared_by_sample() {
        let a = sketch(0..50_000);
        assert_eq!(a.smallest.len(), Sketch::SIZE);
        assert_eq!(a.resembles(&sketch((100..50_100).rev())), Some(true));
        assert_eq!(a.resembles(&sketch(25_000..75_000)), Some(false));
        assert_eq!(a.resembles(&sketch(0..1_000)), Some(false));
    }
}
