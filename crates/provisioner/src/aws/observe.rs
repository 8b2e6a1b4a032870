//! One complete observation of everything under a key-name: every page of every call, or an error.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Filter;
use jiff::Timestamp;
use tokio::time::timeout;

use super::describe::{instance_pages, launches_with, spot_request_pages};
use super::pages::{FILTER_VALUES, LISTING_DEADLINE, exact};
use super::{Client, Error, convert};
use crate::domain::ids::{KeyName, SharedTexts, SpotRequestId};
use crate::domain::observed::{Instance, KeyPair, Observation, SpotRequest};

/// Our own bound: so many warnings are kept word for word, and the rest is counted.
const MAX_WARNINGS: usize = 20;

/// An observation, and what was odd about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The spot requests, instances and key pair.
    pub observation: Observation,
    /// What could not be read as it should, for people.
    pub warnings: Vec<String>,
    /// The number of calls it took, without the SDK's own repetitions.
    pub calls: u32,
}

impl Client {
    /// Observes everything under `key_name`. Fails if any page of any call fails, or if the last one has not
    /// come after two minutes: a loop that waits for endless pages would decide nothing, and say nothing.
    ///
    /// Open and active spot requests are listed. Those in `tracked`, and those of instances that have
    /// no tags yet, are looked up by id if the listing does not show them. An item without a time
    /// counts as made `now`.
    pub async fn observe(
        &self,
        key_name: &KeyName,
        tracked: &BTreeSet<SpotRequestId>,
        with_key_pair: bool,
        now: Timestamp,
    ) -> Result<Observed, Error> {
        let observing = self.observe_all(key_name, tracked, with_key_pair, now);
        timeout(LISTING_DEADLINE, observing).await.unwrap_or_else(|_| {
            let problem = "the observation was not complete after two minutes";
            Err(Error::incomplete("DescribeInstances", key_name.as_str(), problem))
        })
    }

    async fn observe_all(
        &self,
        key_name: &KeyName,
        tracked: &BTreeSet<SpotRequestId>,
        with_key_pair: bool,
        now: Timestamp,
    ) -> Result<Observed, Error> {
        let mut builder = ObservationBuilder::new(key_name, now);

        // Requests before instances: a request that is fulfilled in between shows as an open request
        // and as its instance, and the two are joined by id. The other way round it would show as
        // neither.
        let standing = [launches_with(key_name), exact("state", ["open", "active"])];
        self.observe_spot_requests(&standing, &mut builder).await?;
        // In any state: a terminated instance must not pass for one that is not visible yet.
        self.observe_instances(&mut builder).await?;
        builder.put_in_order();
        for ids in builder.requests_to_look_up(tracked).chunks(FILTER_VALUES) {
            let by_id = exact("spot-instance-request-id", ids.iter().map(SpotRequestId::as_str));
            self.observe_spot_requests(&[by_id], &mut builder).await?;
        }
        builder.put_in_order();

        let mut key_pair = KeyPair::Unknown;
        if with_key_pair {
            builder.calls += 1;
            key_pair = self.key_pair(key_name).await?;
        }
        Ok(builder.finish(key_pair))
    }

    async fn observe_spot_requests(
        &self,
        filters: &[Filter],
        builder: &mut ObservationBuilder<'_>,
    ) -> Result<(), Error> {
        let mut pages = spot_request_pages(builder.key_name);
        while pages.remain() {
            builder.calls += 1;
            for fields in self.next_spot_requests(filters, &mut pages).await? {
                let converted = convert::spot_request(&fields, builder.now, &mut builder.warnings);
                let Some(mut request) = converted else { continue };
                let key_name = fields.key_name.as_deref();
                if builder.is_under_key_name("spot request", request.id.as_str(), key_name) {
                    builder.texts.share(&mut request.status_message);
                    request.tags.share(&mut builder.texts);
                    builder.spot_requests.push(request);
                }
            }
        }
        Ok(())
    }

