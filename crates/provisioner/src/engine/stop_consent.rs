//! Where workers ask whether to stop.
//!
//! After each decided round the engine says here how many idle machines may go, per worker type. A worker
//! that asks is given one of these places, as a promise with an end: until then its machine is no capacity
//! and its place is not given twice. When the worker says in time that it is stopping, the next round ends
//! the machine; else the promise lapses and the machine counts again. What tasks come to need in between
//! takes unconfirmed promises back. So a machine is ended only on its own worker's word.
//!
//! Nothing here is kept over a restart: who was promised something hears "stay" and goes on working.

pub(super) mod offers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use crate::domain::stop_secret::StopSecret;

/// How long a promise holds. A worker has only to stop claiming and to say so: seconds, with some repeats
/// over a bad network.
pub const LEASE: Duration = Duration::from_mins(1);

/// A worker that said it is idle is believed to be for so long: three asks at the pace of one in 30 s.
const IDLE_FOR: Duration = Duration::from_secs(90);

/// What a round offered is worth nothing when no other round followed for so long.
const OFFER_FOR: Duration = Duration::from_mins(2);

/// Workers of a type that asked in the last day consent: a busy one may not ask for hours.
const ASKS_FOR: Duration = Duration::from_hours(24);

/// The desk, shared by the engine and by whoever hears the workers.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Mutex<Book>>);

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// It runs no task, and would stop.
    Idle,
    /// It runs a task, or is about to.
    Busy,
    /// It takes no more tasks: the machine may be ended.
    Stopping,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAnswer {
    /// To go on.
    Stay,
    /// To stop, if it says so within this time; or, if it did, to wait for its end.
    Stop(Duration),
}

/// Why it is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StopAskError {
    /// No machine of ours has this id, as far as is known by now.
    #[error("no such instance")]
    NoSuchInstance,
    /// The token is not that of the machine's launch.
    #[error("wrong token")]
    WrongToken,
}

/// What was heard and answered since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopConsentCounts {
    /// Idle workers that were told to stop.
    pub promised: u64,
    /// Idle workers that were told to stay.
    pub stayed: u64,
    /// Workers that said they are busy.
    pub busy: u64,
    /// Workers that said in time that they are stopping.
    pub agreed: u64,
    /// Workers that said so too late, or after the promise was taken back: they were told to stay.
    pub too_late: u64,
    /// Promises of which nothing more was heard.
    pub lapsed: u64,
    /// Promises taken back: tasks came, or the demand was not known any more.
    pub withdrawn: u64,
    /// Wrong tokens.
    pub wrong_token: u64,
    /// Instances that are not known.
    pub no_such_instance: u64,
}

/// What is known of the workers that may ask.
#[derive(Debug, Default)]
pub(super) struct Book {
    secret: Option<StopSecret>,
    /// A process before this one may have made promises that hold until then.
    closed_until: Option<Timestamp>,
    workers: BTreeMap<InstanceId, Worker>,
    offers: BTreeMap<WorkerTypeName, Offer>,
    /// When the offers end.
    open_until: Option<Timestamp>,
    said: BTreeMap<InstanceId, Said>,
    asked: BTreeMap<WorkerTypeName, Timestamp>,
    counts: StopConsentCounts,
}

/// A machine whose worker may ask.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) of: WorkerTypeName,
    /// The client token of the call that launched it.
    pub(super) launch: ClientToken,
    pub(super) standing: Standing,
}

/// What may become of a machine, as the last round found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is busy, or what it does is not known.
    Stays,
    /// It is idle: it may go if its worker type has a place left.
    Idle,
    /// Nobody needs it: too old, or of a worker type that is not configured any more.
    Goes,
}

/// How many idle machines of a worker type may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) places: u64,
    /// For how long they must have been idle by their own word.
    pub(super) idle_for: Duration,
}

/// What a worker said last, and what came of it.
#[derive(Clone, Copy, Debug)]
struct Said {
    idle_since: Option<Timestamp>,
    last: Timestamp,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Works,
    Promised { until: Timestamp },
    Agreed,
}

/// What a machine's worker said, as far as it matters to counting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// That it is idle, lately.
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

impl Desk {
    /// Hears a worker that shows the token from its user data.
    ///
    /// # Errors
    /// The instance is not known, or was not launched with that token; nothing is changed then.
    pub fn hear(
        &self,
        instance: &InstanceId,
        token: &str,
        word: WorkerReport,
        now: Timestamp,
    ) -> Result<StopAnswer, StopAskError> {
        self.book().hear(instance, token, word, now)
    }

