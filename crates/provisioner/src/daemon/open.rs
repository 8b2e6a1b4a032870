//! What a daemon is made of, and how it starts.

use std::sync::Arc;

use jiff::Timestamp;

use super::clock::Clock;
use super::log::Reporter;
use super::memory_writer::MemoryWriter;
use super::prices::PriceWatch;
use super::reload::{Next, Reloader};
use super::resolve::Resolver;
use super::round_summary::QueueRead;
use super::stop_listener::StopListener;
use crate::aws::Client;
use crate::domain::duration;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::KeyName;
use crate::domain::ledger::Ledger;
use crate::engine::{Engine, LedgerFound, Start};
use crate::queue::source::DemandSource;
use crate::settings::Settings;
use crate::state_dir::{LedgerState, LockedStateDir, StateDir, StateDirError};
use crate::status::{RoundRecord, Trigger};

/// The driver of one key-name.
#[derive(Debug)]
pub struct Daemon<S> {
    pub(super) settings: Arc<Settings>,
    pub(super) key_name: KeyName,
    pub(super) client: Client,
    pub(super) source: S,
    pub(super) clock: Clock,
    pub(super) engine: Engine,
    /// Where workers ask whether to stop, if they may (`server.worker-listen`).
    pub(super) stop_listener: Option<StopListener>,
    pub(super) resolver: Resolver,
    pub(super) reporter: Reporter,
    pub(super) prices: PriceWatch,
    /// The record of rounds, for `status` and the state directory.
    pub(super) record: RoundRecord,
    /// Why the round under way began.
    pub(super) trigger: Trigger,
    /// How the queue was read in it.
    pub(super) read: QueueRead,
    pub(super) state: State,
    /// The load could not be recorded, and that was logged.
    pub(super) load_unrecorded: bool,
    pub(super) memory_writer: MemoryWriter,
    pub(super) next: Arc<Next<S>>,
}

/// Where the ledger is.
#[derive(Debug)]
pub(super) enum State {
    /// Held by us alone.
    Locked(Arc<LockedStateDir>),
    /// Read only: nothing is carried out.
    DryRun,
}

impl<S: DemandSource> Daemon<S> {
    /// Takes the state directory and its ledger. Only one process at a time may hold it.
    pub fn open(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        ledger: MissingLedger,
    ) -> Result<Self, StateDirError> {
        let birth = ProcessSeed::default();
        Self::open_with(settings, key_name, client, source, state_dir, ledger, birth)
    }

    /// Opens a daemon with a clock and a nonce of the caller's, for simulations that must repeat.
    pub fn open_with(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        absent: MissingLedger,
        ProcessSeed { clock, nonce }: ProcessSeed,
    ) -> Result<Self, StateDirError> {
        let locked = state_dir.lock()?;
        let read = locked.read_ledger(clock.now())?;
        if let (LedgerState::Lost { why }, MissingLedger::IsLost) = (&read, absent) {
            tracing::warn!(
                "the in-flight ledger is lost ({why}); nothing is launched for {}",
                duration::show(settings.provisioner.visibility_window)
            );
        }
        let was_held = matches!(&read, LedgerState::Known(ledger) if ledger.hold_until.is_some());
        let ledger = absent.taken_for(read);
        // A round that changes nothing writes nothing, and the next process would be held again.
        if was_held
            && let (LedgerFound::Known(ledger), MissingLedger::IsClean) = (&ledger, absent)
            && let Err(error) = locked.write_ledger(ledger)
        {
            tracing::warn!("the end of the hold is not kept: {}", error_chain(&error));
        }
        let start = Start { ledger, memory: state_dir.read_memory().unwrap_or_default(), nonce };
        let secret = match &settings.server.workers {
            Some(_) => Some(locked.stop_secret()?),
            None => None,
        };
        let state = State::Locked(Arc::new(locked));
        // Nothing depends on the record: one that cannot be read begins again.
        let record = state_dir.read_record().ok().flatten().unwrap_or_default();
        let mut daemon =
            Self::new(settings, key_name, client, source, (start, clock), state, record);
        daemon.stop_listener = secret.map(|secret| {
            let consent = daemon.engine.listen(secret, daemon.clock.now());
            StopListener::new(consent)
        });
        Ok(daemon)
    }

    /// Where workers ask whether to stop, if they may (`server.worker-listen`).
    pub fn stop_listener(&self) -> Option<&StopListener> {
        self.stop_listener.as_ref()
    }

    /// Makes a daemon that changes nothing: the ledger is read, nothing is written, and rounds end with
    /// their plan.
    pub fn dry_run(
        settings: Arc<Settings>,
        key_name: KeyName,
        client: Client,
        source: S,
        state_dir: &StateDir,
        ledger: MissingLedger,
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
            stop_listener: None,
            resolver,
            reporter,
            prices,
            record,
            trigger: Trigger::Start,
            read,
            state,
            load_unrecorded: false,
            memory_writer: MemoryWriter::default(),
            next,
        }
    }

    /// Until when nothing is launched because the ledger was lost; `None`: it was not, or long ago.
    pub fn held_until(&self) -> Option<Timestamp> {
        self.engine.ledger().hold_until.filter(|until| self.clock.now() < *until)
    }

    /// Takes the operator's word that no other daemon launches under this key-name (`--assume-alone`).
    pub fn assume_alone(&mut self) {
        self.engine.assume_alone();
    }

    /// Returns what hands this daemon another configuration while it runs.
    pub fn reloader(&self) -> Reloader<S> {
        let state = match &self.state {
            State::Locked(state) => Some(Arc::clone(state)),
            State::DryRun => None,
        };
        Reloader::new(Arc::clone(&self.settings), Arc::clone(&self.next), state)
    }

    pub(super) fn take_up_reload(&mut self) {
        let Some((settings, source)) = self.next.take() else { return };
        self.resolver.keep(|name| settings.starts_alike(&self.settings, name));
        self.engine.reconfigure(Arc::clone(&settings));
        self.settings = settings;
        if let Some(source) = source {
            self.source = source;
        }
    }
}

/// What tells one process from another that is started from the same disk.
#[derive(Clone, Debug)]
pub struct ProcessSeed {
    /// The clock beside it.
    pub clock: Clock,
    /// A number no other process has: client tokens are made from it.
    pub nonce: u64,
}

impl Default for ProcessSeed {
    /// The machine's clock, and a random nonce.
    fn default() -> Self {
        Self { clock: Clock::System, nonce: nonce() }
    }
}

/// What an absent ledger means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingLedger {
    /// What was asked for lately is not known (the normal reading).
    IsLost,
    /// The operator says that nothing is in flight (`--assume-clean`).
    IsClean,
}

impl MissingLedger {
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

/// What an engine starts from that changes nothing.
pub(super) fn peek(state_dir: &StateDir, ledger: MissingLedger) -> Result<Start, StateDirError> {
    let ledger = ledger.taken_for(state_dir.peek_ledger()?);
    Ok(Start { ledger, memory: state_dir.read_memory().unwrap_or_default(), nonce: nonce() })
}

fn nonce() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}
