//! Records as they were last written, because describe calls show most of them again and again unchanged.

use std::collections::HashMap;
use std::sync::Arc;

/// The texts of records, each with the value `T` that it was written from.
#[derive(Clone, Debug)]
pub(crate) struct Written<T> {
    texts: HashMap<usize, (T, Arc<str>)>,
}

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self { texts: HashMap::new() }
    }
}

impl<T> Written<T> {
    /// Returns the text of the record with this number. `write` writes it, unless its text `is_current`.
    pub(crate) fn get_or_write(
        &mut self,
        number: usize,
        is_current: impl FnOnce(&T) -> bool,
        write: impl FnOnce() -> (T, String),
    ) -> Arc<str> {
        if let Some((from, text)) = self.texts.get(&number)
            && is_current(from)
        {
            return Arc::clone(text);
        }
        let (from, text) = write();
        let text = Arc::from(text);
        self.texts.insert(number, (from, Arc::clone(&text)));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_again_when_it_has_changed() {
        let mut written = Written::default();
        let mut shown = |number, value: u8| {
            let write = || (value, format!("{number}: {value}"));
            written.get_or_write(number, |from| *from == value, write)
        };
        let first = shown(0, 1);
        assert!(Arc::ptr_eq(&first, &shown(0, 1)));
        assert_eq!(
            [first, shown(0, 2), shown(1, 2)].map(|text| text.to_string()),
            ["0: 1", "0: 2", "1: 2"]
        );
    }
}
