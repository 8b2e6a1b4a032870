//! The decision engine: a synchronous state machine without I/O, clock or randomness of its own.
//!
//! A driver (the daemon, or the loop of the simulated world) gives it what it read and the time, and
//! carries out what it asks for. A round is one value, [`Round`], begun with all of its [`Inputs`]:
//!
//! ```text
//! begin_round ─► observe ─► count ─► targets ─► decide ─► check
//!                                                           │
//!                Effect ◄── next_effect ◄───────────────────┘
//!                   │            ▲
//!                   └─► driver ──┴─ outcome … ─► end ─► Report
//! ```
//!
//! - `observe/` joins instances and spot requests by id, reconciles the ledger with them, and sorts
//!   them by owner, so that whatever EC2 shows late or twice is counted once.
//! - `state/` holds what is known: what outlives the process (`durable`), what the last observation
//!   showed (`view`), and the pauses between failed rounds (`backoff`).
//! - `decide/` makes a [`Plan`] from it: actions with reasons, and notes on what is not done and why.
//!   `check` holds the plan against the fences, independently; a plan that breaks one is not executed.
//! - `act/` turns the plan into one [`Effect`] after the other. A refusal comes back as an [`Outcome`]
//!   and is answered by the next effect, in the same round.
//! - `stop_consent/` is where workers ask whether to stop.
//!
//! The folders stand in the order in which a round runs; each uses only those before it and `state/`.
//! `now` and a nonce are arguments: the same inputs give the same plan.

mod act;
mod check;
mod decide;
mod observe;
pub(crate) mod snapshot;
mod state;
mod stop_consent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::demand::Demand;
use crate::domain::ids::{InstanceId, KeyName, SpotRequestId, WorkerTypeName};
use crate::domain::launch::ResolvedWorkerType;
use crate::domain::ledger::Ledger;
use crate::domain::observed::{KeyPair, Observation};
use crate::domain::stop_secret::StopSecret;
use crate::settings::Settings;

#[cfg(feature = "aws")]
pub(crate) use act::Launch;
pub use act::effect::{Effect, GrantedRequest, Outcome};
pub use act::{ActionOutcome, ActionResult, Report, Round};
pub use decide::plan::{
    Action, ActionKind, Note, NoteKind, Plan, Reason, ReasonKind, WorkerTypeStatus,
};
pub use state::capacity::{Machines, Usage};
pub use state::memory::{Memory, failing_worker_types, observed_startups, unknown_profiles};
pub use stop_consent::{
    LEASE, StopAnswer, StopAskError, StopConsent, StopConsentCounts, WorkerReport,
};

use decide::detail::{MachineNote, PlanNote};
use decide::{Decide, Decided, offers, targets};
use observe::count::Counting;
use state::backoff::Backoff;
use state::durable::Durable;
use state::token::Tokens;
use state::view::View;
use state::{capacity, in_flight};

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
    /// It was absent or damaged: recent launches are not known.
    Lost,
    /// It was lost, and the operator says that nothing is in flight.
    AssumedClean,
}

/// What each worker type's names (image, security groups, subnets) mean in AWS, or why that is not known.
pub type Resolved = BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>;

/// Everything that a round is decided from.
#[derive(Debug)]
pub struct Inputs<'r, 'i> {
    /// What the worker types' names mean in AWS. A failure concerns that worker type alone.
    pub resolved: &'r Resolved,
    /// One complete observation of EC2.
    pub observation: &'i Observation,
    /// When the observation began: it holds all that was visible by then.
    pub observed: Timestamp,
    /// The queue's demand, or why it is not known.
    pub demand: Result<Demand, String>,
}

/// The state machine of one key-name.
#[derive(Debug)]
pub struct Engine {
    settings: Arc<Settings>,
    key_name: KeyName,
    durable: Durable,
    view: View,
    backoff: Backoff,
    tokens: Tokens,
    /// Makes the tokens by which workers prove themselves; `None`: workers are not heard.
    stop_secret: Option<StopSecret>,
}

impl Engine {
    /// Makes an engine for everything under `key_name`.
    pub fn new(settings: Arc<Settings>, key_name: KeyName, start: Start, now: Timestamp) -> Self {
        let window = settings.provisioner.visibility_window;
        let (ledger, is_on_disk) = match start.ledger {
            LedgerFound::Known(ledger) => (ledger, true),
            LedgerFound::Lost => {
                (Ledger { hold_until: Some(clock::after(now, window)), ..Ledger::default() }, false)
            }
            LedgerFound::AssumedClean => (Ledger::default(), false),
        };
        let mut memory = start.memory;
        memory.forget_reconfigured(&settings);
        Self {
            settings,
            key_name,
            durable: Durable::new(ledger, is_on_disk, memory, start.nonce),
            view: View::new(now),
            backoff: Backoff::default(),
            tokens: Tokens::new(start.nonce),
            stop_secret: None,
        }
    }

    /// Takes the operator's word that no other daemon launches under this key-name (`--assume-alone`).
    pub fn assume_alone(&mut self) {
        self.view.other_ledgers.assume_alone();
    }

    /// Lets workers ask whether to stop, by tokens made with `secret`.
    ///
    /// The process before this one may have told workers to stop. If there were machines, no worker is
    /// told so again until those promises have expired.
    pub fn listen(&mut self, secret: StopSecret, now: Timestamp) -> StopConsent {
        let may_have_promised = !self.durable.memory.machines.is_empty();
        let closed_until = may_have_promised.then(|| clock::after(now, LEASE));
        self.stop_secret = Some(secret.clone());
        StopConsent::new(secret, closed_until)
    }