    async fn observe_instances(&self, builder: &mut ObservationBuilder<'_>) -> Result<(), Error> {
        let mut pages = instance_pages(builder.key_name);
        while pages.remain() {
            builder.calls += 1;
            for fields in self.next_instances(builder.key_name, &mut pages).await? {
                let converted = convert::instance(&fields, builder.now, &mut builder.warnings);
                let Some(mut instance) = converted else { continue };
                let key_name = fields.key_name.as_deref();
                if builder.is_under_key_name("instance", instance.id.as_str(), key_name) {
                    instance.tags.share(&mut builder.texts);
                    builder.instances.push(instance);
                }
            }
        }
        Ok(())
    }
}

/// What was observed so far. Vectors rather than maps: these are the largest things that a round holds,
/// and the adapter only needs each item once and in order.
#[derive(Debug)]
struct ObservationBuilder<'a> {
    key_name: &'a KeyName,
    now: Timestamp,
    instances: Vec<Instance>,
    spot_requests: Vec<SpotRequest>,
    texts: SharedTexts,
    warnings: Vec<String>,
    calls: u32,
}

impl<'a> ObservationBuilder<'a> {
    fn new(key_name: &'a KeyName, now: Timestamp) -> Self {
        Self {
            key_name,
            now,
            instances: Vec::new(),
            spot_requests: Vec::new(),
            texts: SharedTexts::default(),
            warnings: Vec::new(),
            calls: 0,
        }
    }

    /// Returns whether an item belongs to the key-name. The filter says so, but what is listed here may
    /// be terminated: an endpoint that ignores a filter must not make other people's machines ours.
    fn is_under_key_name(&mut self, what: &str, id: &str, key_name: Option<&str>) -> bool {
        match key_name {
            Some(other) if other != self.key_name.as_str() => {
                self.warnings.push(format!(
                    "{what} {id} was listed under key-name `{}` but has `{other}`; it is left out",
                    self.key_name
                ));
                false
            }
            _ => true,
        }
    }

    /// Returns the requests whose state is needed and not yet known: the tracked ones, and those of
    /// live instances whose own tags do not name a worker type.
    fn requests_to_look_up(&self, tracked: &BTreeSet<SpotRequestId>) -> Vec<SpotRequestId> {
        let untagged = self
            .instances
            .iter()
            .filter(|instance| instance.state.is_live() && instance.tags.worker_type.is_none())
            .filter_map(|instance| instance.spot_request.as_ref());
        let wanted: BTreeSet<&SpotRequestId> = tracked.iter().chain(untagged).collect();
        let is_seen = |id: &SpotRequestId| {
            self.spot_requests.binary_search_by(|request| request.id.cmp(id)).is_ok()
        };
        wanted.into_iter().filter(|id| !is_seen(id)).cloned().collect()
    }

    fn put_in_order(&mut self) {
        sort_and_dedup(&mut self.instances, |instance| &instance.id);
        sort_and_dedup(&mut self.spot_requests, |request| &request.id);
    }

    fn finish(self, key_pair: KeyPair) -> Observed {
        let mut warnings = self.warnings;
        let further = warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        if further > 0 {
            warnings.push(format!("{further} more of this kind"));
        }
        Observed {
            observation: Observation {
                instances: self.instances,
                spot_requests: self.spot_requests,
                key_pair,
            },
            warnings,
            calls: self.calls,
        }
    }
}

/// Sorts items by id and keeps each id once. Pages shift while they are read, so an item may come twice;
/// the later one is the newer.
fn sort_and_dedup<T, I: Ord>(items: &mut Vec<T>, id: impl Fn(&T) -> &I) {
    // A stable sort of the items themselves would need as much memory again, so their positions are
    // sorted, and the items are swapped into place.
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_unstable_by(|&a, &b| id(&items[a]).cmp(id(&items[b])).then(b.cmp(&a)));
    for position in 0..items.len() {
        let mut from = order[position];
        // An item that stood at an earlier position has moved to where that position's item came from.
        while from < position {
            from = order[from];
        }
        items.swap(position, from);
    }
    items.dedup_by(|older, newer| id(older) == id(newer));
}
