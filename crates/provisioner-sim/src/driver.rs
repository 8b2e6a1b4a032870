//! The loop around an engine in virtual time, as the daemon has it in real time: observe, decide, carry
//! out, wait. Its disk keeps what was written, and it can crash between any two steps.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provisioner::internal::daemon::StopListener;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::Demand;
use provisioner::internal::domain::duration;
use provisioner::internal::domain::ids::{SubnetId, WorkerTypeName};
use provisioner::internal::domain::launch::ResolvedPlacement;
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::observed::Observation;
use provisioner::internal::engine::{
    ActionOutcome, Effect, Engine, Inputs, LedgerFound, Memory, Outcome, Plan, Report, Resolved,
    Round, Start,
};
use provisioner::internal::settings::Settings;

use crate::deployment;
use crate::world::{ROOT_DEVICE, Subnet, World};

/// Looks over a driver's shoulder. Tests check the invariants after every step, keep a story of the run,
/// and plant bugs between the engine and the world. The methods do nothing by default; those that return
/// strings return violations, of which the driver keeps a record in [`World::violations`].
pub trait Hooks {
    /// Adds a line to the story, if one is kept.
    fn tell(&mut self, _line: impl FnOnce() -> String) {}

    /// Returns the story, one line per event.
    fn story(&self) -> &[String] {
        &[]
    }

    /// May change what a restarted process finds of the ledger.
    fn restart(&mut self, _ledger: &mut Option<Ledger>) {}

    /// May change an observation before the engine gets it.
    fn observed(&mut self, _observation: &mut Observation) {}

    /// May change the demand before the engine gets it.
    fn demanded(&mut self, _demand: &mut Demand, _world: &World) {}

    /// Checks a plan, which was made from this observation.
    fn planned(
        &mut self,
        _plan: &Plan,
        _observation: &Observation,
        _world: &World,
        _settings: &Settings,
    ) -> Vec<String> {
        Vec::new()
    }

    /// May carry out an effect in place of the driver. `step` differs for every effect.
    fn instead(&mut self, _effect: &Effect, _world: &mut World, _step: u64) -> Option<Outcome> {
        None
    }

    /// Called before a call to EC2.
    fn before_call(&mut self, _: &Effect, _on_disk: Option<&Ledger>, _: &World, _: &Settings) {}

    /// Checks the world after a call to EC2.
    fn after_call(&mut self, _world: &World, _settings: &Settings) -> Vec<String> {
        Vec::new()
    }

    /// Checks what the engine reports about an effect.
    fn executed(&mut self, _: &Effect, _: &Outcome, _: &[ActionOutcome]) -> Vec<String> {
        Vec::new()
    }

    /// Checks what the engine reports about a round.
    fn round_ended(&mut self, _report: &Report) -> Vec<String> {
        Vec::new()
    }
}

/// No hooks, for runs that are not tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}

/// The files that a restarted process finds.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The in-flight ledger; `None` if it is lost.
    pub ledger: Option<Ledger>,
    /// The soft state.
    pub memory: Option<Memory>,
}

/// The end of a round.
#[derive(Debug)]
pub enum End {
    /// The plan was carried out.
    Round(Box<Report>),
    /// EC2 could not be observed. The next attempt is due at this time.
    Blind(Timestamp),
    /// The process died.
    Crashed,
}

/// At how many points around one effect the process can die.
const STEPS_PER_EFFECT: u64 = 3;

/// An engine in a world.
#[derive(Debug)]
pub struct Driver<H = NoHooks> {
    /// The world.
    pub world: World,
    /// The configuration in force.
    pub settings: Arc<Settings>,
    /// The engine.
    pub engine: Engine,
    /// The files of the process.
    pub disk: Disk,
    /// What the worker types resolve to.
    pub resolved: Resolved,
    /// The number of points so far at which the process could die, three per effect.
    pub steps: u64,
    /// The step at which it dies.
    pub crash_at: Option<u64>,
    /// Whether every round writes the soft state to disk.
    pub saves_memory: bool,
    /// The last plan.
    pub plan: Plan,
    /// The time between effects.
    pub pace: Duration,
    /// The checks of a test.
    pub hooks: H,
    /// Where workers ask this engine whether to stop.
    stop_listener: StopListener,
    restarts: u64,
}

