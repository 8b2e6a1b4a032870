//! The decision engine: a synchronous state machine without I/O, clock or randomness of its own.
//!
//! A driver tells it what it saw ([`Engine::observe`], [`Engine::demand`], [`Engine::resolve`]) and
//! the time, begins a round, does each [`Effect`] in turn and answers its [`Outcome`]. Refusals come
//! back as outcomes and are answered by the next effect, in the same round. Exactly two drivers exist:
//! the daemon and the simulated world of the tests.
//!
//! ```text
//! observe + demand ─► begin_round: recount ─► decide ─► check ─► next_effect ⇄ outcome ─► end_round
//! ```
//!
//! Not in here: anything that speaks to AWS, the queue or the disk, and any clock.

mod act;
mod check;
mod decide;
mod observe;
pub mod snapshot;
mod state;
mod stop_consent;
mod take_in;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Demand;
use crate::domain::ids::{ClientToken, InstanceId, KeyName, WorkerTypeName};
use crate::domain::launch::ResolvedWorkerType;
use crate::domain::ledger::Ledger;
use crate::domain::stop_secret::StopSecret;
use crate::settings::Settings;

#[cfg(feature = "aws")]
pub(crate) use act::Launch;
pub use act::effect::{Effect, GrantedRequest, Outcome};
pub use act::{ActionOutcome, ActionResult, Report};
pub use decide::plan::{
    Action, ActionKind, Note, NoteKind, Plan, Reason, ReasonKind, WorkerTypeStatus,
};
pub use state::capacity::{Machines, Usage};
pub use state::memory::{
    Cancelling, CoolDown, Failures, Fulfilled, MachineMemory, Memory, OpenMemory, Spent,
};
pub use stop_consent::{Desk, LEASE, StopAnswer, StopAskError, StopConsentCounts, WorkerReport};

use act::Round;
use act::token::Tokens;
use decide::detail::{MachineNote, PlanNote};
use decide::targets;
use decide::{Decide, Decided};
use state::index::Index;
use state::{capacity, in_flight, memory};
use stop_consent::offers;

/// The longest pause after failed rounds.
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_mins(1);
/// The longest while only the queue fails: it is the user's own and cheap to ask, and tasks wait.
const LONGEST_QUEUE_PAUSE: Duration = Duration::from_secs(10);

/// What an engine starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The ledger as it was found.
    pub ledger: LedgerFound,
    /// The soft state, or an empty one.
    pub memory: Memory,
    /// The driver's randomness: makes client tokens unique and pauses uneven.
    pub nonce: u64,
}

/// How the ledger was found.
#[derive(Clone, Debug, PartialEq)]
pub enum LedgerFound {
    /// It was there.
    Known(Ledger),
    /// It was absent or damaged: what was asked for lately is not known.
    Lost,
    /// It was lost, and the operator says that nothing is in flight.
    AssumedClean,
}

/// The state machine.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    key_name: KeyName,
    ledger: Ledger,
    /// Whether the ledger has changed since it was last written.
    ledger_dirty: bool,
    memory: Memory,
    index: Index,
    seen_by_intent: BTreeMap<ClientToken, u32>,
    demand: Result<Demand, String>,
    /// Whether the demand was read since the last recount.
    demand_is_fresh: bool,
    /// Worker types that tasks waited for at the look before.
    waited: BTreeSet<WorkerTypeName>,
    resolved: BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    tagged_lately: BTreeMap<InstanceId, Timestamp>,
    settle_notes: Vec<Note>,
    /// Worker types of which an instance came up since the demand was last known.
    came_up: BTreeSet<WorkerTypeName>,
    tokens: Tokens,
    /// Where workers ask whether to stop.
    desk: Desk,
    round: Option<Round>,
    throttled_rounds: u32,
    failed_rounds: u32,
}

impl Engine {
    /// Makes an engine for everything under `key_name`.
    pub fn new(settings: Arc<Settings>, key_name: KeyName, start: Start, now: Timestamp) -> Self {
        let window = settings.provisioner.visibility_window;
        let (ledger, ledger_dirty) = match start.ledger {
            LedgerFound::Known(ledger) => (ledger, false),
            LedgerFound::Lost => {
                (Ledger { hold_until: Some(clock::after(now, window)), ..Ledger::default() }, true)
            }
            LedgerFound::AssumedClean => (Ledger::default(), true),
        };
        let mut memory = start.memory;
        memory.reconcile(&settings);
        Self {
            settings,
            key_name,
            ledger,
            ledger_dirty,
            memory,
            index: Index::default(),
            seen_by_intent: BTreeMap::new(),
            demand: Err("not read yet".to_owned()),
            demand_is_fresh: false,
            waited: BTreeSet::new(),
            resolved: BTreeMap::new(),
            tagged_lately: BTreeMap::new(),
            settle_notes: Vec::new(),
            came_up: BTreeSet::new(),
            tokens: Tokens::new(start.nonce),
            desk: Desk::default(),
            round: None,
            throttled_rounds: 0,
            failed_rounds: 0,
        }
    }

