//! The event loop around an engine in virtual time, as the daemon has it in real time: look, decide, carry
//! out, wait; with a disk that holds what was written, and crashes between any two steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provisioner::domain::clock;
use provisioner::domain::ids::WorkerTypeName;
use provisioner::domain::launch::ResolvedWorkerType;
use provisioner::domain::ledger::Ledger;
use provisioner::domain::observed::Observation;
use provisioner::engine::{
    ActionOutcome, Desk, Effect, Engine, LedgerFound, Memory, Outcome, Plan, Report, Start,
};
use provisioner::settings::Settings;

use crate::deployment;
use crate::judge::Judge;
use crate::sabotage::Sabotage;
use crate::world::World;

/// What a restarted process finds.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The in-flight ledger; `None`: it is lost.
    pub ledger: Option<Ledger>,
    /// The soft state.
    pub memory: Option<Memory>,
}

/// How a round ended.
#[derive(Debug)]
pub enum End {
    /// Decided and carried out.
    Round(Box<Report>),
    /// EC2 could not be looked at; the next try is due then.
    Blind(Timestamp),
    /// The process died.
    Crashed,
}

/// Where a process can die around one effect.
const STEPS_PER_EFFECT: u64 = 3;

/// An engine in a world.
#[derive(Debug)]
pub struct Driver {
    /// The world.
    pub world: World,
    /// The configuration in force.
    pub settings: Arc<Settings>,
    /// The engine.
    pub engine: Engine,
    /// What is on disk.
    pub disk: Disk,
    /// What worker types resolve to.
    pub resolved: BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    /// Steps so far at which a process can crash: three per effect.
    pub steps: u64,
    /// At which of them it does.
    pub crash_at: Option<u64>,
    /// Whether a round leaves its memory on disk.
    pub saves_memory: bool,
    /// The last plan.
    pub plan: Plan,
    /// A time between effects.
    pub pace: Duration,
    /// How far this machine's clock is ahead of EC2's.
    pub skew: SignedDuration,
    /// What holds every step against what must hold; none where speed matters.
    pub judge: Option<Judge>,
    /// A bug that is planted, to see whether it is caught.
    pub sabotage: Option<Sabotage>,
    /// What happened, a line each; kept only under a judge.
    pub story: Vec<String>,
    /// The last look, for the judge.
    observation: Observation,
    /// What the engine was told that worker types resolve to.
    told: BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    restarts: u64,
}

impl Driver {
    /// Starts an engine with an empty ledger, whose worker types may use `zones`. Every step is judged.
    pub fn new(world: World, zones: &[&str]) -> Self {
        let settings = Arc::clone(&world.settings);
        let resolved = settings
            .worker_types
            .keys()
            .map(|name| (name.clone(), Ok(deployment::resolved_under(&settings, name, zones))))
            .collect();
        let disk = Disk { ledger: Some(Ledger::default()), memory: None };
        let mut driver = Self {
            engine: start(&settings, &disk, 1, world.now),
            world,
            settings,
            disk,
            resolved,
            steps: 0,
            crash_at: None,
            saves_memory: true,
            plan: Plan::default(),
            pace: Duration::ZERO,
            skew: SignedDuration::ZERO,
            judge: Some(Judge::default()),
            sabotage: None,
            story: Vec::new(),
            observation: Observation::default(),
            told: BTreeMap::new(),
            restarts: 1,
        };
        driver.listen();
        driver
    }

    /// Lets workers ask this engine whether to stop, if its settings say so.
    fn listen(&mut self) {
        if self.settings.server.workers.is_some() {
            let desk = self.engine.listen(deployment::stop_secret(), self.clock());
            self.world.attend(desk, self.skew);
        }
    }

    /// Where its workers ask whether to stop.
    pub fn desk(&self) -> &Desk {
        self.engine.desk()
    }

    /// What the clock beside the engine shows.
    pub fn clock(&self) -> Timestamp {
        self.world.now.checked_add(self.skew).unwrap_or(self.world.now)
    }

    /// The clock beside the engine is set: so far ahead of EC2's.
    pub fn set_clock(&mut self, ahead: SignedDuration) {
        if self.skew != ahead {
            self.skew = ahead;
            self.tell(|| format!("the clock is set to {ahead:#} ahead"));
            if self.settings.server.workers.is_some() {
                self.world.attend(self.engine.desk().clone(), ahead);
            }
        }
    }