impl<H: Hooks + Default> Driver<H> {
    /// Makes the world's subnets the places of all worker types, if there are any, with their free addresses.
    pub fn look_up_subnets(&mut self) {
        if self.world.subnets.is_empty() {
            return;
        }
        let place = |(id, subnet): (&SubnetId, &Subnet)| ResolvedPlacement {
            free_addresses: Some(subnet.free),
            ..ResolvedPlacement::new(Some(subnet.zone.clone()), Some(id.clone()))
        };
        let placements: Vec<_> = self.world.subnets.iter().map(place).collect();
        for resolved in self.resolved.values_mut().flatten() {
            resolved.placements.clone_from(&placements);
        }
    }

    /// Tells the engine of the image's volumes, as a look-up of the image does.
    pub fn look_up_image(&mut self) {
        let lasting =
            if self.world.lasting_volumes { vec![ROOT_DEVICE.to_owned()] } else { Vec::new() };
        for resolved in self.resolved.values_mut().flatten() {
            resolved.lasting_devices.clone_from(&lasting);
        }
    }

    /// Starts an engine with an empty ledger, whose worker types may use `zones`.
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
            hooks: H::default(),
            stop_listener: StopListener::default(),
            restarts: 1,
        };
        driver.listen();
        driver
    }
}

impl<H: Hooks> Driver<H> {
    /// Lets workers ask this engine whether to stop, if its settings say so.
    fn listen(&mut self) {
        self.stop_listener = StopListener::default();
        if self.settings.server.workers.is_some() {
            let consent = self.engine.listen(deployment::stop_secret(), self.clock());
            self.stop_listener = StopListener::new(consent);
            self.world.attend(self.stop_listener.clone(), self.world.caller_ahead);
        }
    }

    /// Returns where the engine's workers ask whether to stop.
    pub fn stop_listener(&self) -> &StopListener {
        &self.stop_listener
    }

    /// Returns the time of the clock of this machine.
    pub fn clock(&self) -> Timestamp {
        self.world.now.checked_add(self.world.caller_ahead).unwrap_or(self.world.now)
    }

    /// Sets the clock of this machine.
    pub fn set_clock(&mut self, ahead: SignedDuration) {
        if self.world.caller_ahead != ahead {
            self.world.caller_ahead = ahead;
            self.tell(|| format!("the clock is set to {ahead:#} ahead"));
            if self.settings.server.workers.is_some() {
                self.world.attend(self.stop_listener.clone(), ahead);
            }
        }
    }

    /// Reloads the configuration while the process runs.
    pub fn reconfigure(&mut self, settings: Arc<Settings>) {
        self.engine.reconfigure(Arc::clone(&settings));
        self.settings = settings;
    }

    /// Ends the process and starts another from the disk, perhaps with other settings.
    pub fn restart(&mut self, settings: Arc<Settings>) {
        self.restarts += 1;
        self.hooks.restart(&mut self.disk.ledger);
        self.engine = start(&settings, &self.disk, self.restarts, self.clock());
        // As the daemon does when it starts.
        self.engine.resume_paused();
        self.settings = settings;
        self.listen();
        self.tell(|| "restart".to_owned());
    }

