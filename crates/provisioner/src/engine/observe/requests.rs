//! The fate of every spot request: it waits, it was fulfilled, or it came to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::owners::Owner;
use super::{Reconcile, Reconciled, is_no_fault, profile_of};
use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, WorkerTypeName};
use crate::domain::launch::Pool;
use crate::domain::ledger::Granted;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{SpotRequest, SpotRequestState};
use crate::domain::refusal::{RefusalClass, classify, classify_answer};
use crate::engine::decide::detail::MachineNote;
use crate::engine::decide::plan::Note;
use crate::engine::observe::join::Join;
use crate::engine::state::machine::OpenRequest;
use crate::engine::state::memory::{Fulfilled, MachineMemory, OpenMemory};
use crate::engine::state::places::{self, RefusedLaunch};
use crate::engine::state::token;

/// A request that ends with an instance this soon after it was granted had a machine that never came up.
const DIED_AT_ONCE: Duration = Duration::from_mins(1);

/// A cancelled request that EC2 still shows open is cancelled again after this long.
const CANCEL_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// What an observation shows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was fulfilled long ago, and its instance is visible: nothing is left to do.
    LongFulfilled,
    /// It shows open although its instance is visible: it counts as that instance.
    OpenButArrived,
    /// It waits for capacity.
    Waiting,
    /// It made an instance, or is about to name it.
    Fulfilled,
    /// It ended without an instance.
    EndedEmpty,
}

impl Fate {
    /// `visible`: its instance is in the same observation. `tracked`: it is known from before, and its
    /// instance was not seen yet.
    fn of(request: &SpotRequest, visible: bool, tracked: bool) -> Self {
        match request.state {
            SpotRequestState::Active if visible && !tracked => Self::LongFulfilled,
            SpotRequestState::Open | SpotRequestState::Unrecognised(_) if visible => {
                Self::OpenButArrived
            }
            SpotRequestState::Open | SpotRequestState::Unrecognised(_) => Self::Waiting,
            SpotRequestState::Active | SpotRequestState::Disabled => Self::Fulfilled,
            SpotRequestState::Closed | SpotRequestState::Cancelled | SpotRequestState::Failed
                if request.instance.is_some() =>
            {
                Self::Fulfilled
            }
            SpotRequestState::Closed | SpotRequestState::Cancelled | SpotRequestState::Failed => {
                Self::EndedEmpty
            }
        }
    }
}

/// A request, and what is known of it besides.
struct KnownRequest<'o> {
    request: &'o SpotRequest,
    /// What it is tagged with, or was asked for.
    tagged: Option<WorkerTypeName>,
    /// The worker type, configured or not, that it belongs to.
    worker_type: Option<WorkerTypeName>,
    pool: Pool,
    max_price: Option<UsdPerHour>,
    /// When the ledger had it granted, if its instance was not seen yet.
    granted_at: Option<Timestamp>,
    /// Since when it was known that it cannot be filled where it is.
    unfillable_before: Option<Timestamp>,
    tracked: bool,
}

/// Launches that came to nothing in this observation, and requests fulfilled before it.
struct Progress<'o> {
    fulfilled_before: BTreeMap<SpotRequestId, Fulfilled>,
    failed: Vec<KnownRequest<'o>>,
    /// Instances that ended before an observation showed them alive.
    never_lived: Vec<(InstanceId, MachineMemory)>,
}

