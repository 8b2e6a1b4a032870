//! Where workers ask whether to stop.
//!
//! An idle machine costs money, and only its own worker knows that no task is about to start on it. So a
//! machine is never ended for lack of demand on our guess: its worker asks, is told to stop or to stay,
//! and confirms.
//!
//! 1. After each decided round, `decide/offers.rs` says how many idle machines may stop, per worker type.
//! 2. A worker reports that it is idle ([`StopConsent::hear`]) and is given one of these places, as a
//!    promise with an end. Until then its machine is no capacity, and its place is not given twice.
//! 3. The worker reports that it is stopping. The next round ends the machine. If it does not report in
//!    time, the promise lapses and the machine counts as capacity again.
//! 4. If tasks come to need the machine in between, the round takes back the promises that were not
//!    confirmed yet: the worker's next report is answered with "stay".
//!
//! A worker proves itself by the token in its launch's user data, and by asking from an address that EC2
//! names for its machine, since all machines of a launch have the same token. A round that fails, and a plan that
//! breaks a fence, close the offers until the next round is decided.
//!
//! Nothing of this is kept over a restart: after one, every worker is told to stay until the promises of
//! the process before have expired.
//!
//! The state here is plain data. The lock that the workers' listener and the driver share around it
//! belongs to the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use crate::domain::stop_secret::StopSecret;

/// How long a promise holds. A worker has only to stop claiming and to say so, which takes seconds; the
/// rest is room for some repeats over a bad network.
pub const LEASE: Duration = Duration::from_mins(1);

/// A worker that reported idle is believed for this long: three reports at the pace of one in 30 s.
const IDLE_FOR: Duration = Duration::from_secs(90);

/// The offers of a round expire after this long, when no other round followed.
const OFFER_FOR: Duration = Duration::from_mins(2);

/// Workers of a type are known to ask if one of them asked within this time: a busy worker may not ask
/// for hours.
const ASKS_FOR: Duration = Duration::from_hours(24);

/// What a worker reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// It runs no task, and would stop.
    Idle,
    /// It runs a task, or is about to.
    Busy,
    /// It takes no more tasks: the machine may be ended.
    Stopping,
}

/// The answer to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAnswer {
    /// It is to go on.
    Stay,
    /// It is to stop, if it confirms within this time; or, if it did, to wait for its end.
    Stop(Duration),
}

/// Why a worker is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopAskError {
    /// No machine of ours is known by this id yet.
    #[error("no such instance")]
    NoSuchInstance,
    /// The token is not that of the machine's launch.
    #[error("wrong token")]
    WrongToken,
    /// The token is that of the machine's launch, but EC2 names another address for the machine: each machine
    /// of a launch has the same token.
    #[error("the address is none of this machine's")]
    WrongAddress,
}

/// What was heard and answered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopConsentCounts {
    /// Idle workers that were told to stop.
    pub promised: u64,
    /// Idle workers that were told to stay.
    pub stayed: u64,
    /// Workers that reported busy.
    pub busy: u64,
    /// Workers that confirmed in time that they are stopping.
    pub agreed: u64,
    /// Workers that confirmed too late, or after the promise was taken back: they were told to stay.
    pub too_late: u64,
    /// Promises that were not confirmed in time.
    pub lapsed: u64,
    /// Promises taken back: tasks came, or the demand was not known any more.
    pub withdrawn: u64,
    /// Reports with a wrong token.
    pub wrong_token: u64,
    /// Reports with the right token from an address that is not the machine's.
    pub wrong_address: u64,
    /// Reports from instances that are not known.
    pub no_such_instance: u64,
}

/// Which workers may stop, and what they were promised.
///
/// The default hears nobody; [`Engine::listen`](super::Engine::listen) makes one that does.
#[derive(Debug, Default)]
pub struct StopConsent {
    secret: Option<StopSecret>,
    /// The process before this one may have made promises that hold until then.
    closed_until: Option<Timestamp>,
    workers: BTreeMap<InstanceId, Worker>,
    offers: BTreeMap<WorkerTypeName, Offer>,
    /// When the offers expire.
    open_until: Option<Timestamp>,
    reported: BTreeMap<InstanceId, Reported>,
    last_asked: BTreeMap<WorkerTypeName, Timestamp>,
    counts: StopConsentCounts,
}

/// A machine whose worker may ask.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    /// Its worker type.
    pub(super) of: WorkerTypeName,
    /// The client token of the call that launched it.
    pub(super) launch: ClientToken,
    /// The addresses that EC2 names for the machine.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) removability: Removability,
}