    /// Lets workers ask whether to stop, by tokens made with `secret`. Returns where.
    ///
    /// A process before this one may have told some to stop: if there were machines, nobody is told so
    /// again before that has lapsed.
    pub fn listen(&mut self, secret: StopSecret, now: Timestamp) -> Desk {
        let promised = !self.memory.machines.is_empty();
        let closed_until = promised.then(|| clock::after(now, LEASE));
        self.desk.book().open(secret, closed_until);
        self.desk.clone()
    }

    /// Where workers ask whether to stop; nobody is heard there before [`Engine::listen`].
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Goes on under another configuration of the same key-name, from the next observation on. What is
    /// known of machines, requests and launches stays; what changed worker types name in AWS is to be
    /// told anew.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) {
        self.memory.reconcile(&settings);
        let before = std::mem::replace(&mut self.settings, settings);
        self.resolved.retain(|name, _| self.settings.starts_alike(&before, name));
    }

    /// Live instances by owner, use and capacity pool, as of the last round. Work proportional to them.
    pub fn capacity(&self) -> Vec<Machines> {
        capacity::count(&self.index)
    }

    /// The ledger, as it is to be on disk.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The soft state, to be kept on disk between rounds.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes in what a worker type names in AWS, or why that is not known. It concerns this type alone.
    pub fn resolve(&mut self, name: &WorkerTypeName, resolved: Result<ResolvedWorkerType, String>) {
        self.resolved.insert(name.clone(), resolved);
    }

    /// Decides a round from what was taken in.
    pub fn begin_round(&mut self, now: Timestamp) -> &Plan {
        // What is promised until the round is decided is promised on account of the one before.
        let desk = self.desk.clone();
        let mut book = desk.book();
        let lapsed = book.lapse(now);
        self.settle_notes.extend(lapsed.into_iter().map(|(name, workers)| {
            Note::about(&name, &MachineNote::PromiseLapsed { workers, lease: LEASE })
        }));
        self.recount(&mut book, now);
        let in_flight = in_flight::count(
            &self.ledger,
            &self.seen_by_intent,
            &self.index.arrived,
            &self.memory,
            |since| clock::after(since, self.settings.provisioner.visibility_window) <= now,
            now,
        );
        let mut decided = {
            let wishes = targets::ask(
                &self.settings,
                &self.index,
                &in_flight,
                self.demand.as_ref().ok(),
                &targets::Terms {
                    calls_pass: self.throttled_rounds == 0,
                    consent: |name: &WorkerTypeName| book.consent(name, now),
                    now,
                },
                &mut self.memory,
            );
            let decide = Decide {
                settings: &self.settings,
                wishes: &wishes,
                index: &self.index,
                ledger: &self.ledger,
                memory: &self.memory,
                seen_by_intent: &self.seen_by_intent,
                in_flight: &in_flight,
                demand: self.demand.as_ref().map_err(String::as_str),
                resolved: &self.resolved,
                tagged_lately: &self.tagged_lately,
                now,
            };
            let mut decided = decide.run();
            let violations = check::check(&decide, &decided);
            if book.is_open() {
                offers::renew(&decide, &mut book);
            }
            if !violations.is_empty() {
                book.close();
                let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
                let Decided { plan, goals, repeats } = &mut decided;
                let violations = &violations;
                plan.notes.push(Note::general(&PlanNote::CheckFailed { violations }));
                plan.actions.clear();
                goals.clear();
                repeats.clear();
            }
            decided
        };
        decided.plan.notes.append(&mut self.settle_notes);
        if self.ledger.hold_until.is_some_and(|until| until <= now) {
            self.ledger.hold_until = None;
            self.ledger_dirty = true;
        }
        let round = Round::new(decided, now);
        &self.round.insert(round).plan
    }

    /// Ends a round that could not be decided, because EC2 could not be observed. Returns when to try again.
    pub fn round_failed(&mut self, now: Timestamp) -> Timestamp {
        self.round = None;
        self.desk.book().close();
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        self.pause(self.failed_rounds, LONGEST_FAILURE_PAUSE, now)
    }

    /// Rounds in a row that failed: EC2 not observed, or the demand unknown.
    pub fn failed_rounds(&self) -> u32 {
        self.failed_rounds
    }

    /// A pause that grows with `strikes`, uneven by up to a fifth so that many daemons do not march in step.
    fn pause(&mut self, strikes: u32, longest: Duration, now: Timestamp) -> Timestamp {
        let interval = self.settings.provisioner.interval;
        let pause = memory::growing(interval, strikes, longest.max(interval));
        let uneven = pause.mul_f64(
            0.8 + 0.4 * f64::from(u32::try_from(self.tokens.jitter() >> 32).unwrap_or(0))
                / f64::from(u32::MAX),
        );
        clock::after(now, uneven.max(self.settings.provisioner.min_interval))
    }
}
