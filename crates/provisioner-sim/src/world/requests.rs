//! Spot requests: open, waiting with a status, fulfilled, expired, failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{KeyName, SpotRequestId};
use provisioner::internal::domain::launch::{LaunchCall, Pool};
use provisioner::internal::domain::observed::{OwnTags, SpotRequest, SpotRequestState};

use super::World;
use super::events::Event;
use super::instances::Launch;
use super::lifecycle::{is_possible, message};
use crate::lagged::Lagged;

const PREFIX: &str = "sir-sim";

/// The interval at which EC2 evaluates a waiting request again.
const EVALUATED_EVERY: Duration = Duration::from_secs(15);

/// A spot request.
#[derive(Clone, Debug)]
pub struct Request {
    /// EC2's record of it.
    pub record: Lagged<SpotRequest>,
    /// The key pair of its instance.
    pub key: KeyName,
    /// The call that made it.
    pub call: Arc<LaunchCall>,
    /// The pool that it is evaluated in: EC2 chooses one where neither a zone nor a subnet is named.
    pub pool: Pool,
    /// Until when there is no capacity for it, whatever its pool holds.
    blocked_until: Option<Timestamp>,
}

impl Request {
    /// Returns its true state.
    pub fn truth(&self) -> &SpotRequest {
        self.record.truth()
    }
}

/// All spot requests there ever were.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    all: Vec<Request>,
    /// The requests that describe calls may show as open or active.
    pub(super) current: BTreeSet<usize>,
}

impl Requests {
    /// Counts all requests there ever were.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether there never was a request.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn number(&self, id: &SpotRequestId) -> Option<usize> {
        let no = usize::from_str_radix(id.as_str().strip_prefix(PREFIX)?, 16).ok()?;
        (no < self.all.len()).then_some(no)
    }

    /// Returns a request by its id.
    pub fn get(&self, id: &SpotRequestId) -> Option<&Request> {
        self.number(id).map(|no| &self.all[no])
    }

    /// Returns a request and its number by its id.
    pub(crate) fn numbered(&self, id: &SpotRequestId) -> Option<(usize, &Request)> {
        self.number(id).map(|no| (no, &self.all[no]))
    }

    /// Returns the requests that describe calls may show as open or active, with their numbers.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (usize, &Request)> {
        self.current.iter().map(|no| (*no, &self.all[*no]))
    }

    pub(super) fn at(&self, no: usize) -> &Request {
        &self.all[no]
    }

    /// Returns all requests in the order of their creation.
    pub fn iter(&self) -> impl Iterator<Item = &Request> {
        self.all.iter()
    }
}

impl World {
    pub(super) fn make_request(&mut self, call: &Arc<LaunchCall>) -> usize {
        let no = self.requests.all.len();
        let request = SpotRequest {
            id: SpotRequestId::new(format!("{PREFIX}{no:08x}")),
            state: SpotRequestState::Open,
            status_code: "pending-evaluation".into(),
            status_message: message("pending-evaluation").into(),
            status_time: Some(self.now),
            created: self.now,
            instance: None,
            instance_type: call.instance_type.clone(),
            zone: call.zone.clone(),
            max_price: call.max_price,
            tags: OwnTags::of(&call.tags),
        };
        let visible = self.visible();
        let record = Lagged::new(request, visible);
        let key = call.key_name.clone();
        let mut pool = call.pool();
        if pool.zone.is_none() && !self.zones.is_empty() {
            pool.zone = self.fate.pick(&self.zones).cloned();
        }
        let is_offered = !self.pools.not_offered.contains(&pool.to_string());
        let blocked = self.fate.percent(self.faults.no_capacity);
        let blocked_until = blocked.then(|| {
            let minutes = self.fate.between(Duration::from_mins(1), Duration::from_mins(12));
            clock::after(self.now, minutes)
        });
        let call_of_request = Arc::clone(call);
        let request = Request { record, key, call: call_of_request, pool, blocked_until };
        self.requests.all.push(request);
        self.requests.current.insert(no);
        self.schedule(clock::age(self.now, call.valid_until), Event::Expire(no));
        if self.bad.contains(&call.worker_type) {
            self.schedule(Duration::from_secs(5), Event::Fail(no));
        } else if !is_offered {
            let seconds = 2 + self.fate.below(9);
            self.schedule(Duration::from_secs(seconds), Event::NotOffered(no));
        } else if !self.fate.percent(self.faults.never_filled) {
            let most = self.faults.fill.as_secs();
            let at_once = most == 0 || self.fate.percent(30);
            let wait = if at_once { 0 } else { self.fate.below(most + 1) };
            self.schedule(Duration::from_secs(wait), Event::Fill(no));
        }
        no
    }

    pub(super) fn change_request(&mut self, no: usize, change: impl FnOnce(&mut SpotRequest)) {
        let (visible, now, oldest) = (self.visible(), self.now, self.oldest_shown());
        let record = &mut self.requests.all[no].record;
        record.settle(oldest);
        record.change(visible, |request| {
            let before = (request.status_code.clone(), request.status_message.clone());
            change(request);
            if request.status_code != before.0 && request.status_message == before.1 {
                request.status_message = message(request.status_code.as_str()).into();
            }
            request.status_time = Some(now);
        });
        let SpotRequest { id, state, status_code, .. } = self.requests.all[no].truth();
        if !is_possible(status_code.as_str(), state) {
            let what = format!("the world is wrong: {id} is {state:?} with `{status_code}`");
            self.violations.push(what);
        }
    }