/// Whether a machine may go, as the last round found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removability {
    /// It is busy, or its work is not known.
    Stays,
    /// It is idle: it may go if its worker type has a place left.
    IfOffered,
    /// Nobody needs it: it is too old, or its worker type is no longer configured.
    Goes,
}

/// How many idle machines of a worker type may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) places: u64,
    /// For how long they must have been idle by their own reports.
    pub(super) idle_for: Duration,
}

/// A worker's last report, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Reported {
    idle_since: Option<Timestamp>,
    last: Timestamp,
    consent: Consent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    Works,
    Promised { until: Timestamp },
    Agreed,
}

/// What a machine's worker reported, as far as it matters to counting the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has not reported yet.
    Nothing,
    /// It reported idle lately.
    Idle,
    /// It has asked before and does not now: it works.
    Quiet,
    /// It was told to stop.
    Promised,
    /// It is stopping.
    Agreed,
}

impl Heard {
    /// Whether the machine is no capacity.
    pub(super) fn is_leaving(self) -> bool {
        matches!(self, Self::Promised | Self::Agreed)
    }
}

impl StopConsent {
    /// Hears workers that prove themselves by tokens made with `secret`. Until `closed_until` every
    /// worker is told to stay.
    pub(super) fn new(secret: StopSecret, closed_until: Option<Timestamp>) -> Self {
        Self { secret: Some(secret), closed_until, ..Self::default() }
    }

    /// Whether workers are heard at all.
    pub(super) fn listens(&self) -> bool {
        self.secret.is_some()
    }

    /// What was heard and answered since the start.
    pub fn counts(&self) -> StopConsentCounts {
        self.counts
    }

    /// Hears a worker that shows the token from its user data, and asks `from` an address that EC2 names for
    /// its machine.
    ///
    /// # Errors
    /// The instance is not known, was not launched with that token, or has another address; nothing is changed
    /// then.
    pub fn hear(
        &mut self,
        instance: &InstanceId,
        token: &str,
        from: IpAddr,
        report: WorkerReport,
        now: Timestamp,
    ) -> Result<StopAnswer, StopAskError> {
        let (Some(worker), Some(secret)) = (self.workers.get(instance), &self.secret) else {
            self.counts.no_such_instance += 1;
            return Err(StopAskError::NoSuchInstance);
        };
        if !secret.opens(&worker.launch, token) {
            self.counts.wrong_token += 1;
            return Err(StopAskError::WrongToken);
        }
        if !worker.addresses.contains(&from.to_canonical()) {
            self.counts.wrong_address += 1;
            return Err(StopAskError::WrongAddress);
        }
        let first = Reported { idle_since: None, last: now, consent: Consent::Works };
        let reported = self.reported.entry(instance.clone()).or_insert(first);
        let was_idle = reported.is_idle(now);
        reported.last = now;
        let holds = matches!(reported.consent, Consent::Promised { until } if now < until);
        let counts = &mut self.counts;
        Ok(match report {
            WorkerReport::Busy => {
                counts.busy += 1;
                reported.idle_since = None;
                reported.consent = Consent::Works;
                StopAnswer::Stay
            }
            WorkerReport::Stopping if holds || reported.consent == Consent::Agreed => {
                counts.agreed += u64::from(reported.consent != Consent::Agreed);
                reported.consent = Consent::Agreed;
                StopAnswer::Stop(LEASE)
            }
            WorkerReport::Stopping => {
                counts.too_late += 1;
                reported.consent = Consent::Works;
                StopAnswer::Stay
            }
            WorkerReport::Idle => {
                let since = reported.idle_since.filter(|_| was_idle).unwrap_or(now);
                reported.idle_since = Some(since);
                self.last_asked.insert(worker.of.clone(), now);
                match reported.consent {
                    Consent::Agreed => return Ok(StopAnswer::Stop(LEASE)),
                    // The answer before may be lost.
                    Consent::Promised { until } if holds => {
                        return Ok(StopAnswer::Stop(clock::age(now, until)));
                    }
                    Consent::Promised { .. } | Consent::Works => {}
                }
                let valid = self.open_until.is_some_and(|until| now < until)
                    && self.closed_until.is_none_or(|until| until <= now);
                let offer = self.offers.get_mut(&worker.of);
                let may_go = valid
                    && match (worker.removability, offer) {
                        (Removability::Goes, _) => true,
                        (Removability::IfOffered, Some(offer)) => {
                            offer.take(clock::age(since, now))
                        }
                        (Removability::IfOffered, None) | (Removability::Stays, _) => false,
                    };
                if may_go {
                    counts.promised += 1;
                    reported.consent = Consent::Promised { until: clock::after(now, LEASE) };
                    StopAnswer::Stop(LEASE)
                } else {
                    counts.stayed += 1;
                    StopAnswer::Stay
                }
            }
        })
    }

