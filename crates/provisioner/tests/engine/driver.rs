//! The event loop around an engine, as the daemon has it: look, decide, carry out, wait; with a disk
//! that holds what was written, and crashes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::clock;
use provisioner::engine::{
    ActionKind, Effect, Engine, ExecutedResult, LedgerFound, Memory, NoteKind, Outcome, Plan,
    ReasonKind, Report, Start,
};
use provisioner::ids::WorkerTypeName;
use provisioner::launch::ResolvedWorkerType;
use provisioner::ledger::Ledger;
use provisioner::observed::{InstanceState, Observation};
use provisioner::settings::Settings;

use crate::scenario::key;
use crate::world::World;

/// What a restarted process finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) ledger: Option<Ledger>,
    pub(crate) memory: Option<Memory>,
}

/// How a round ended.
#[derive(Debug)]
pub(crate) enum End {
    Round(Report),
    Crashed,
}

pub(crate) struct Driver {
    pub(crate) world: World,
    pub(crate) settings: Arc<Settings>,
    pub(crate) engine: Engine,
    pub(crate) disk: Disk,
    pub(crate) resolved: BTreeMap<WorkerTypeName, Result<ResolvedWorkerType, String>>,
    /// Steps so far at which a process can crash: three per effect.
    pub(crate) steps: u64,
    /// At which of them it does.
    pub(crate) crash_at: Option<u64>,
    /// Whether a round leaves its memory on disk.
    pub(crate) saves_memory: bool,
    pub(crate) plan: Plan,
    /// Every maximum and fence holds from here on: a maximum was lowered before.
    pub(crate) exempt: bool,
    /// A time between effects.
    pub(crate) pace: Duration,
    pub(crate) story: Vec<String>,
    restarts: u64,
}

impl Driver {
    pub(crate) fn new(world: World, zones: &[&str]) -> Self {
        let settings = Arc::clone(&world.settings);
        let resolved = settings
            .worker_types
            .keys()
            .map(|name| (name.clone(), Ok(crate::scenario::resolved(zones))))
            .collect();
        let disk = Disk { ledger: Some(Ledger::default()), memory: None };
        Self {
            engine: start(&settings, &disk, 1, world.now),
            world,
            settings,
            disk,
            resolved,
            steps: 0,
            crash_at: None,
            saves_memory: true,
            plan: Plan::default(),
            exempt: false,
            pace: Duration::ZERO,
            story: Vec::new(),
            restarts: 1,
        }
    }

    /// The process ends and another starts from the disk, maybe with other settings.
    pub(crate) fn restart(&mut self, settings: Arc<Settings>) {
        self.restarts += 1;
        self.engine = start(&settings, &self.disk, self.restarts, self.world.now);
        self.settings = settings;
        self.tell("restart");
    }

    fn tell(&mut self, line: &str) {
        let at = clock::show(clock::age(crate::scenario::start(), self.world.now));
        self.story.push(format!("{at:>9} {line}"));
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.tell(&format!("VIOLATION {what}"));
        self.world.violations.push(what);
    }

    /// Looks at the queue, then at EC2, and tells the engine.
    pub(crate) fn look(&mut self) -> Observation {
        let configured = |name: &WorkerTypeName| self.settings.worker_types.contains_key(name);
        let demand = self.world.queue.demand(configured);
        let observation = self.world.observe(&self.engine.tracked());
        self.world.looked = self.world.now;
        for (name, resolved) in &self.resolved {
            self.engine.resolve(name, resolved.clone());
        }
        self.engine.observe(&observation, self.world.now);
        self.engine.demand(demand);
        observation
    }