    fn end_request(&mut self, no: usize, state: SpotRequestState, code: &str, message: &str) {
        if self.requests.at(no).truth().state == SpotRequestState::Open {
            self.change_request(no, |request| {
                request.state = state;
                request.status_code = code.into();
                request.status_message = message.into();
            });
        }
    }

    pub(super) fn fail_request(&mut self, no: usize) {
        let message = self.bad_because.clone();
        self.end_request(no, SpotRequestState::Failed, "bad-parameters", &message);
    }

    /// A request for an instance type in a zone that does not offer it (EC2's answer as public issue threads show
    /// it: scylladb/scylla-cluster-tests#6495).
    pub(super) fn fails_where_not_offered(&mut self, no: usize) {
        let message = "Your Spot request failed due to bad parameters: invalid availability zone.";
        self.end_request(no, SpotRequestState::Failed, "bad-parameters", message);
    }

    pub(super) fn expire(&mut self, no: usize) {
        let message = message("schedule-expired");
        self.end_request(no, SpotRequestState::Cancelled, "schedule-expired", message);
    }

    /// Fulfils a request if it can be fulfilled now.
    pub(super) fn fill(&mut self, no: usize) {
        let request = self.requests.at(no);
        let truth = request.truth();
        if truth.state != SpotRequestState::Open || request.call.valid_until <= self.now {
            return;
        }
        let pool = request.pool.clone();
        let name = pool.to_string();
        let too_dear = self
            .pools
            .price(&name, self.now)
            .is_some_and(|price| truth.max_price.is_some_and(|most| most < price));
        let no_room = !self.pools.has_room(&name, || self.running_in(&pool), self.now)
            || request.blocked_until.is_some_and(|until| self.now < until);
        let no_address = (request.call.subnet.as_ref())
            .is_some_and(|id| self.subnets.get(id).is_some_and(|subnet| subnet.free == 0));
        let held_up = if no_room {
            Some("capacity-not-available")
        } else if no_address {
            Some("constraint-not-fulfillable")
        } else if too_dear {
            Some("price-too-low")
        } else {
            None
        };
        if let Some(code) = held_up {
            // The time of the status may move although the status stays.
            if truth.status_code.as_str() != code || self.network.percent(self.faults.status_moves)
            {
                self.change_request(no, |request| request.status_code = code.into());
            }
            self.schedule(EVALUATED_EVERY, Event::Fill(no));
            return;
        }
        self.pools.take(&name);
        let request = self.requests.at(no);
        let launch = Launch {
            key: request.key.clone(),
            worker_type: request.truth().tags.worker_type.clone(),
            pool,
            request: Some(request.truth().id.clone()),
            tags: OwnTags::default(),
            max_price: request.call.max_price.unwrap_or_default(),
            never_claims: self.fate.percent(self.faults.never_claims),
            call: Some(Arc::clone(&request.call)),
        };
        let zone = launch.pool.zone.clone();
        let machine = self.start_machine(launch);
        let instance = self.machines.at(machine).truth().id.clone();
        self.change_request(no, |request| {
            request.state = SpotRequestState::Active;
            request.status_code = "fulfilled".into();
            request.zone = zone;
            request.instance = Some(instance);
        });
    }

    /// Evaluates an open request now, instead of later.
    pub fn fulfil(&mut self, id: &SpotRequestId) {
        if let Some(no) = self.requests.number(id) {
            self.fill(no);
        }
    }

    /// Closes a request because of a system error.
    pub fn forget_request(&mut self, id: &SpotRequestId) {
        if let Some(no) = self.requests.number(id) {
            self.change_request(no, |request| {
                request.state = SpotRequestState::Closed;
                request.status_code = "system-error".into();
            });
        }
    }

    /// Hides all present requests from describe calls for so long.
    pub fn hide_requests(&mut self, time: Duration) {
        let visible = clock::after(self.now, time);
        for request in &mut self.requests.all {
            request.record.hide_until(visible);
        }
    }

    /// Drops the requests that no describe call shows as open or active any more.
    pub(crate) fn tidy_requests(&mut self) {
        let current: Vec<usize> = self.requests.current.iter().copied().collect();
        for no in current {
            self.tidy_request(no);
        }
    }

    /// Drops a request if no describe call shows it as open or active any more.
    pub(super) fn tidy_request(&mut self, no: usize) {
        let oldest = self.oldest_shown();
        let record = &mut self.requests.all[no].record;
        record.settle(oldest);
        let lives = |state: &SpotRequestState| {
            matches!(state, SpotRequestState::Open | SpotRequestState::Active)
        };
        let stays = lives(&record.truth().state)
            || record.seen(oldest).is_none_or(|request| lives(&request.state));
        if !stays {
            self.requests.current.remove(&no);
        }
    }
}
