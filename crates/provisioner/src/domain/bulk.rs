//! Bulk calls: one id that EC2 does not know, or may not touch, fails the call for all of them.
//!
//! EC2's message names such ids, so the call can be repeated at once without them.

use super::refusal::Refusal;

/// How many ids go into one cancelling, terminating or tagging call. EC2 takes 1000 (API Reference,
/// `TerminateInstances`), but throttles such a call as a whole in a busy account. Our own choice.
pub(crate) const IDS_PER_CALL: usize = 200;

/// The items of a refused bulk call, by whether EC2's message names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadIdSplit<T> {
    /// The items that the refusal is about, in their order.
    pub named: Vec<T>,
    /// The items with which the call can be repeated, in their order.
    pub others: Vec<T>,
}

/// Splits the items of a refused bulk call around the ids that the refusal names.
///
/// Returns `None` if it names none of them: then the refusal is about the call itself, and leaving
/// items out would not help.
pub(crate) fn split_around_bad_ids<T: Clone>(
    items: &[T],
    id: impl Fn(&T) -> &str,
    refusal: &Refusal,
) -> Option<BadIdSplit<T>> {
    let (named, others): (Vec<T>, Vec<T>) =
        items.iter().cloned().partition(|item| refusal.names(id(item)));
    (!named.is_empty()).then_some(BadIdSplit { named, others })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::refusal::RefusalClass;

    #[test]
    fn the_named_ids_are_split_off_and_the_order_is_kept() {
        let refusal = |message: &str| Refusal {
            class: RefusalClass::NotFound,
            code: "InvalidInstanceID.NotFound".to_owned(),
            message: message.to_owned(),
            request_id: None,
        };
        let items = [(0, "i-1"), (0, "i-11"), (1, "i-2"), (1, "i-3")];
        let split = |message: &str| split_around_bad_ids(&items, |item| item.1, &refusal(message));
        assert_eq!(
            split("The instance IDs 'i-1, i-3' do not exist"),
            Some(BadIdSplit {
                named: vec![(0, "i-1"), (1, "i-3")],
                others: vec![(0, "i-11"), (1, "i-2")]
            })
        );
        assert_eq!(split("You are not authorized"), None);
    }
}