    /// Adds a line to the story.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        tell(&mut self.hooks, self.world.now, line);
    }

    /// Returns the story that the hooks keep, one line per event.
    pub fn story(&self) -> &[String] {
        self.hooks.story()
    }

    /// Reads the queue, then EC2. Returns `None` if EC2 does not answer.
    pub fn read(&mut self) -> Option<Read> {
        let configured = |name: &WorkerTypeName| self.settings.worker_types.contains_key(name);
        let tracked = self.engine.tracked();
        let (mut demand, slow) = self.world.demand(configured);
        self.world.advance(clock::after(self.world.now, slow));
        let mut observation = match self.world.describe(&tracked) {
            Ok(observation) => observation,
            Err(refusal) => {
                self.tell(|| format!("no observation: {}", refusal.code));
                return None;
            }
        };
        self.hooks.observed(&mut observation);
        if let Ok(demand) = &mut demand {
            self.hooks.demanded(demand, &self.world);
        }
        Some(Read { observation, demand })
    }

    /// Begins a round with what was read.
    pub fn begin(&mut self, read: &Read) -> Round<'_> {
        let now = self.clock();
        let inputs = read.inputs(&self.resolved, now);
        self.engine.begin_round(inputs, &mut self.stop_listener.lock(), now)
    }

    /// Reads, and returns the plan of a round that goes no further. Returns `None` if EC2 does not answer.
    pub fn plan_only(&mut self) -> Option<Plan> {
        let read = self.read()?;
        Some(self.begin(&read).plan().clone())
    }

    /// Runs a round. Calls `watch` with every effect and its outcome.
    pub fn round_watched(
        &mut self,
        mut watch: impl FnMut(&Effect, &Outcome, &[ActionOutcome]),
    ) -> End {
        let started = self.clock();
        let Some(read) = self.read() else {
            let now = self.clock();
            let mut consent = self.stop_listener.lock();
            return End::Blind(self.engine.round_failed(&mut consent, now));
        };
        let now = self.clock();
        let Self { world, settings, engine, disk, resolved, hooks, stop_listener, .. } = self;
        let mut scene = Scene {
            world,
            settings,
            disk,
            hooks,
            steps: &mut self.steps,
            crash_at: self.crash_at,
            pace: self.pace,
        };
        let inputs = read.inputs(resolved, now);
        let mut round = engine.begin_round(inputs, &mut stop_listener.lock(), now);
        self.plan = round.plan().clone();
        scene.planned(&self.plan, &read.observation);
        while let Some(effect) = round.next_effect(scene.clock()) {
            if scene.crashes() {
                return End::Crashed;
            }
            scene.world.advance(clock::after(scene.world.now, scene.pace));
            let outcome = scene.carry_out(&effect);
            if scene.crashes() {
                return End::Crashed;
            }
            let executed = round.outcome(outcome.clone(), scene.clock());
            let violations = scene.hooks.executed(&effect, &outcome, &executed);
            scene.fail_all(violations);
            watch(&effect, &outcome, &executed);
            if scene.crashes() {
                return End::Crashed;
            }
        }
        let report = round.end(scene.clock());
        scene.round_ended(&report, started);
        if self.saves_memory {
            self.disk.memory = Some(self.engine.memory().clone());
        }
        End::Round(Box::new(report))
    }

    /// Runs a round.
    pub fn round(&mut self) -> End {
        self.round_watched(|_, _, _| {})
    }

    /// Runs rounds until `until`, and restarts the process when it crashes.
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

    /// Waits until `wake`, and at least for the time that a computer needs for a round.
    pub fn wait(&mut self, wake: Timestamp) {
        let wait = clock::age(self.clock(), wake).max(Duration::from_millis(100));
        self.world.advance(clock::after(self.world.now, wait));
    }

    /// Returns all violations so far as an error.
    ///
    /// # Errors
    ///
    /// There was a violation.
    pub fn sound(&self) -> Result<(), String> {
        if self.world.violations.is_empty() {
            return Ok(());
        }
        Err(format!("{:#?}", self.world.violations))
    }

    /// Asserts that there was no violation, and prints the end of the story if there was one.
    ///
    /// # Panics
    ///
    /// There was a violation.
    pub fn assert_sound(&self, what: &str) {
        let story = self.story();
        assert!(
            self.world.violations.is_empty(),
            "{what}: {:#?}\n{}",
            self.world.violations,
            story[story.len().saturating_sub(60)..].join("\n")
        );
    }
}

/// What was read for one round.
#[derive(Clone, Debug)]
pub struct Read {
    /// What EC2 showed.
    pub observation: Observation,
    /// What the queue answered.
    pub demand: Result<Demand, String>,
}

impl Read {
    /// The inputs of a round that is decided at once.
    pub fn inputs<'r, 'i>(&'i self, resolved: &'r Resolved, now: Timestamp) -> Inputs<'r, 'i> {
        let demand = self.demand.clone();
        Inputs { resolved, observation: &self.observation, observed: now, demand }
    }
}

