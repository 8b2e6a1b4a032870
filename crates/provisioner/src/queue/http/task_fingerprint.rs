//! Compares the tasks of two responses, in bounded memory.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::response::ResponseElement;

/// A bottom-k sketch of a response's tasks.
///
/// The smallest hashes of a set are a fair sample of it, and the same sample for the same set in any
/// order. A set of up to [`TaskFingerprint::SIZE`] elements is kept completely.
#[derive(Debug, Default)]
pub(super) struct TaskFingerprint {
    smallest: BTreeSet<u64>,
}

impl TaskFingerprint {
    /// With 256 hashes the estimate of [`Self::resembles`] has a standard error of about 2 percentage
    /// points at its threshold of nine in ten (the square root of 0.9 · 0.1 / 256).
    const SIZE: usize = 256;

    /// Adds an element.
    ///
    /// The hash includes whether the task has a worker and a start: a task that starts between the two
    /// requests then differs, and does not look as if the queue ignored `state`.
    pub(super) fn add(&mut self, element: &ResponseElement<'_>) {
        let mut hasher = DefaultHasher::new();
        match element {
            ResponseElement::Task(task, text) => {
                match &task.id {
                    Some(id) => (true, id.as_ref()).hash(&mut hasher),
                    None => (false, *text).hash(&mut hasher),
                }
                (task.worker_id.is_some(), task.started.is_some()).hash(&mut hasher);
            }
            ResponseElement::NoWorkerType(_, text) | ResponseElement::NoObject(text) => {
                (false, *text).hash(&mut hasher);
            }
            ResponseElement::Oversized => return,
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

    /// Returns whether at least nine in ten of all elements are in both responses; `None` if both are
    /// empty.
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

    fn fingerprint(elements: impl IntoIterator<Item = u64>) -> TaskFingerprint {
        let mut fingerprint = TaskFingerprint::default();
        for element in elements {
            fingerprint.add(&ResponseElement::NoObject(&element.to_string()));
        }
        fingerprint
    }

    #[test]
    fn small_sets_are_compared_completely() {
        assert_eq!(fingerprint([]).resembles(&fingerprint([])), None);
        assert_eq!(fingerprint([1]).resembles(&fingerprint([])), Some(false));
        assert_eq!(fingerprint([1, 2]).resembles(&fingerprint([2, 1])), Some(true));
        assert_eq!(fingerprint(1..=9).resembles(&fingerprint(1..=8)), Some(false));
        assert_eq!(fingerprint(1..=10).resembles(&fingerprint(1..=9)), Some(true));
    }

    #[test]
    fn large_sets_are_compared_by_sample() {
        let a = fingerprint(0..50_000);
        assert_eq!(a.smallest.len(), TaskFingerprint::SIZE);
        assert_eq!(a.resembles(&fingerprint((100..50_100).rev())), Some(true));
        assert_eq!(a.resembles(&fingerprint(25_000..75_000)), Some(false));
        assert_eq!(a.resembles(&fingerprint(0..1_000)), Some(false));
    }
}
