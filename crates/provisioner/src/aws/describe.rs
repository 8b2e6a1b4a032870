//! The two long listings, of spot requests and of instances, one page at a time.
//!
//! Both users read them here: `observe` for a round, and `inventory` for `setup-aws` and `cleanup-aws`.

use aws_sdk_ec2::types::Filter;

use super::listing::{InstanceFields, Listing, SpotRequestFields};
use super::pages::{PAGE_ITEMS, Pages, exact};
use super::{Client, Error};
use crate::domain::ids::KeyName;

/// Returns how errors name everything under a key-name.
pub(super) fn under_key_name(name: &KeyName) -> String {
    format!("key-name `{name}`")
}

/// Begins to list spot requests.
pub(super) fn spot_request_pages(name: &KeyName) -> Pages {
    Pages::of("DescribeSpotInstanceRequests", under_key_name(name))
}

/// Begins to list instances.
pub(super) fn instance_pages(name: &KeyName) -> Pages {
    Pages::of("DescribeInstances", under_key_name(name))
}

/// Returns the filter for spot requests that launch with the key pair `name`.
pub(super) fn launches_with(name: &KeyName) -> Filter {
    exact("launch.key-name", [name.as_str()])
}

impl Client {
    /// Reads the next page of the spot requests that match all `filters`.
    pub(super) async fn next_spot_requests(
        &self,
        filters: &[Filter],
        pages: &mut Pages,
    ) -> Result<Vec<SpotRequestFields>, Error> {
        let listing = Listing::<SpotRequestFields>::new();
        let page = self
            .ec2
            .describe_spot_instance_requests()
            .set_filters(Some(filters.to_vec()))
            .max_results(PAGE_ITEMS)
            .set_next_token(pages.token())
            .customize()
            .interceptor(listing.interceptor())
            .send()
            .await
            .map_err(|error| pages.error(error))?;
        pages.advance(page.next_token())?;
        Ok(listing.take())
    }

    /// Reads the next page of the instances that were launched with the key pair `name`, in any state.
    pub(super) async fn next_instances(
        &self,
        name: &KeyName,
        pages: &mut Pages,
    ) -> Result<Vec<InstanceFields>, Error> {
        let listing = Listing::<InstanceFields>::new();
        let page = self
            .ec2
            .describe_instances()
            .filters(exact("key-name", [name.as_str()]))
            .max_results(PAGE_ITEMS)
            .set_next_token(pages.token())
            .customize()
            .interceptor(listing.interceptor())
            .send()
            .await
            .map_err(|error| pages.error(error))?;
        pages.advance(page.next_token())?;
        Ok(listing.take())
    }
}
