//! `MaxResults` and `NextToken`.
//!
//! A token says which record was the last one shown, so that what ends or begins while the pages are read
//! shifts nothing else. Pages may hold less than was asked for (Amazon EC2 API Reference,
//! `DescribeInstances`: "the remaining results can be seen by sending another request").

use provisioner::domain::refusal::Refusal;

use super::form::Form;
use super::xml::{Node, text};
use crate::rng::Rng;
use crate::world::refusal;

/// Tokens begin with this.
const TOKEN: &str = "sim-after-";

/// Which part of a listing is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// At most so many records.
    most: Option<usize>,
    /// Only those beyond the record of this number.
    after: Option<usize>,
}

/// How the world makes pages.
pub(super) struct Book<'a> {
    /// [`World::page`](crate::world::World::page).
    pub(super) page: usize,
    /// How many of a hundred pages shift.
    pub(super) shifted: u64,
    /// Which of them.
    pub(super) network: &'a mut Rng,
}

/// Part of a listing.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) records: Vec<T>,
    next: Option<usize>,
}

impl Asked {
    /// Takes it out of a form. EC2 takes 5 to `most` records a page.
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

    /// Whether it is the beginning of a listing.
    pub(super) fn is_first(self) -> bool {
        self.after.is_none()
    }

    /// Takes the page out of all records, which come by ascending number.
    pub(super) fn of<T: Copy>(self, book: &mut Book<'_>, all: &[(usize, T)]) -> Page<T> {
        let begins = match self.after {
            None => 0,
            Some(after) => all.partition_point(|(number, _)| *number <= after),
        };
        let most = self.most.unwrap_or(usize::MAX).min(book.page.max(1));
        let ends = all.len().min(begins.saturating_add(most));
        let next = (ends < all.len()).then(|| all[ends - 1].0);
        let mut records: Vec<T> = all[begins..ends].iter().map(|(_, record)| *record).collect();
        if book.shifted > 0 && book.network.percent(book.shifted) {
            // One that was shown before comes again, and no order is promised.
            records.extend(book.network.pick(&all[..ends]).map(|(_, record)| *record));
            records.reverse();
        }
        Page { records, next }
    }
}

impl<T> Page<T> {
    /// The token, where there is more.
    pub(super) fn token(&self) -> Option<Node> {
        self.next.map(|number| text("nextToken", format_args!("{TOKEN}{number:x}")))
    }
}

fn number(token: &str) -> Option<usize> {
    usize::from_str_radix(token.strip_prefix(TOKEN)?, 16).ok()
}