    /// One whole round.
    pub(crate) fn round(&mut self) -> End {
        let started = self.world.now;
        let observation = self.look();
        let plan = self.engine.begin_round(self.world.now).clone();
        self.judge(&plan, &observation);
        if !plan.actions.is_empty() {
            for action in &plan.actions {
                let kind = action.kind.as_str();
                let ids = action.kind.ids().join(" ");
                let count = action.kind.count();
                self.tell(&format!("plan {kind} {count} [{ids}]: {}", action.reason.text));
            }
        }
        self.plan = plan;
        while let Some(effect) = self.engine.next_effect(self.world.now) {
            if self.crashes() {
                return End::Crashed;
            }
            self.world.advance(clock::after(self.world.now, self.pace));
            let outcome = self.carry_out(&effect);
            if self.crashes() {
                return End::Crashed;
            }
            self.conserve(&effect, &outcome);
            if self.crashes() {
                return End::Crashed;
            }
        }
        let report = self.engine.end_round(self.world.now).unwrap();
        if report.wake < clock::after(started, self.settings.provisioner.min_interval) {
            self.fail(format!("the next round is due at {}, too soon", report.wake));
        }
        if self.saves_memory {
            self.disk.memory = Some(self.engine.memory().clone());
        }
        End::Round(report)
    }

    fn crashes(&mut self) -> bool {
        self.steps += 1;
        let crashes = self.crash_at == Some(self.steps);
        if crashes {
            self.tell(&format!("CRASH at step {}", self.steps));
        }
        crashes
    }

    fn carry_out(&mut self, effect: &Effect) -> Outcome {
        if let Effect::PersistLedger(ledger) = effect {
            let percent = self.world.faults.disk;
            if self.world.chance.chance(percent) {
                return Outcome::NotPersisted("no space left on device".to_owned());
            }
            self.disk.ledger = Some(Ledger::clone(ledger));
            return Outcome::Done;
        }
        if let Effect::Request(call) = effect {
            let on_disk = self.disk.ledger.as_ref();
            let intent = on_disk.and_then(|ledger| ledger.intents.get(&call.token));
            if intent.is_none_or(|intent| intent.call != **call) {
                self.fail(format!("a call without an intent on disk: {}", call.token));
            }
        }
        let before: BTreeMap<_, _> = self.counts();
        let (total, usd) = self.world.total();
        let outcome = self.world.execute(effect);
        if let Effect::Request(call) = effect {
            self.tell(&format!(
                "request {} {} of {}: {outcome:?}",
                call.count,
                call.pool(),
                call.worker_type
            ));
        } else {
            self.tell(&format!("{effect:?}: {outcome:?}"));
        }
        self.fences(&before, total, usd);
        outcome
    }

    fn counts(&self) -> BTreeMap<WorkerTypeName, u64> {
        let types = self.settings.worker_types.keys();
        types.map(|name| (name.clone(), self.world.count(name))).collect()
    }

    /// No step may add anything over a maximum or a fence.
    fn fences(
        &mut self,
        before: &BTreeMap<WorkerTypeName, u64>,
        total_before: u64,
        usd_before: provisioner::money::UsdPerHour,
    ) {
        if self.exempt {
            return;
        }
        for (name, worker_type) in &self.settings.clone().worker_types {
            let n = self.world.count(name);
            if n > worker_type.max_instances && n > before[name] {
                self.fail(format!("{n} of `{name}`, at most {}", worker_type.max_instances));
            }
        }
        let (total, usd) = self.world.total();
        let limits = self.settings.limits.clone();
        if let Some(most) =
            limits.max_instances.filter(|most| total > *most && total > total_before)
        {
            self.fail(format!("{total} instances in all, at most {most}"));
        }
        if let Some(most) = limits.max_usd_per_hour.filter(|most| usd > *most && usd > usd_before) {
            self.fail(format!("{usd} USD per hour, at most {most}"));
        }
    }

    /// Asked = granted + refused, in what the engine reports of each call.
    fn conserve(&mut self, effect: &Effect, outcome: &Outcome) {
        let executed = self.engine.outcome(outcome.clone(), self.world.now);
        if let (Effect::Request(call), Outcome::Requested(granted)) = (effect, outcome) {
            let done = executed.iter().find_map(|one| match &one.result {
                ExecutedResult::Done(ids) => Some(ids.len()),
                ExecutedResult::Refused(_) | ExecutedResult::Unknown(_) => None,
            });
            if done != Some(granted.len()) || granted.len() > call.count as usize {
                self.fail(format!(
                    "granted {} of {}, reported {done:?}",
                    granted.len(),
                    call.count
                ));
            }
        }
    }