    /// Sees to it that nothing heard lies after `now`, and that nothing promised holds longer than a promise
    /// that is given now: the clock may have been ahead.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        let latest = clock::after(now, LEASE);
        self.closed_until = self.closed_until.map(|until| until.min(latest));
        self.open_until = self.open_until.map(|until| until.min(clock::after(now, OFFER_FOR)));
        for at in self.last_asked.values_mut() {
            *at = (*at).min(now);
        }
        for reported in self.reported.values_mut() {
            reported.last = reported.last.min(now);
            reported.idle_since = reported.idle_since.map(|since| since.min(now));
            if let Consent::Promised { until } = &mut reported.consent {
                *until = (*until).min(latest);
            }
        }
    }

    /// Expires old promises. Returns how many expired, per worker type.
    pub(super) fn expire(&mut self, now: Timestamp) -> BTreeMap<WorkerTypeName, u64> {
        let mut expired: BTreeMap<WorkerTypeName, u64> = BTreeMap::new();
        for (id, reported) in &mut self.reported {
            if matches!(reported.consent, Consent::Promised { until } if until <= now) {
                reported.consent = Consent::Works;
                self.counts.lapsed += 1;
                if let Some(worker) = self.workers.get(id) {
                    *expired.entry(worker.of.clone()).or_default() += 1;
                }
            }
        }
        expired
    }

    /// Takes back the unconfirmed promises of the worker types that `which` names. Returns whether there
    /// was any.
    pub(super) fn withdraw(&mut self, which: impl Fn(&WorkerTypeName) -> bool) -> bool {
        let mut any = false;
        for (id, reported) in &mut self.reported {
            let is_promised = matches!(reported.consent, Consent::Promised { .. });
            if is_promised && self.workers.get(id).is_none_or(|worker| which(&worker.of)) {
                reported.consent = Consent::Works;
                self.counts.withdrawn += 1;
                any = true;
            }
        }
        any
    }

    /// Tasks are seen running on `instance`: whatever was promised or agreed, its worker works.
    pub(super) fn works(&mut self, instance: &InstanceId) {
        if let Some(reported) = self.reported.get_mut(instance)
            && reported.consent != Consent::Works
        {
            reported.consent = Consent::Works;
            self.counts.withdrawn += 1;
        }
    }

    /// What the worker on `instance` reported.
    pub(super) fn heard(&self, instance: &InstanceId, now: Timestamp) -> Heard {
        if self.reported.is_empty() {
            return Heard::Nothing;
        }
        match self.reported.get(instance) {
            None => Heard::Nothing,
            Some(Reported { consent: Consent::Agreed, .. }) => Heard::Agreed,
            Some(Reported { consent: Consent::Promised { until }, .. }) if now < *until => {
                Heard::Promised
            }
            Some(reported) if reported.is_idle(now) => Heard::Idle,
            Some(_) => Heard::Quiet,
        }
    }

    /// Whether any worker has reported.
    pub(super) fn has_heard(&self) -> bool {
        !self.reported.is_empty()
    }

    /// Whether workers of this type have asked lately.
    pub(super) fn asks(&self, worker_type: &WorkerTypeName, now: Timestamp) -> bool {
        self.last_asked.get(worker_type).is_some_and(|at| clock::age(*at, now) < ASKS_FOR)
    }

    /// Replaces the offers by those of a decided round: these workers may ask, and so many may go.
    pub(super) fn renew(
        &mut self,
        workers: BTreeMap<InstanceId, Worker>,
        offers: BTreeMap<WorkerTypeName, Offer>,
        now: Timestamp,
    ) {
        self.reported.retain(|id, _| workers.contains_key(id));
        let types: BTreeSet<_> = offers.keys().collect();
        self.last_asked.retain(|name, _| types.contains(name));
        self.workers = workers;
        self.offers = offers;
        self.open_until = Some(clock::after(now, OFFER_FOR));
    }

    /// Lets no worker stop until the next round is decided.
    pub(super) fn close(&mut self) {
        self.open_until = None;
    }
}

impl Reported {
    fn is_idle(&self, now: Timestamp) -> bool {
        self.idle_since.is_some() && clock::age(self.last, now) < IDLE_FOR
    }
}

impl Offer {
    /// Takes a place for a machine that has been idle for so long.
    fn take(&mut self, idle: Duration) -> bool {
        let may_go = self.places > 0 && idle >= self.idle_for;
        self.places -= u64::from(may_go);
        may_go
    }
}

#[cfg(test)]
mod tests;