    /// The process reads its configuration anew, and goes on.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) {
        self.engine.reconfigure(Arc::clone(&settings));
        self.settings = settings;
        // It forgot what changed worker types resolve to.
        self.told.clear();
    }

    /// The process ends and another starts from the disk, maybe with other settings.
    pub fn restart(&mut self, settings: Arc<Settings>) {
        self.restarts += 1;
        if let Some(sabotage) = self.sabotage {
            self.disk.ledger = sabotage.ledger(self.disk.ledger.take());
        }
        self.engine = start(&settings, &self.disk, self.restarts, self.clock());
        self.settings = settings;
        self.listen();
        self.told.clear();
        self.tell(|| "restart".to_owned());
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        if self.judge.is_some() {
            let at = clock::show(clock::age(deployment::start(), self.world.now));
            self.story.push(format!("{at:>9} {}", line()));
        }
    }

    /// Notes what must not happen and did.
    pub fn fail(&mut self, what: String) {
        self.tell(|| format!("VIOLATION {what}"));
        self.world.violations.push(what);
    }

    /// Reads the queue, then EC2, and tells the engine. Returns whether EC2 answered.
    pub fn look(&mut self) -> bool {
        let configured = |name: &WorkerTypeName| self.settings.worker_types.contains_key(name);
        let tracked = self.engine.tracked();
        let (mut demand, slow) = self.world.demand(configured);
        self.world.advance(clock::after(self.world.now, slow));
        let mut observation = match self.world.look(&tracked) {
            Ok(observation) => observation,
            Err(refusal) => {
                self.tell(|| format!("no look: {}", refusal.code));
                return false;
            }
        };
        if let Some(sabotage) = self.sabotage {
            observation = sabotage.observation(observation);
            demand = demand.map(|demand| sabotage.demand(demand, &self.world));
        }
        self.tell_resolved();
        self.engine.observe(&observation, self.clock());
        self.observation = observation;
        self.engine.demand(demand);
        true
    }

    fn tell_resolved(&mut self) {
        for (name, resolved) in &self.resolved {
            if self.told.get(name) != Some(resolved) {
                self.engine.resolve(name, resolved.clone());
                self.told.insert(name.clone(), resolved.clone());
            }
        }
    }

    /// One whole round. `hear` is told of every effect and how it went.
    pub fn round_told(&mut self, mut hear: impl FnMut(&Effect, &Outcome, &[ActionOutcome])) -> End {
        let started = self.clock();
        if !self.look() {
            return End::Blind(self.engine.round_failed(self.clock()));
        }
        self.plan = self.engine.begin_round(self.clock()).clone();
        if let Some(judge) = &self.judge {
            let verdicts = judge.plan(&self.plan, &self.observation, &self.world, &self.settings);
            self.convict(verdicts);
        }
        for i in 0..self.plan.actions.len() {
            self.tell_action(i);
        }
        while let Some(effect) = self.engine.next_effect(self.clock()) {
            if self.crashes() {
                return End::Crashed;
            }
            self.world.advance(clock::after(self.world.now, self.pace));
            let outcome = self.carry_out(&effect);
            if self.crashes() {
                return End::Crashed;
            }
            let executed = self.engine.outcome(outcome.clone(), self.clock());
            if self.judge.is_some() {
                let verdicts = Judge::conserved(&effect, &outcome, &executed);
                self.convict(verdicts);
            }
            hear(&effect, &outcome, &executed);
            if self.crashes() {
                return End::Crashed;
            }
        }
        let Some(report) = self.engine.end_round(self.clock()) else {
            self.fail("a round that has begun cannot be ended".to_owned());
            return End::Blind(clock::after(self.clock(), Duration::from_secs(1)));
        };
        if self.judge.is_some() {
            self.convict(Judge::accounted(&report));
        }
        if report.wake < clock::after(started, self.settings.provisioner.min_interval) {
            self.fail(format!("the next round is due at {}, too soon", report.wake));
        }
        if self.saves_memory {
            self.disk.memory = Some(self.engine.memory().clone());
        }
        End::Round(Box::new(report))
    }

    /// One whole round.
    pub fn round(&mut self) -> End {
        self.round_told(|_, _, _| {})
    }

    fn tell_action(&mut self, i: usize) {
        if self.judge.is_none() {
            return;
        }
        let action = &self.plan.actions[i];
        let line = format!(
            "plan {} {} [{}]: {}",
            action.kind.as_str(),
            action.kind.count(),
            action.kind.ids().join(" "),
            action.reason.text
        );
        self.tell(|| line);
    }

    fn convict(&mut self, verdicts: Vec<String>) {
        for verdict in verdicts {
            self.fail(verdict);
        }
    }

    /// A crash before the effect, after it, or after its outcome was told.
    fn crashes(&mut self) -> bool {
        self.steps += 1;
        let crashes = self.crash_at == Some(self.steps);
        if crashes {
            let (effect, at) = (self.steps / STEPS_PER_EFFECT, self.steps % STEPS_PER_EFFECT);
            self.tell(|| format!("CRASH at step {at} of effect {effect}"));
        }
        crashes
    }

    fn carry_out(&mut self, effect: &Effect) -> Outcome {
        let skips =
            matches!(effect, Effect::PersistLedger(_)) && self.sabotage == Some(Sabotage::SkipSync);
        if let Effect::PersistLedger(ledger) = effect
            && !skips
        {
            if self.world.network.percent(self.world.faults.disk) {
                return Outcome::NotPersisted("no space left on device".to_owned());
            }
            self.disk.ledger = Some(Ledger::clone(ledger));
            return Outcome::Done;
        }
        let Some(judge) = self.judge else { return self.execute(effect) };
        let before = judge.before(effect, self.disk.ledger.as_ref(), &self.world, &self.settings);
        let outcome = self.execute(effect);
        self.tell(|| match effect {
            Effect::Request(call) => {
                format!(
                    "request {} {} of {}: {outcome:?}",
                    call.count,
                    call.pool(),
                    call.worker_type
                )
            }
            effect => format!("{effect:?}: {outcome:?}"),
        });
        let verdicts = judge.after(before, &self.world, &self.settings);
        self.convict(verdicts);
        outcome
    }

    fn execute(&mut self, effect: &Effect) -> Outcome {
        let sabotaged =
            self.sabotage.and_then(|it| it.execute(effect, &mut self.world, self.steps));
        sabotaged.unwrap_or_else(|| self.world.execute(effect))
    }

    /// Rounds until `until`, with restarts where it crashes.
    pub fn run(&mut self, until: Timestamp) {
        while self.world.now < until {
            let wake = match self.round() {
                End::Round(report) => report.wake,
                End::Blind(wake) => wake,
                End::Crashed => {
                    self.restart(Arc::clone(&self.settings));
                    clock::after(self.clock(), Duration::from_secs(2))
                }
            };
            self.wait(wake);
        }
    }

    /// Until `wake`, or for the least a computer takes if the round was long.
    pub fn wait(&mut self, wake: Timestamp) {
        let wait = clock::age(self.clock(), wake).max(Duration::from_millis(100));
        self.world.advance(clock::after(self.world.now, wait));
    }

    /// What must not happen and did, if it did.
    ///
    /// # Errors
    ///
    /// It did.
    pub fn sound(&self) -> Result<(), String> {
        if self.world.violations.is_empty() {
            return Ok(());
        }
        Err(format!("{:#?}", self.world.violations))
    }

    /// Fails with the story, if something forbidden happened.
    ///
    /// # Panics
    ///
    /// Something forbidden happened.
    pub fn assert_sound(&self, what: &str) {
        let last = self.story.len().saturating_sub(60);
        assert!(
            self.world.violations.is_empty(),
            "{what}: {:#?}\n{}",
            self.world.violations,
            self.story[last..].join("\n")
        );
    }
}

fn start(settings: &Arc<Settings>, disk: &Disk, nonce: u64, now: Timestamp) -> Engine {
    let ledger = match disk.ledger.as_ref().and_then(through_json) {
        Some(ledger) => LedgerFound::Known(ledger),
        None => LedgerFound::Lost,
    };
    let memory = disk.memory.as_ref().and_then(through_json).unwrap_or_default();
    Engine::new(Arc::clone(settings), deployment::key(), Start { ledger, memory, nonce }, now)
}

/// As the disk keeps it: what is not serialised is lost.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Option<T> {
    serde_json::from_str(&serde_json::to_string(value).ok()?).ok()
}