    /// What must hold of every plan.
    fn judge(&mut self, plan: &Plan, observation: &Observation) {
        for note in &plan.notes {
            if note.kind == NoteKind::CheckFailed {
                self.fail(format!("the check failed: {}", note.text));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        let demand_known = !self.world.queue.down;
        for action in &plan.actions {
            let reason = action.reason.kind;
            for id in action.kind.ids() {
                if !seen.insert(id.to_owned()) {
                    self.fail(format!("{id} twice in one plan"));
                }
                let observed = match action.kind {
                    ActionKind::Cancel(_) => {
                        observation.spot_requests.iter().any(|r| r.id.as_str() == id)
                    }
                    _ => observation.instances.iter().any(|i| i.id.as_str() == id),
                };
                if !observed {
                    self.fail(format!("{id} was not observed"));
                }
            }
            if !demand_known
                && matches!(
                    reason,
                    ReasonKind::NoDemand
                        | ReasonKind::PendingTasks
                        | ReasonKind::BelowMinimum
                        | ReasonKind::NeverClaimed
                        | ReasonKind::Retired
                )
                && !matches!(action.kind, ActionKind::Cancel(_) if reason == ReasonKind::Retired)
            {
                self.fail(format!("{reason} while the demand is unknown"));
            }
            if let ActionKind::Terminate(ids) = &action.kind {
                if !demand_known
                    && matches!(reason, ReasonKind::OverMaximum | ReasonKind::OverLimit)
                {
                    self.fail(format!("{reason} kills while the demand is unknown"));
                }
                for id in ids {
                    let busy = self.world.queue.runs(id) > 0;
                    let for_idleness =
                        matches!(reason, ReasonKind::NeverClaimed | ReasonKind::Retired);
                    if busy && for_idleness {
                        self.fail(format!("{id} is busy and ended: {reason}"));
                    }
                    let stopped = self.world.state(id).is_none_or(|state| {
                        !matches!(state, InstanceState::Running | InstanceState::Pending)
                    });
                    if reason == ReasonKind::Stopped && !stopped {
                        self.fail(format!("{id} is ended as stopped and is not"));
                    }
                }
            }
        }
        self.judge_direction(plan);
    }

    /// No worker type grows and shrinks for demand in one plan.
    fn judge_direction(&mut self, plan: &Plan) {
        for name in self.settings.clone().worker_types.keys() {
            let has = |kinds: &[ReasonKind]| {
                plan.actions.iter().any(|action| {
                    action.worker_type.as_ref() == Some(name) && kinds.contains(&action.reason.kind)
                })
            };
            if has(&[ReasonKind::PendingTasks, ReasonKind::BelowMinimum])
                && has(&[ReasonKind::NoDemand])
            {
                self.fail(format!("`{name}` grows and shrinks in one plan"));
            }
        }
    }

    /// Rounds until `until`, with restarts where it crashes.
    pub(crate) fn run(&mut self, until: Timestamp) {
        while self.world.now < until {
            let wake = match self.round() {
                End::Round(report) => report.wake,
                End::Crashed => {
                    self.restart(Arc::clone(&self.settings));
                    clock::after(self.world.now, Duration::from_secs(2))
                }
            };
            self.wait(wake);
        }
    }

    /// Until `wake`, or for the least a computer takes if the round was long.
    pub(crate) fn wait(&mut self, wake: Timestamp) {
        self.world.advance(wake.max(clock::after(self.world.now, Duration::from_millis(100))));
    }

    /// Fails the test with the story, if something forbidden happened.
    pub(crate) fn assert_sound(&self, what: &str) {
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
    let ledger = match &disk.ledger {
        Some(ledger) => LedgerFound::Known(through_json(ledger)),
        None => LedgerFound::Lost,
    };
    let memory = disk.memory.as_ref().map_or_else(Memory::default, through_json);
    Engine::new(Arc::clone(settings), key(), Start { ledger, memory, nonce }, now)
}

/// As the disk keeps it: what is not serialised is lost.
fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}
