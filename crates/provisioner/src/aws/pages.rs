//! Reads a listing to its end: follows `NextToken`, and notices a listing that has no end.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::Filter;
use tokio::time::Instant;

use super::Error;

/// The largest page EC2 gives (EC2 API Reference, `MaxResults`).
pub(super) const PAGE_ITEMS: i32 = 1000;
/// EC2 takes 200 values in one filter ("Filtering resources", EC2 User Guide).
pub(super) const FILTER_VALUES: usize = 200;
/// Our own bound. It allows a million items; an endpoint that still has a next page then is not EC2.
const MAX_PAGES: usize = 1000;
/// Our own bound on the time of one observation and of one listing. 20,000 machines are twenty pages of a few
/// seconds each; this leaves room for throttling, and stays below the watchdog of the systemd unit.
pub(super) const LISTING_DEADLINE: Duration = Duration::from_mins(2);

/// How far one listing has been read.
///
/// We do not use the SDK's paginators: they take a repeated token for the end, and an incomplete
/// listing would pass for a complete one.
#[derive(Debug)]
pub(super) struct Pages {
    operation: &'static str,
    resource: String,
    seen: BTreeSet<String>,
    next: NextPage,
    began: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum NextPage {
    First,
    At(String),
    None,
}

impl Pages {
    /// Begins a listing by `operation`; errors name it and `resource`.
    pub(super) fn of(operation: &'static str, resource: impl Into<String>) -> Self {
        let resource = resource.into();
        Self {
            operation,
            resource,
            seen: BTreeSet::new(),
            next: NextPage::First,
            began: Instant::now(),
        }
    }

    /// Returns whether there is another page to be read.
    pub(super) fn remain(&self) -> bool {
        self.next != NextPage::None
    }

    /// Returns the token that the next call must send; none on the first page.
    pub(super) fn token(&self) -> Option<String> {
        match &self.next {
            NextPage::At(token) => Some(token.clone()),
            NextPage::First | NextPage::None => None,
        }
    }

    /// Turns an SDK error of one page into the error of the listing.
    pub(super) fn error<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        Error::new(self.operation, self.resource.as_str(), error)
    }

    /// Takes the token that came with a page.
    ///
    /// # Errors
    /// Fails if the listing does not end. What was read of it so far must not be used.
    pub(super) fn advance(&mut self, token: Option<&str>) -> Result<(), Error> {
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            self.next = NextPage::None;
            return Ok(());
        };
        let endless = |problem| Error::incomplete(self.operation, self.resource.as_str(), problem);
        if !self.seen.insert(token.to_owned()) {
            return Err(endless("the same NextToken twice: the listing does not end"));
        }
        if self.began.elapsed() >= LISTING_DEADLINE {
            return Err(endless("over two minutes of pages, and the listing does not end"));
        }
        if self.seen.len() >= MAX_PAGES {
            return Err(endless("a thousand pages, and the listing does not end"));
        }
        self.next = NextPage::At(token.to_owned());
        Ok(())
    }
}

/// Returns a filter for exactly these values. Characters that EC2 would read as wildcards are escaped.
pub(super) fn exact<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
    let values = values.into_iter().map(escape).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages::of("DescribeInstances", "key-name `k`")
    }

    #[test]
    fn a_listing_ends_without_a_token_and_fails_on_a_repeated_one() {
        let mut listing = pages();
        assert!(listing.remain());
        assert_eq!(listing.token(), None);
        listing.advance(Some("a")).unwrap();
        assert!(listing.remain());
        assert_eq!(listing.token().as_deref(), Some("a"));
        listing.advance(Some("b")).unwrap();
        let error = listing.advance(Some("a")).unwrap_err();
        assert!(error.to_string().contains("DescribeInstances for key-name `k`"), "{error}");

        for end in [None, Some("")] {
            let mut listing = pages();
            listing.advance(end).unwrap();
            assert!(!listing.remain());
        }
    }

    #[test]
    fn ever_new_tokens_end_too() {
        let mut listing = pages();
        let mut goes_on = |n: usize| listing.advance(Some(&n.to_string())).is_ok();
        assert_eq!((0..2 * MAX_PAGES).take_while(|n| goes_on(*n)).count(), MAX_PAGES - 1);
    }

    #[test]
    fn a_filter_holds_no_wildcards() {
        assert_eq!(exact("group-name", ["a*", "b?", r"c\"]).values(), [r"a\*", r"b\?", r"c\\"]);
    }
}
