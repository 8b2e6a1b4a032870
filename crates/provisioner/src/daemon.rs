//! The asynchronous driver: runs the engine against EC2, a queue and the disk.
//!
//! It decides nothing. A round reads the queue, then EC2, tells the engine, and carries out its effects
//! one after another; between rounds it waits for the time the engine named or for a wake-up. Ending it
//! never terminates instances.

mod keep;
mod log;
mod present;
mod prices;
mod record;
mod reload;
mod resolve;
mod survey;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::aws::{self, Call, Client};
use crate::domain::clock;
use crate::domain::ids::KeyName;
use crate::domain::ledger::Ledger;
use crate::engine::snapshot::{self, Snapshot};
use crate::engine::{Desk, Effect, Engine, LedgerFound, Outcome, Plan, Report, Start};
use crate::queue::source::DemandSource;
use crate::settings::Settings;
use crate::state_dir::{LedgerState, LockedStateDir, StateDir, StateDirError};
use crate::status::{RoundRecord, Trigger};

use keep::Keeper;
use log::Reporter;
pub use present::{Clock, Hand};
use prices::PriceWatch;
use reload::Next;
pub use reload::{NeedsRestart, Reloader};
use resolve::Resolver;
pub use survey::{Reach, Surveyor};
pub use turn::{QueueRead, Turn};

/// The driver of one key-name.
#[derive(Debug)]
pub struct Daemon<S> {
    settings: Arc<Settings>,
    key_name: KeyName,
    client: Client,
    source: S,
    clock: Clock,
    engine: Engine,
    /// Where workers ask whether to stop.
    desk: Option<Desk>,
    resolver: Resolver,
    reporter: Reporter,
    prices: PriceWatch,
    /// What is told of rounds to whoever asks later.
    record: RoundRecord,
    /// What brought the round under way.
    trigger: Trigger,
    /// How the queue was read in it.
    read: QueueRead,
    state: State,
    /// The load could not be recorded, which was told.
    load_unrecorded: bool,
    keeper: Keeper,
    next: Arc<Next<S>>,
}

/// Where the ledger is.
#[derive(Debug)]
enum State {
    /// Held by us alone.
    Locked(LockedStateDir),
    /// Only looked at: nothing is carried out.
    DryRun,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RoundEnd {
    /// Decided, and carried out as far as the report tells.
    Done(Report),
    /// A dry run: this is what would have been done.
    Planned(Plan),
    /// Nothing could be decided.
    Failed {
        /// Why, as AWS says it.
        error: aws::Error,
        /// When to try again.
        wake: Timestamp,
    },
    /// Stopped before it was decided.
    Stopped,
}

/// Too many rounds failed in a row (`provisioner.max-failed-rounds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} rounds in a row failed, and provisioner.max-failed-rounds is {0}")]
pub struct GaveUp(pub u32);

impl<S: DemandSource> Daemon<S> {
    /// Takes the state directory and its ledger. Only one process at a time may hold it.
    pub fn open(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        ledger: Absent,
    ) -> Result<Self, StateDirError> {
        let birth = Birth::default();
        Self::born(settings, key_name, client, source, state_dir, ledger, birth)
    }

    /// The same, in a time and with a nonce of the caller's, as a simulation needs that repeats itself.
    pub fn born(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        absent: Absent,
        Birth { clock, nonce }: Birth,
    ) -> Result<Self, StateDirError> {
        let locked = state_dir.lock()?;
        let read = locked.read_ledger(clock.now())?;
        if let (LedgerState::Lost { why }, Absent::IsLost) = (&read, absent) {
            tracing::warn!(
                "the in-flight ledger is lost ({why}); nothing is launched for {}",
                clock::show(settings.provisioner.visibility_window)
            );
        }
        let was_held = matches!(&read, LedgerState::Known(it) if it.hold_until.is_some());
        let ledger = absent.taken_for(read);
        // A round that changes nothing writes nothing, and the next process would be held again.
        if was_held
            && let (LedgerFound::Known(ledger), Absent::IsClean) = (&ledger, absent)
            && let Err(error) = locked.write_ledger(ledger)
        {
            tracing::warn!("the end of the hold is not kept: {}", chain(&error));
        }
        let start = Start { ledger, memory: state_dir.read_memory().unwrap_or_default(), nonce };
        let secret = match &settings.server.workers {
            Some(_) => Some(locked.stop_secret()?),
            None => None,
        };
        let state = State::Locked(locked);
        // Nothing depends on it: one that cannot be read is begun anew.
        let record = state_dir.read_record().ok().flatten().unwrap_or_default();
        let mut daemon =
            Self::new(settings, key_name, client, source, (start, clock), state, record);
        daemon.desk = secret.map(|secret| daemon.engine.listen(secret, daemon.clock.now()));
        Ok(daemon)
    }

