//! One complete look at everything under a key-name: every page of every call, or an error.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Filter;
use jiff::Timestamp;

use super::listing::{Listing, ShownInstance, ShownSpotRequest};
use super::pages::{FILTER_VALUES, PAGE, Pages, exact};
use super::{Client, Error, convert};
use crate::domain::ids::{KeyName, SharedTexts, SpotRequestId};
use crate::domain::observed::{Instance, KeyPair, Observation, SpotRequest};

/// So many warnings are kept word for word; the rest is counted.
const MAX_WARNINGS: usize = 20;

/// A look, and what was odd about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// What there is.
    pub observation: Observation,
    /// What could not be read as it should, for people.
    pub warnings: Vec<String>,
    /// How many calls it took (without the SDK's own repetitions).
    pub calls: u32,
}

impl Client {
    /// Looks at everything under `key_name`. Fails as a whole if any page of it does.
    ///
    /// Open and active spot requests are listed; those `tracked`, and those of instances not tagged
    /// yet, are looked up by id where the list does not show them. What has no time of its own passes
    /// for made `now`.
    pub async fn observe(
        &self,
        key_name: &KeyName,
        tracked: &BTreeSet<SpotRequestId>,
        look_at_key_pair: bool,
        now: Timestamp,
    ) -> Result<Look, Error> {
        let mut seen = Seen::new(key_name, now);

        // Requests before instances: one that is fulfilled in between shows as an open request and as
        // its instance, which are joined by id. The other way round it would show as neither.
        let standing =
            vec![exact("launch.key-name", [key_name.as_str()]), exact("state", ["open", "active"])];
        self.list_spot_requests(standing, &mut seen).await?;
        // In any state: a terminated instance must not look like one that is not visible yet.
        self.list_instances(&mut seen).await?;
        seen.put_in_order();
        for ids in seen.requests_to_look_up(tracked).chunks(FILTER_VALUES) {
            let by_id = exact("spot-instance-request-id", ids.iter().map(SpotRequestId::as_str));
            self.list_spot_requests(vec![by_id], &mut seen).await?;
        }
        seen.put_in_order();

        let mut key_pair = KeyPair::Unknown;
        if look_at_key_pair {
            seen.calls += 1;
            key_pair = self.key_pair(key_name).await?;
        }
        Ok(seen.into_look(key_pair))
    }

    async fn list_spot_requests(
        &self,
        filters: Vec<Filter>,
        seen: &mut Seen<'_>,
    ) -> Result<(), Error> {
        const OPERATION: &str = "DescribeSpotInstanceRequests";
        let mut pages = Pages::default();
        loop {
            seen.calls += 1;
            let listing = Listing::<ShownSpotRequest>::new();
            let page = self
                .ec2
                .describe_spot_instance_requests()
                .set_filters(Some(filters.clone()))
                .max_results(PAGE)
                .set_next_token(pages.token())
                .customize()
                .interceptor(listing.interceptor())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, seen.resource(), error))?;
            for request in listing.take() {
                let launches_with = request.key_name.as_deref();
                let converted = convert::spot_request(&request, seen.now, &mut seen.warnings);
                let Some(mut request) = converted else { continue };
                if seen.is_under_key_name("spot request", request.id.as_str(), launches_with) {
                    seen.texts.share(&mut request.status_message);
                    request.tags.share(&mut seen.texts);
                    seen.spot_requests.push(request);
                }
            }
            let more = pages.advance(page.next_token());
            if !more.map_err(|what| Error::incomplete(OPERATION, seen.resource(), what))? {
                return Ok(());
            }
        }
    }

    async fn list_instances(&self, seen: &mut Seen<'_>) -> Result<(), Error> {
        const OPERATION: &str = "DescribeInstances";
        let mut pages = Pages::default();
        loop {
            seen.calls += 1;
            let listing = Listing::<ShownInstance>::new();
            let page = self
                .ec2
                .describe_instances()
                .filters(exact("key-name", [seen.key_name.as_str()]))
                .max_results(PAGE)
                .set_next_token(pages.token())
                .customize()
                .interceptor(listing.interceptor())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, seen.resource(), error))?;
            for instance in listing.take() {
                let launched_with = instance.key_name.as_deref();
                let converted = convert::instance(&instance, seen.now, &mut seen.warnings);
                let Some(mut instance) = converted else { continue };
                if seen.is_under_key_name("instance", instance.id.as_str(), launched_with) {
                    instance.tags.share(&mut seen.texts);
                    seen.instances.push(instance);
                }
            }
            let more = pages.advance(page.next_token());
            if !more.map_err(|what| Error::incomplete(OPERATION, seen.resource(), what))? {
                return Ok(());
            }
        }
    }
}

/// What was seen so far. Not in maps: these are the largest things a round holds, and all the
/// adapter asks of them is each once and in order.
#[derive(Debug)]
struct Seen<'a> {
    key_name: &'a KeyName,
    now: Timestamp,
    instances: Vec<Instance>,
    spot_requests: Vec<SpotRequest>,
    texts: SharedTexts,
    warnings: Vec<String>,
    calls: u32,
}

impl<'a> Seen<'a> {
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

    fn resource(&self) -> String {
        format!("key-name `{}`", self.key_name)
    }

    /// Whether something belongs to the key-name. The filter says so, but what is listed here may be
    /// ended, so an endpoint that ignores a filter must not make it other people's.
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

    /// Requests whose fate is wanted and not seen: the tracked ones, and those of live instances that
    /// do not say themselves which worker type they are.
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
        each_once(&mut self.instances, |instance| &instance.id);
        each_once(&mut self.spot_requests, |request| &request.id);
    }

    fn into_look(self, key_pair: KeyPair) -> Look {
        let mut warnings = self.warnings;
        let further = warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        if further > 0 {
            warnings.push(format!("{further} more of this kind"));
        }
        Look {
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

/// Puts things in order of their ids, each once: pages shift while they are read, and the later one is
/// the newer.
fn each_once<T, I: Ord>(things: &mut Vec<T>, id: impl Fn(&T) -> &I) {
    // Not a stable sort of the things themselves: that takes their whole memory once more.
    let mut order: Vec<usize> = (0..things.len()).collect();
    order.sort_unstable_by(|&a, &b| id(&things[a]).cmp(id(&things[b])).then(b.cmp(&a)));
    for place in 0..things.len() {
        let mut from = order[place];
        // What was there has moved to where this place's thing was taken from.
        while from < place {
            from = order[from];
        }
        things.swap(place, from);
    }
    things.dedup_by(|older, newer| id(older) == id(newer));
}
