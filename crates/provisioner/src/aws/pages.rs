//! Following `NextToken` to the end, and no further.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Filter;

/// The largest page EC2 gives (EC2 API Reference, `MaxResults`).
pub(crate) const PAGE: i32 = 1000;
/// EC2 takes 200 values in one filter ("Filtering resources", EC2 User Guide).
pub(crate) const FILTER_VALUES: usize = 200;
/// A million items: whoever still has a next page then is not EC2.
const MAX_PAGES: usize = 1000;

/// How far a listing has been read.
///
/// The SDK's paginators take a token that comes again for the end, and then what they bring passes
/// for a complete listing.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    seen: BTreeSet<String>,
    next: Option<String>,
}

impl Pages {
    /// What the next call has to send.
    pub(crate) fn token(&self) -> Option<String> {
        self.next.clone()
    }

    /// Takes in the token of a page that was read. Returns whether there is another page.
    pub(crate) fn advance(&mut self, token: Option<&str>) -> Result<bool, &'static str> {
        self.next = token.filter(|token| !token.is_empty()).map(str::to_owned);
        let Some(token) = &self.next else { return Ok(false) };
        if !self.seen.insert(token.clone()) {
            return Err("the same NextToken twice: the listing does not end");
        }
        if self.seen.len() >= MAX_PAGES {
            return Err("a thousand pages, and the listing does not end");
        }
        Ok(true)
    }
}

/// A filter for exactly these values: what EC2 would take for a wildcard is escaped.
pub(crate) fn exact<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
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

    #[test]
    fn a_listing_ends_without_a_token_and_fails_on_one_seen_before() {
        let mut pages = Pages::default();
        assert_eq!(pages.token(), None);
        assert_eq!(pages.advance(Some("a")), Ok(true));
        assert_eq!(pages.token().as_deref(), Some("a"));
        assert_eq!(pages.advance(Some("b")), Ok(true));
        assert!(pages.advance(Some("a")).is_err());

        assert_eq!(Pages::default().advance(None), Ok(false));
        assert_eq!(Pages::default().advance(Some("")), Ok(false));
    }

    #[test]
    fn ever_new_tokens_end_too() {
        let mut pages = Pages::default();
        let mut more = |n: usize| pages.advance(Some(&n.to_string())) == Ok(true);
        assert_eq!((0..2 * MAX_PAGES).take_while(|n| more(*n)).count(), MAX_PAGES - 1);
    }

    #[test]
    fn a_filter_holds_no_wildcards() {
        assert_eq!(exact("group-name", ["a*", "b?", r"c\"]).values(), [r"a\*", r"b\?", r"c\\"]);
    }
}