    /// Where workers ask whether to stop, if they may (`server.worker-listen`).
    pub fn desk(&self) -> Option<&Desk> {
        self.desk.as_ref()
    }

    /// Only looks: the ledger is read, nothing is written, and rounds end with their plan.
    pub fn dry_run(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        ledger: Absent,
    ) -> Result<Self, StateDirError> {
        let start = (peek(state_dir, ledger)?, Clock::System);
        let record = RoundRecord::default();
        Ok(Self::new(settings, key_name, client, source, start, State::DryRun, record))
    }

    fn new(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        (start, clock): (Start, Clock),
        state: State,
        record: RoundRecord,
    ) -> Self {
        let engine = Engine::new(Arc::clone(&settings), key_name.clone(), start, clock.now());
        let resolver = Resolver::default();
        let reporter = Reporter::default();
        let prices = PriceWatch::beside(clock.clone());
        let next = Next::new();
        let read = QueueRead::default();
        Self {
            settings,
            key_name,
            client,
            source,
            clock,
            engine,
            desk: None,
            resolver,
            reporter,
            prices,
            record,
            trigger: Trigger::Start,
            read,
            state,
            load_unrecorded: false,
            keeper: Keeper::default(),
            next,
        }
    }

    /// Until when nothing is launched because the ledger was lost; `None`: it was not, or long ago.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.engine.ledger().hold_until.filter(|until| self.clock.now() < *until)
    }

    /// Returns what hands this daemon another configuration while it runs.
    pub fn reloader(&self) -> Reloader<S> {
        Reloader::new(Arc::clone(&self.settings), Arc::clone(&self.next))
    }

    fn take_up_reload(&mut self) {
        let Some((settings, source)) = self.next.take() else { return };
        self.resolver.keep(|name| settings.starts_alike(&self.settings, name));
        self.engine.reconfigure(Arc::clone(&settings));
        self.settings = settings;
        if let Some(source) = source {
            self.source = source;
        }
    }

    /// Runs one round. Reading is given up when `stop` is cancelled; of what changes something, the
    /// call in flight is finished, and no new one starts. What was learned in it is on disk when it ends.
    pub async fn round(&mut self, stop: &CancellationToken) -> RoundEnd {
        let began = Instant::now();
        self.reporter.begin();
        let end = self.look_and_act(stop, began).await;
        self.record_round(&end, began.elapsed());
        end
    }

    async fn look_and_act(&mut self, stop: &CancellationToken, began: Instant) -> RoundEnd {
        let looked = tokio::select! {
            biased;
            () = stop.cancelled() => return RoundEnd::Stopped,
            looked = self.look() => looked,
        };
        if let Err(error) = looked {
            let wake = self.engine.round_failed(self.clock.now());
            self.reporter.failed(&error, wake);
            return RoundEnd::Failed { error, wake };
        }
        let plan = self.engine.begin_round(self.clock.now());
        if matches!(self.state, State::DryRun) {
            let plan = plan.clone();
            self.reporter.planned(&plan);
            return RoundEnd::Planned(plan);
        }
        while let Some(effect) = self.engine.next_effect(self.clock.now()) {
            let outcome = self.carry_out(&effect).await;
            for executed in self.engine.outcome(outcome, self.clock.now()) {
                self.reporter.executed(&executed);
            }
            if stop.is_cancelled() {
                self.engine.stop_round();
            }
        }
        let Some(report) = self.engine.end_round(self.clock.now()) else {
            return RoundEnd::Stopped;
        };
        self.reporter.round(&report, began.elapsed());
        if let State::Locked(state) = &self.state {
            self.keeper.keep(state, self.engine.memory());
        }
        RoundEnd::Done(report)
    }