    /// Continues under another configuration of the same key-name, from the next round on. Everything
    /// known of machines, requests and launches stays.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) {
        self.durable.memory.forget_reconfigured(&settings);
        self.settings = settings;
    }

    /// Lets the next launch of every worker type that is paused for failed launches come at once. It is a probe
    /// still: one instance.
    pub fn resume_paused(&mut self) {
        self.durable.memory.resume_paused();
    }

    /// Requests that the next observation must look up by id where the pages do not show them.
    pub fn tracked(&self) -> BTreeSet<SpotRequestId> {
        let Durable { ledger, memory, .. } = &self.durable;
        let seen = memory.open.keys().chain(memory.fulfilled.keys());
        seen.chain(ledger.granted.keys()).cloned().collect()
    }

    /// Whether the next observation should include the key pair.
    pub fn wants_key_pair(&self) -> bool {
        let index = &self.view.index;
        index.key_pair != KeyPair::Ours
            || !index.strays.machines.is_empty()
            || !index.strays.open.is_empty()
    }

    /// The instances known as ours: of the running tasks, only those on these machines matter.
    pub fn owned_instances(&self) -> BTreeSet<InstanceId> {
        self.durable.memory.machines.keys().cloned().collect()
    }

    /// Live instances by owner, use and capacity pool, as of the last round. Work proportional to them.
    pub fn capacity(&self) -> Vec<Machines> {
        capacity::count(&self.view.index)
    }

    /// The ledger, as it is to be on disk.
    pub fn ledger(&self) -> &Ledger {
        &self.durable.ledger
    }

    /// The soft state, to be kept on disk between rounds.
    pub fn memory(&self) -> &Memory {
        &self.durable.memory
    }

    /// Rounds in a row that failed: EC2 was not observed, or the demand was unknown.
    pub fn failed_rounds(&self) -> u32 {
        self.backoff.failed_rounds
    }

    /// Decides a round. Work proportional to what the observation holds.
    ///
    /// `consent` is the state behind the workers' requests to stop; promises made until this returns
    /// rest on the round before. A driver that hears no workers passes the default.
    pub fn begin_round<'e>(
        &'e mut self,
        inputs: Inputs<'e, '_>,
        consent: &mut StopConsent,
        now: Timestamp,
    ) -> Round<'e> {
        let Inputs { resolved, observation, observed, demand } = inputs;
        self.follow_clock(consent, now);
        self.view.note_demand(demand.as_ref().ok());
        let Self { settings, key_name, durable, view, .. } = self;
        let mut notes =
            observe::observe(settings, resolved, key_name, durable, view, observation, observed);
        notes.extend(expired_promises(consent, now));
        let mut counting = Counting { settings, memory: &mut durable.memory, view };
        counting.run(demand.as_ref().ok(), consent, now);
        let mut decided = self.decide(resolved, demand.as_ref(), consent, now);
        decided.plan.notes.append(&mut notes);
        self.durable.end_hold(now);
        Round::new(self, resolved, demand.is_ok(), decided, now)
    }

    /// Ends a round that could not be decided, because EC2 could not be observed. Returns when to try
    /// again.
    pub fn round_failed(&mut self, consent: &mut StopConsent, now: Timestamp) -> Timestamp {
        consent.close();
        self.follow_clock(consent, now);
        self.backoff.round_failed().until(&mut self.tokens, &self.settings, now)
    }

    /// Takes in what the clock shows, so that no remembered instant lies in the future.
    fn follow_clock(&mut self, consent: &mut StopConsent, now: Timestamp) {
        let settings = &self.settings.provisioner;
        let (interval, window) = (settings.interval, settings.visibility_window);
        let step = self.durable.follow_clock(interval, window, now);
        self.view.follow_clock(step, now);
        self.backoff.not_after(now);
        consent.not_after(now);
    }

    fn decide(
        &mut self,
        resolved: &Resolved,
        demand: Result<&Demand, &String>,
        consent: &mut StopConsent,
        now: Timestamp,
    ) -> Decided {
        let Durable { ledger, memory, .. } = &mut self.durable;
        let window = self.settings.provisioner.visibility_window;
        let other_daemon = self.view.other_ledgers.daemon(window, now);
        let in_flight = in_flight::count(ledger, &self.view, memory, window, now);
        let terms = targets::Terms { calls_pass: self.backoff.throttled_rounds == 0, consent, now };
        let targets =
            targets::ask(&self.settings, &self.view.index, &in_flight, demand.ok(), &terms, memory);
        let decide = Decide {
            settings: &self.settings,
            targets: &targets,
            index: &self.view.index,
            ledger,
            memory,
            seen_by_intent: &self.view.seen_by_intent,
            in_flight: &in_flight,
            demand: demand.map_err(String::as_str),
            resolved,
            tagged_lately: &self.view.tagged_lately,
            other_daemon: other_daemon.as_ref(),
            earlier_ledgers: &self.view.other_ledgers.earlier,
            now,
        };
        let mut decided = decide.run();
        let violations = check::check(&decide, &decided);
        if consent.listens() {
            offers::renew(&decide, consent);
        }
        if !violations.is_empty() {
            consent.close();
            let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
            let Decided { plan, goals, repeats } = &mut decided;
            let violations = &violations;
            plan.notes.push(Note::general(&PlanNote::CheckFailed { violations }));
            plan.actions.clear();
            goals.clear();
            repeats.clear();
        }
        decided
    }
}

fn expired_promises(consent: &mut StopConsent, now: Timestamp) -> impl Iterator<Item = Note> {
    consent.expire(now).into_iter().map(|(name, workers)| {
        Note::about(&name, &MachineNote::PromiseLapsed { workers, lease: LEASE })
    })
}
