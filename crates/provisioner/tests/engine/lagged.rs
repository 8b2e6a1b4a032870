//! A record of EC2 whose changes become visible late.

use jiff::Timestamp;

/// A record with its versions, the truth last.
#[derive(Clone, Debug)]
pub(crate) struct Lagged<T> {
    versions: Vec<(Timestamp, Option<T>)>,
}

impl<T: Clone> Lagged<T> {
    /// Made now, and visible from `visible` on.
    pub(crate) fn new(value: T, visible: Timestamp) -> Self {
        Self { versions: vec![(Timestamp::MIN, None), (visible, Some(value))] }
    }

    /// What is.
    pub(crate) fn truth(&self) -> Option<&T> {
        self.versions.last().and_then(|(_, value)| value.as_ref())
    }

    /// What a describe call shows.
    pub(crate) fn seen(&self, now: Timestamp) -> Option<&T> {
        let (_, value) = self.versions.iter().rev().find(|(visible, _)| *visible <= now)?;
        value.as_ref()
    }

    /// Changes the truth; a describe call shows it from `visible` on, though never before what it was
    /// changed from.
    pub(crate) fn change(&mut self, visible: Timestamp, change: impl FnOnce(&mut T)) {
        let Some((before, value)) = self.versions.last() else { return };
        let Some(mut value) = value.clone() else { return };
        let visible = visible.max(*before);
        change(&mut value);
        self.versions.push((visible, Some(value)));
    }

    /// Is no more.
    pub(crate) fn vanish(&mut self, visible: Timestamp) {
        self.versions.push((visible, None));
    }
}