impl Reconcile<'_> {
    /// Follows every request to its fate.
    pub(super) fn reconcile_requests(&mut self, join: &Join<'_>, reconciled: &mut Reconciled) {
        let mut open_before = std::mem::take(&mut self.memory.open);
        let fulfilled_before = std::mem::take(&mut self.memory.fulfilled);
        let mut progress =
            Progress { fulfilled_before, failed: Vec::new(), never_lived: Vec::new() };
        for &(request, instance) in &join.requests {
            let visible = instance.is_some();
            let before = open_before.remove(&request.id);
            let tracked = before.is_some() || self.granted_unseen(request).is_some();
            let fate = Fate::of(request, visible, tracked);
            if fate == Fate::LongFulfilled {
                continue;
            }
            if fate != Fate::Waiting {
                self.memory.cancelling.remove(&request.id);
            }
            let known = self.known(request, before.as_ref());
            match fate {
                Fate::LongFulfilled | Fate::OpenButArrived => {}
                Fate::Waiting => self.still_waiting(known, reconciled),
                Fate::Fulfilled => self.fulfilled(known, visible, join, &mut progress),
                Fate::EndedEmpty => ended_empty(known, &mut progress),
            }
        }
        // After the successes; one failure per call, however many instances it asked for.
        let mut calls: BTreeSet<(Option<WorkerTypeName>, Option<&ClientToken>)> = BTreeSet::new();
        for known in progress.failed {
            if calls.insert((known.worker_type.clone(), known.request.tags.intent.as_ref())) {
                self.launch_ended(&known, reconciled);
            }
        }
        for (id, machine) in progress.never_lived {
            if let Some((name, text)) = self.machine_is_gone(id, machine, join) {
                let note = MachineNote::InstanceFailed { why: &text };
                reconciled.notes.push(Note::about(&name, &note));
            }
        }
        self.keep_fulfilled(join, progress.fulfilled_before);
        // What became of a cancelled request is followed in the ledger.
        let open = &self.memory.open;
        self.memory.cancelling.retain(|id, _| open.contains_key(id));
    }

    /// What the ledger has of a request whose instance was not seen yet.
    fn granted_unseen(&self, request: &SpotRequest) -> Option<&Granted> {
        self.ledger.granted.get(&request.id).filter(|granted| granted.arrived.is_none())
    }

    fn known<'o>(&self, request: &'o SpotRequest, before: Option<&OpenMemory>) -> KnownRequest<'o> {
        let granted = self.granted_unseen(request);
        let tagged = request
            .tags
            .worker_type
            .clone()
            .or_else(|| granted.map(|granted| granted.worker_type.clone()))
            .or_else(|| before.and_then(|before| before.worker_type.clone()));
        let worker_type = match self.owner(request.tags.key_name.as_ref(), tagged.as_ref()) {
            Owner::Type(name) | Owner::Retired(name) => Some(name.clone()),
            Owner::Stray | Owner::Disputed => None,
        };
        // EC2 does not tell the zone of a request that names a subnet: ours remember it.
        let pool = granted
            .map(|granted| granted.pool.clone())
            .or_else(|| before.map(|before| before.pool.clone()))
            .unwrap_or_else(|| Pool {
                instance_type: request.instance_type.clone(),
                zone: request.zone.clone(),
            });
        KnownRequest {
            request,
            max_price: request.max_price.or_else(|| self.price_of(worker_type.as_ref())),
            tagged,
            worker_type,
            pool,
            granted_at: granted.map(|granted| granted.at),
            unfillable_before: before.and_then(|before| before.unfillable_since),
            tracked: granted.is_some() || before.is_some(),
        }
    }

    fn still_waiting(&mut self, known: KnownRequest<'_>, reconciled: &mut Reconciled) {
        let KnownRequest { request, tagged, worker_type, pool, max_price, granted_at, .. } = known;
        let unfillable_before = known.unfillable_before;
        if let SpotRequestState::Unrecognised(state) = &request.state {
            reconciled.index.odd.push(format!("{} is `{state}`", request.id));
        }
        let asked = self.by_our_clock(asked_at(request));
        if granted_at.is_none()
            && let Some(name) = &worker_type
        {
            // Not asked for by a process of this ledger, but ours: followed like the others.
            let adopted = Granted {
                worker_type: name.clone(),
                token: request.tags.intent.clone().unwrap_or_else(|| "".into()),
                pool: pool.clone(),
                at: asked,
                last_seen: Some(self.now),
                missed: 0,
                arrived: None,
                max_price,
            };
            self.ledger.granted.insert(request.id.clone(), adopted);
            reconciled.ledger_changed = true;
        }
        let lacks_capacity =
            classify(request.status_code.as_str()) == Some(RefusalClass::NoCapacity);
        let unfillable_since = lacks_capacity.then(|| {
            let before = unfillable_before.map(|before| before.min(self.now));
            before.unwrap_or(self.now)
        });
        let open = OpenMemory { worker_type, pool: pool.clone(), max_price, unfillable_since };
        self.memory.open.insert(request.id.clone(), open);
        let cancelling = self.memory.cancelling.get(&request.id);
        let open = OpenRequest {
            id: request.id.clone(),
            asked,
            status_code: request.status_code.clone(),
            unfillable_since,
            pool,
            price: max_price,
            cancelled: cancelling.is_some_and(|cancelling| {
                self.now < clock::after(cancelling.at, CANCEL_AGAIN_AFTER)
            }),
            touchable: request.state == SpotRequestState::Open,
        };
        let index = &mut reconciled.index;
        match self.owner(request.tags.key_name.as_ref(), tagged.as_ref()) {
            Owner::Type(name) => index.types.entry(name.clone()).or_default().open.push(open),
            Owner::Retired(name) => index.retired.entry(name.clone()).or_default().open.push(open),
            Owner::Stray => index.strays.open.push(open),
            Owner::Disputed => {}
        }
    }

    fn fulfilled<'o>(
        &mut self,
        known: KnownRequest<'o>,
        visible: bool,
        join: &Join<'o>,
        progress: &mut Progress<'o>,
    ) {
        let request = known.request;
        let first_seen = Fulfilled {
            since: self.now,
            worker_type: known.worker_type.clone(),
            max_price: known.max_price,
        };
        let before = progress.fulfilled_before.get(&request.id).cloned();
        let Some(instance) = &request.instance else {
            // Its instance is not named yet: on its way like one that is not visible.
            progress.fulfilled_before.remove(&request.id);
            self.memory.fulfilled.insert(request.id.clone(), before.unwrap_or(first_seen));
            return;
        };
        let is_new = known.tracked && before.is_none();
        if is_new {
            self.pool_had_capacity(&known);
        }
        // The instance may run: counted once it is visible, and until then as one on its way, for as long
        // as describe calls may lag.
        let is_coming = !visible
            && request.may_run()
            && (known.tracked || request.state == SpotRequestState::Active);
        if is_coming {
            progress.fulfilled_before.remove(&request.id);
            self.memory.fulfilled.insert(request.id.clone(), before.unwrap_or(first_seen));
        }
        if is_new && let Some(machine) = self.never_seen_alive(&known, instance, join) {
            progress.never_lived.push((instance.clone(), machine));
            return;
        }
        let died_at_once = request.state == SpotRequestState::Closed
            && known.granted_at.is_some_and(|at| clock::age(at, self.now) < DIED_AT_ONCE)
            && !self.memory.ended.contains_key(instance)
            && !is_no_fault(request.status_code.as_str());
        if died_at_once && known.worker_type.is_some() {
            progress.failed.push(known);
        }
    }

    /// What would have been remembered of an instance that ended before an observation showed it alive.
    fn never_seen_alive(
        &self,
        known: &KnownRequest<'_>,
        instance: &InstanceId,
        join: &Join<'_>,
    ) -> Option<MachineMemory> {
        let seen = join.instance(instance).filter(|seen| !seen.state.is_live())?;
        let memory = &self.memory;
        if memory.ended.contains_key(instance) || memory.machines.contains_key(instance) {
            return None;
        }
        Some(MachineMemory {
            first_seen: seen.launch_time,
            launched: Some(self.by_our_clock(seen.launch_time)),
            asked: Some(known.request.created),
            claimed: false,
            idle_rounds: 0,
            idle_left: None,
            ran: false,
            worker_type: Some(known.worker_type.clone()?),
            price: known.max_price,
        })
    }

    /// A pool that fills a request has capacity again, and its instance profile is known to EC2.
    fn pool_had_capacity(&mut self, known: &KnownRequest<'_>) {
        let name = known.worker_type.as_ref();
        self.memory.launch_filled(name, &known.pool);
        if let Some(profile) = name.and_then(|name| profile_of(self.settings, name)) {
            self.memory.unknown_profiles.remove(profile);
        }
    }

    /// Keeps fulfilled requests for the visibility window, also when their request has left the pages.
    fn keep_fulfilled(&mut self, join: &Join<'_>, before: BTreeMap<SpotRequestId, Fulfilled>) {
        let unseen = before
            .into_iter()
            .filter(|(id, _)| join.instance_of(id).is_none() && join.request(id).is_none());
        self.memory.fulfilled.extend(unseen);
        let window = self.settings.provisioner.visibility_window;
        let now = self.now;
        // Those still shown keep their first sight, or their time would begin again.
        self.memory.fulfilled.retain(|id, entry| {
            now < clock::after(entry.since, window) || join.request(id).is_some()
        });
    }

    /// Counts a launch that ended without an instance against its pool, its quota or its worker type.
    fn launch_ended(&mut self, known: &KnownRequest<'_>, reconciled: &mut Reconciled) {
        let KnownRequest { request, pool, worker_type: Some(name), .. } = known else { return };
        let code = request.status_code.as_str();
        let text = match request.status_message.as_str() {
            "" => code.to_owned(),
            message => format!("{code}: {message}"),
        };
        let class = classify_answer(code, request.status_message.as_str());
        match class {
            // The part of EC2 that took the request may know the profile before the part that launches.
            Some(RefusalClass::UnknownProfile) => {
                let profile = profile_of(self.settings, name);
                self.memory.profile_unknown(profile, name, &text, self.now);
            }
            // Ended by somebody's cancel: nothing went wrong.
            _ if code.starts_with("canceled") || code.starts_with("cancelled") => {}
            _ => {
                let class = match class {
                    Some(RefusalClass::Throttled | RefusalClass::Transient) => {
                        RefusalClass::NoCapacity
                    }
                    Some(class) => class,
                    None => RefusalClass::Invalid,
                };
                let places = places::of(name, self.settings, self.resolved);
                let refused = RefusedLaunch {
                    worker_type: name,
                    pool,
                    subnet: None,
                    class,
                    code,
                    text: text.clone(),
                    places: &places,
                    waited: true,
                    asked: known.granted_at.unwrap_or(self.now),
                };
                let is_failure = self.memory.launch_refused(&refused, self.now);
                if is_failure || class == RefusalClass::UnsuitablePlace {
                    let note = MachineNote::RequestFailed { request: &request.id, why: &text };
                    reconciled.notes.push(Note::about(name, &note));
                }
            }
        }
    }
}

/// A cancelled request failed only if it was cancelled for its age (`ValidUntil`).
fn ended_empty<'o>(known: KnownRequest<'o>, progress: &mut Progress<'o>) {
    let request = known.request;
    let expired = request.status_code.as_str() == "schedule-expired";
    let failed = request.state != SpotRequestState::Cancelled || expired;
    if known.tracked && failed && known.worker_type.is_some() {
        progress.failed.push(known);
    }
}

/// When `request` was asked for: EC2's own time, unless that lies more than a day before the time our
/// token was made at. Then it is not believed, since some stand-ins for EC2 answer with 2015.
pub(super) fn asked_at(request: &SpotRequest) -> Timestamp {
    let ours = request.tags.intent.as_ref().and_then(token::made_at);
    match ours {
        Some(ours) if clock::age(request.created, ours) > Duration::from_hours(24) => ours,
        _ => request.created,
    }
}
