//! A record of EC2 whose changes become visible late.

use jiff::Timestamp;

/// A record with its versions, the truth last.
#[derive(Clone, Debug)]
pub struct Lagged<T> {
    /// From when each version is seen, in order of time. A first version is seen from its own time on.
    versions: Vec<(Timestamp, T)>,
    vanishes: Option<Timestamp>,
}

impl<T: Clone> Lagged<T> {
    /// Made now, and visible from `visible` on.
    pub fn new(value: T, visible: Timestamp) -> Self {
        Self { versions: vec![(visible, value)], vanishes: None }
    }

    /// What is, or was when EC2 forgot it.
    pub fn truth(&self) -> &T {
        // There is a version from the start, and the last is never taken away.
        let last = self.versions.len() - 1;
        &self.versions[last].1
    }

    /// What a describe call shows.
    pub fn seen(&self, now: Timestamp) -> Option<&T> {
        if self.vanishes.is_some_and(|at| at <= now) {
            return None;
        }
        let (_, value) = self.versions.iter().rev().find(|(visible, _)| *visible <= now)?;
        Some(value)
    }

    /// Changes the truth; a describe call shows it from `visible` on, though never before what it was
    /// changed from.
    pub fn change(&mut self, visible: Timestamp, change: impl FnOnce(&mut T)) {
        let last = self.versions.len() - 1;
        let (before, value) = &self.versions[last];
        let visible = visible.max(*before);
        let mut value = value.clone();
        change(&mut value);
        self.versions.push((visible, value));
    }

    /// EC2 forgets it; describe calls show it no more from `visible` on.
    pub fn vanish(&mut self, visible: Timestamp) {
        self.vanishes = Some(visible);
    }

    /// Forgets versions that no look from `now` on can show.
    pub fn settle(&mut self, now: Timestamp) {
        if let Some(shown) = self.versions.iter().rposition(|(visible, _)| *visible <= now) {
            self.versions.drain(..shown);
        }
    }

    /// Whether describe calls show it no more, and never will again.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.vanishes.is_some_and(|at| at <= now)
    }

    /// Shown by no describe call before `visible`, as if it had only been made.
    pub fn hide_until(&mut self, visible: Timestamp) {
        let truth = self.truth().clone();
        *self = Self::new(truth, visible);
    }
}