    /// What was heard and answered since the start.
    pub fn counts(&self) -> StopConsentCounts {
        self.book().counts
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        let Self(book) = self;
        book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Begins to listen. Until `closed_until` everybody is told to stay.
    pub(super) fn open(&mut self, secret: StopSecret, closed_until: Option<Timestamp>) {
        self.secret = Some(secret);
        self.closed_until = closed_until;
    }

    pub(super) fn is_open(&self) -> bool {
        self.secret.is_some()
    }

    /// What user data tells the machines of a launch. Empty where nobody listens to them.
    pub(super) fn token(&self, launch: &ClientToken) -> String {
        self.secret.as_ref().map(|secret| secret.token(launch)).unwrap_or_default()
    }

    fn hear(
        &mut self,
        instance: &InstanceId,
        token: &str,
        word: WorkerReport,
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
        let said = self.said.entry(instance.clone());
        let said = said.or_insert(Said { idle_since: None, last: now, state: State::Works });
        let was_idle = said.is_idle(now);
        said.last = now;
        let holds = matches!(said.state, State::Promised { until } if now < until);
        let counts = &mut self.counts;
        Ok(match word {
            WorkerReport::Busy => {
                counts.busy += 1;
                said.idle_since = None;
                said.state = State::Works;
                StopAnswer::Stay
            }
            WorkerReport::Stopping if holds || said.state == State::Agreed => {
                counts.agreed += u64::from(said.state != State::Agreed);
                said.state = State::Agreed;
                StopAnswer::Stop(LEASE)
            }
            WorkerReport::Stopping => {
                counts.too_late += 1;
                said.state = State::Works;
                StopAnswer::Stay
            }
            WorkerReport::Idle => {
                let since = said.idle_since.filter(|_| was_idle).unwrap_or(now);
                said.idle_since = Some(since);
                self.asked.insert(worker.of.clone(), now);
                match said.state {
                    State::Agreed => return Ok(StopAnswer::Stop(LEASE)),
                    // The answer before may be lost.
                    State::Promised { until } if holds => {
                        return Ok(StopAnswer::Stop(clock::age(now, until)));
                    }
                    State::Promised { .. } | State::Works => {}
                }
                let valid = self.open_until.is_some_and(|until| now < until)
                    && self.closed_until.is_none_or(|until| until <= now);
                let offer = self.offers.get_mut(&worker.of);
                let may_go = valid
                    && match (worker.standing, offer) {
                        (Standing::Goes, _) => true,
                        (Standing::Idle, Some(offer)) => offer.take(clock::age(since, now)),
                        (Standing::Idle, None) | (Standing::Stays, _) => false,
                    };
                if may_go {
                    counts.promised += 1;
                    said.state = State::Promised { until: clock::after(now, LEASE) };
                    StopAnswer::Stop(LEASE)
                } else {
                    counts.stayed += 1;
                    StopAnswer::Stay
                }
            }
        })
    }

    /// Ends promises whose time is over. Returns of how many machines, per worker type.
    pub(super) fn lapse(&mut self, now: Timestamp) -> BTreeMap<WorkerTypeName, u64> {
        let mut lapsed: BTreeMap<WorkerTypeName, u64> = BTreeMap::new();
        for (id, said) in &mut self.said {
            if matches!(said.state, State::Promised { until } if until <= now) {
                said.state = State::Works;
                self.counts.lapsed += 1;
                if let Some(worker) = self.workers.get(id) {
                    *lapsed.entry(worker.of.clone()).or_default() += 1;
                }
            }
        }
        lapsed
    }

    /// Takes back what was promised and not yet agreed to, where `which` says so. Returns whether there
    /// was any.
    pub(super) fn withdraw(&mut self, which: impl Fn(&WorkerTypeName) -> bool) -> bool {
        let mut any = false;
        for (id, said) in &mut self.said {
            let is_promised = matches!(said.state, State::Promised { .. });
            if is_promised && self.workers.get(id).is_none_or(|it| which(&it.of)) {
                said.state = State::Works;
                self.counts.withdrawn += 1;
                any = true;
            }
        }
        any
    }

    /// Its tasks are seen running: whatever was promised or agreed, it works.
    pub(super) fn works(&mut self, instance: &InstanceId) {
        if let Some(said) = self.said.get_mut(instance)
            && said.state != State::Works
        {
            said.state = State::Works;
            self.counts.withdrawn += 1;
        }
    }

    /// What the worker on `instance` said.
    pub(super) fn heard(&self, instance: &InstanceId, now: Timestamp) -> Heard {
        if self.said.is_empty() {
            return Heard::Nothing;
        }
        match self.said.get(instance) {
            None => Heard::Nothing,
            Some(Said { state: State::Agreed, .. }) => Heard::Agreed,
            Some(Said { state: State::Promised { until }, .. }) if now < *until => Heard::Promised,
            Some(said) if said.is_idle(now) => Heard::Idle,
            Some(_) => Heard::Quiet,
        }
    }

    /// Whether anybody has said anything, so that counts change with time.
    pub(super) fn has_heard(&self) -> bool {
        !self.said.is_empty()
    }

    /// Whether workers of this type have asked lately.
    pub(super) fn consent(&self, worker_type: &WorkerTypeName, now: Timestamp) -> bool {
        self.asked.get(worker_type).is_some_and(|at| clock::age(*at, now) < ASKS_FOR)
    }

    /// A round was decided: these may ask, and these may go.
    pub(super) fn renew(
        &mut self,
        workers: BTreeMap<InstanceId, Worker>,
        offers: BTreeMap<WorkerTypeName, Offer>,
        now: Timestamp,
    ) {
        self.said.retain(|id, _| workers.contains_key(id));
        let types: BTreeSet<_> = offers.keys().collect();
        self.asked.retain(|name, _| types.contains(name));
        self.workers = workers;
        self.offers = offers;
        self.open_until = Some(clock::after(now, OFFER_FOR));
    }

    /// Nobody may go until the next round is decided.
    pub(super) fn close(&mut self) {
        self.open_until = None;
    }
}

impl Said {
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