    /// Reads the queue, then EC2, and tells the engine.
    async fn look(&mut self) -> Result<(), aws::Error> {
        // Names first: what is decided on must not be old by the time they are known.
        for (name, resolved) in self.resolver.run(&self.settings, &self.client).await {
            self.engine.resolve(&name, resolved);
        }
        let mut demand = self.source.demand(&self.engine.owned_instances()).await;
        self.read = QueueRead::of(&mut demand);
        if let Ok(demand) = &mut demand {
            let finished = std::mem::take(&mut demand.finished);
            self.record_load(&finished);
        }
        let demand = demand.map_err(|error| chain(&error));
        let tracked = self.engine.tracked();
        let key_pair = self.engine.wants_key_pair();
        // What is not in a slow answer may have come to be visible meanwhile.
        let began = self.clock.now();
        let look = self.client.observe(&self.key_name, &tracked, key_pair, began).await?;
        for warning in &look.warnings {
            self.reporter.warning(warning);
        }
        self.engine.observe(&look.observation, began);
        self.engine.demand(demand);
        Ok(())
    }

    async fn carry_out(&self, effect: &Effect) -> Outcome {
        match effect {
            Effect::PersistLedger(ledger) => match &self.state {
                State::Locked(state) => match state.write_ledger(ledger) {
                    Ok(()) => Outcome::Done,
                    Err(error) => Outcome::NotPersisted(chain(&error)),
                },
                State::DryRun => Outcome::NotPersisted("this is a dry run".to_owned()),
            },
            Effect::Request(call) => self.client.execute(Call::Request(call)).await,
            Effect::Cancel(ids) => self.client.execute(Call::Cancel(ids)).await,
            Effect::Terminate(ids) => self.client.execute(Call::Terminate(ids)).await,
            Effect::Tag { instances, tags } => {
                self.client.execute(Call::Tag { instances, tags }).await
            }
        }
    }

