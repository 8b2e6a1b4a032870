//! `MaxResults` and `NextToken`.
//!
//! A token names the last record on the page, so that records that appear or disappear while the pages are
//! read do not shift the others. Pages may hold fewer records than requested (Amazon EC2 API Reference,
//! `DescribeInstances`: "the remaining results can be seen by sending another request").

use provisioner::internal::domain::refusal::Refusal;

use super::form::Form;
use super::xml::{Node, text};
use crate::rng::Rng;
use crate::world::refusal;

/// The prefix of tokens.
const TOKEN: &str = "sim-after-";

/// The part of a listing that a call requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The maximum number of records.
    most: Option<usize>,
    /// The number of the record after which the page begins.
    after: Option<usize>,
}

/// How the world divides listings into pages.
pub(super) struct Book<'a> {
    /// [`World::page`](crate::world::World::page).
    pub(super) page: usize,
    /// The percentage of pages that shift.
    pub(super) shifted: u64,
    /// Decides which pages shift.
    pub(super) network: &'a mut Rng,
}

/// A part of a listing.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) records: Vec<T>,
    next: Option<usize>,
}

impl Asked {
    /// Takes the parameters out of a form. EC2 allows 5 to `most` records per page.
    pub(super) fn read(form: &mut Form, most: usize) -> Result<Self, Refusal> {
        let wanted = form.parsed::<usize>("MaxResults")?;
        if let Some(wanted) = wanted
            && !(5..=most).contains(&wanted)
        {
            let message = format!("Value ( {wanted} ) for parameter maxResults is invalid");
            return Err(refusal("InvalidParameterValue", message));
        }
        let after = match form.text("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(number(&token).ok_or_else(|| {
                let message = format!("The token '{token}' is invalid");
                refusal("InvalidPaginationToken", message)
            })?),
        };
        Ok(Self { most: wanted, after })
    }

    /// Returns whether this is the first page.
    pub(super) fn is_first(self) -> bool {
        self.after.is_none()
    }

    /// Takes the page out of all records, which are in ascending order of their numbers. `admits` tells
    /// which of them match the filters; it does not see records that the page cannot show, because a
    /// listing of many pages would cost the square of its length otherwise.
    pub(super) fn of<T: Copy>(
        self,
        book: &mut Book<'_>,
        all: impl IntoIterator<Item = (usize, T)>,
        admits: impl Fn(&T) -> Result<bool, Refusal>,
    ) -> Result<Page<T>, Refusal> {
        let most = self.most.unwrap_or(usize::MAX).min(book.page.max(1));
        // Records of earlier pages are shown only by a page that shifts.
        let (mut earlier, mut records, mut next) = (Vec::new(), Vec::new(), None);
        let mut last = None;
        for (number, record) in all {
            let is_earlier = self.after.is_some_and(|after| number <= after);
            if is_earlier && book.shifted == 0 || !admits(&record)? {
                continue;
            }
            if is_earlier {
                earlier.push(record);
            } else if records.len() == most {
                next = last;
                break;
            } else {
                records.push(record);
                last = Some(number);
            }
        }
        if book.shifted > 0 && book.network.percent(book.shifted) {
            // A record is shown again. EC2 promises no order.
            earlier.extend_from_slice(&records);
            records.extend(book.network.pick(&earlier).copied());
            records.reverse();
        }
        Ok(Page { records, next })
    }
}

impl<T> Page<T> {
    /// The token, if there are more records.
    pub(super) fn token(&self) -> Option<Node> {
        self.next.map(|number| text("nextToken", format_args!("{TOKEN}{number:x}")))
    }
}

fn number(token: &str) -> Option<usize> {
    usize::from_str_radix(token.strip_prefix(TOKEN)?, 16).ok()
}
