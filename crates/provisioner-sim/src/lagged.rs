//! A record of EC2 whose changes become visible late.

use jiff::Timestamp;

/// A record with its versions, of which the last is the truth.
#[derive(Clone, Debug)]
pub struct Lagged<T> {
    /// The versions in order, each with the time from which describe calls show it.
    versions: Vec<(Timestamp, T)>,
    vanishes: Option<Timestamp>,
}

impl<T: Clone> Lagged<T> {
    /// Creates a record that describe calls show from `visible` on.
    pub fn new(value: T, visible: Timestamp) -> Self {
        Self { versions: vec![(visible, value)], vanishes: None }
    }

    /// Returns the true state, or the last one if EC2 has forgotten the record.
    pub fn truth(&self) -> &T {
        // There is a version from the beginning, and the last one is never removed.
        let last = self.versions.len() - 1;
        &self.versions[last].1
    }

    /// Returns what a describe call shows.
    pub fn seen(&self, now: Timestamp) -> Option<&T> {
        if self.vanishes.is_some_and(|at| at <= now) {
            return None;
        }
        let (_, value) = self.versions.iter().rev().find(|(visible, _)| *visible <= now)?;
        Some(value)
    }

    /// Changes the truth. Describe calls show the change from `visible` on, but never before the previous
    /// version.
    pub fn change(&mut self, visible: Timestamp, change: impl FnOnce(&mut T)) {
        let last = self.versions.len() - 1;
        let (before, value) = &self.versions[last];
        let visible = visible.max(*before);
        let mut value = value.clone();
        change(&mut value);
        self.versions.push((visible, value));
    }

    /// Lets EC2 forget the record. Describe calls do not show it from `visible` on.
    pub fn vanish(&mut self, visible: Timestamp) {
        self.vanishes = Some(visible);
    }

    /// Drops versions that no describe call can show from `now` on.
    pub fn settle(&mut self, now: Timestamp) {
        if let Some(shown) = self.versions.iter().rposition(|(visible, _)| *visible <= now) {
            self.versions.drain(..shown);
        }
    }

    /// Returns whether describe calls no longer show the record.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.vanishes.is_some_and(|at| at <= now)
    }

    /// Hides the record from describe calls until `visible`, as if it had just been created.
    pub fn hide_until(&mut self, visible: Timestamp) {
        let truth = self.truth().clone();
        *self = Self::new(truth, visible);
    }
}