    /// Runs rounds until `stop` is cancelled: one at once, then one at each interval or `wake`, never
    /// two at a time and never closer than `min-interval`. `tell` hears of each.
    pub async fn run(
        &mut self,
        stop: &CancellationToken,
        wake: &Notify,
        tell: impl FnMut(Turn<'_>),
    ) -> Result<(), GaveUp> {
        let ended = self.rounds(stop, wake, tell).await;
        if let State::Locked(state) = &self.state {
            self.keeper.leave(state, self.engine.memory());
        }
        ended
    }

    async fn rounds(
        &mut self,
        stop: &CancellationToken,
        wake: &Notify,
        mut tell: impl FnMut(Turn<'_>),
    ) -> Result<(), GaveUp> {
        let mut last_success = None;
        loop {
            self.take_up_reload();
            self.read = QueueRead::default();
            let started = Instant::now();
            let mut earliest = started + self.settings.provisioner.min_interval;
            let end = self.round(stop).await;
            let due = match &end {
                RoundEnd::Stopped => return Ok(()),
                RoundEnd::Done(report) => {
                    if report.demand_known {
                        last_success = Some(self.clock.now());
                    }
                    if report.throttled {
                        earliest = self.clock.instant(report.wake);
                    }
                    report.wake
                }
                RoundEnd::Planned(plan) => {
                    if plan.demand_known() {
                        last_success = Some(self.clock.now());
                    }
                    clock::after(self.clock.now(), self.settings.provisioner.interval)
                }
                // A wake-up does not make EC2 answer: the pause is kept.
                RoundEnd::Failed { wake, .. } => {
                    earliest = self.clock.instant(*wake);
                    *wake
                }
            };
            let failed_rounds = self.engine.failed_rounds();
            let (ended, took) = (self.clock.now(), started.elapsed());
            let machines = self.engine.capacity();
            let spare = clock::age(ended, due);
            self.prices.refresh(&self.client, &machines, spare, stop, wake).await;
            self.record_prices();
            let pause = clock::age(self.clock.now(), due);
            tell(Turn {
                settings: &self.settings,
                end: &end,
                read: &self.read,
                ended,
                took,
                machines: &machines,
                prices: self.prices.prices(),
                record: &self.record,
                last_success,
                failed_rounds,
                next: pause,
            });
            let most = self.settings.provisioner.max_failed_rounds;
            if most > 0 && failed_rounds >= most {
                return Err(GaveUp(most));
            }
            let reloaded = Arc::clone(&self.next);
            let Some(trigger) = wait(pause, earliest, stop, wake, &reloaded.there).await else {
                return Ok(());
            };
            self.trigger = trigger;
        }
    }

    /// Looks once and returns what a plan depends on.
    pub async fn snapshot(&mut self) -> Result<Snapshot, aws::Error> {
        let now = self.clock.now();
        let ledger = self.engine.ledger().clone();
        let memory = self.engine.memory().clone();
        let answers = self.resolver.run(&self.settings, &self.client).await;
        let demand = self.source.demand(&self.engine.owned_instances()).await;
        let demand = demand.map_err(|error| chain(&error));
        let look = self.client.observe(&self.key_name, &self.engine.tracked(), true, now).await?;
        for warning in &look.warnings {
            self.reporter.warning(warning);
        }
        let mut resolved = std::collections::BTreeMap::new();
        let mut unresolved = std::collections::BTreeMap::new();
        for (name, answer) in answers {
            match answer {
                Ok(answer) => drop(resolved.insert(name, answer)),
                Err(why) => drop(unresolved.insert(name, why)),
            }
        }
        let (demand, demand_error) = match demand {
            Ok(demand) => (Some(demand), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Snapshot {
            version: snapshot::VERSION,
            time: now,
            key_name: self.key_name.clone(),
            observation: look.observation,
            demand,
            demand_error,
            ledger,
            memory,
            resolved,
            unresolved,
        })
    }
}

/// What tells one process from another that is started from the same disk.
#[derive(Clone, Debug)]
pub struct Birth {
    /// The clock beside it.
    pub clock: Clock,
    /// A number no other process has: client tokens are made from it.
    pub nonce: u64,
}

impl Default for Birth {
    /// The machine's clock, and a random nonce.
    fn default() -> Self {
        Self { clock: Clock::System, nonce: nonce() }
    }
}

/// What an absent ledger means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// What was asked for lately is not known (the normal reading).
    IsLost,
    /// The operator says that nothing is in flight (`--assume-clean`).
    IsClean,
}

impl Absent {
    fn taken_for(self, read: LedgerState) -> LedgerFound {
        match (read, self) {
            (LedgerState::Known(ledger), Self::IsLost) => LedgerFound::Known(ledger),
            (LedgerState::Known(ledger), Self::IsClean) => {
                LedgerFound::Known(Ledger { hold_until: None, ..ledger })
            }
            (LedgerState::Lost { .. }, Self::IsLost) => LedgerFound::Lost,
            (LedgerState::Lost { .. }, Self::IsClean) => LedgerFound::AssumedClean,
        }
    }
}

/// Waits for `pause`, or until woken or reloaded, but not before `earliest`. Returns what it was; `None`:
/// stop.
async fn wait(
    pause: Duration,
    earliest: Instant,
    stop: &CancellationToken,
    wake: &Notify,
    reloaded: &Notify,
) -> Option<Trigger> {
    let trigger = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        () = wake.notified() => Trigger::WakeUp,
        () = reloaded.notified() => Trigger::Reload,
        () = tokio::time::sleep(pause) => Trigger::Due,
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = tokio::time::sleep_until(earliest) => Some(trigger),
    }
}

/// What an engine starts from that only looks.
fn peek(state_dir: &StateDir, ledger: Absent) -> Result<Start, StateDirError> {
    let ledger = ledger.taken_for(state_dir.peek_ledger()?);
    Ok(Start { ledger, memory: state_dir.read_memory().unwrap_or_default(), nonce: nonce() })
}

fn nonce() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// An error with its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