/// What happens around a round under way: all of the driver but its engine.
struct Scene<'a, H> {
    world: &'a mut World,
    settings: &'a Settings,
    disk: &'a mut Disk,
    hooks: &'a mut H,
    steps: &'a mut u64,
    crash_at: Option<u64>,
    pace: Duration,
}

impl<H: Hooks> Scene<'_, H> {
    fn clock(&self) -> Timestamp {
        self.world.now.checked_add(self.world.caller_ahead).unwrap_or(self.world.now)
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        tell(self.hooks, self.world.now, line);
    }

    /// Records a violation.
    fn fail(&mut self, violation: String) {
        self.tell(|| format!("VIOLATION {violation}"));
        self.world.violations.push(violation);
    }

    fn fail_all(&mut self, violations: Vec<String>) {
        for violation in violations {
            self.fail(violation);
        }
    }

    fn planned(&mut self, plan: &Plan, observation: &Observation) {
        let violations = self.hooks.planned(plan, observation, self.world, self.settings);
        self.fail_all(violations);
        for action in &plan.actions {
            self.tell(|| {
                format!(
                    "plan {} {} [{}]: {}",
                    action.kind.as_str(),
                    action.kind.count(),
                    action.kind.ids().join(" "),
                    action.reason.text
                )
            });
        }
    }

    fn round_ended(&mut self, report: &Report, started: Timestamp) {
        let violations = self.hooks.round_ended(report);
        self.fail_all(violations);
        if report.wake < clock::after(started, self.settings.provisioner.min_interval) {
            self.fail(format!("the next round is due at {}, too soon", report.wake));
        }
    }

    /// Returns whether the process dies here: before an effect, after it, or after the engine knows its
    /// outcome.
    fn crashes(&mut self) -> bool {
        *self.steps += 1;
        let crashes = self.crash_at == Some(*self.steps);
        if crashes {
            let effect = *self.steps / STEPS_PER_EFFECT;
            let step = *self.steps % STEPS_PER_EFFECT;
            self.tell(|| format!("CRASH at step {step} of effect {effect}"));
        }
        crashes
    }

    fn carry_out(&mut self, effect: &Effect) -> Outcome {
        if let Effect::PersistLedger(ledger) = effect {
            let instead = self.hooks.instead(effect, self.world, *self.steps);
            return instead.unwrap_or_else(|| self.persist(ledger));
        }
        let on_disk = self.disk.ledger.as_ref();
        self.hooks.before_call(effect, on_disk, self.world, self.settings);
        let instead = self.hooks.instead(effect, self.world, *self.steps);
        let outcome = instead.unwrap_or_else(|| self.world.execute(effect));
        self.tell(|| match effect {
            Effect::Request(call) => {
                let pool = call.pool();
                format!("request {} {pool} of {}: {outcome:?}", call.count, call.worker_type)
            }
            effect => format!("{effect:?}: {outcome:?}"),
        });
        let violations = self.hooks.after_call(self.world, self.settings);
        self.fail_all(violations);
        outcome
    }

    fn persist(&mut self, ledger: &Ledger) -> Outcome {
        if self.world.network.percent(self.world.faults.disk) {
            return Outcome::NotPersisted("no space left on device".to_owned());
        }
        self.disk.ledger = Some(ledger.clone());
        Outcome::Done
    }
}

fn tell(hooks: &mut impl Hooks, now: Timestamp, line: impl FnOnce() -> String) {
    hooks.tell(|| {
        let at = duration::show(clock::age(deployment::start(), now));
        format!("{at:>9} {}", line())
    });
}

fn start(settings: &Arc<Settings>, disk: &Disk, nonce: u64, now: Timestamp) -> Engine {
    let ledger = match disk.ledger.as_ref().and_then(through_json) {
        Some(ledger) => LedgerFound::Known(ledger),
        None => LedgerFound::Lost,
    };
    let memory = disk.memory.as_ref().and_then(through_json).unwrap_or_default();
    Engine::new(Arc::clone(settings), deployment::key(), Start { ledger, memory, nonce }, now)
}

/// Serialises and parses a value like the disk does, so that a field that is not serialised is lost.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> Option<T> {
    serde_json::from_str(&serde_json::to_string(value).ok()?).ok()
}
