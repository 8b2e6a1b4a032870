//! Capacity policies: how many instances a worker type should have on the way.
//!
//! A policy sees the numbers of one worker type and answers with a target; it does not act. The engine cuts the
//! target to the limits afterwards and checks the plan again. A policy keeps what it learns in its
//! [`PolicyMemory`]. The same code runs in the daemon and in the policy simulator.
//!
//! The time that a decision takes does not depend on the number of tasks or instances.

mod adaptive;
mod basic;
mod memory;
mod spelling;
mod why;
mod worker_manager;

use std::time::Duration;

use jiff::Timestamp;

pub use adaptive::Adaptive;
pub(crate) use adaptive::Comparison;
pub use memory::PolicyMemory;
pub use spelling::PolicyError;
pub(crate) use why::Why;
pub(crate) use worker_manager::WorkerManager;

/// One worker type in numbers, as a round sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The time of the round.
    pub now: Timestamp,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks that run; `None` if the queue does not report them.
    pub running: Option<u64>,
    /// Open requests and launches in flight, which are expected to become instances.
    pub requested: u64,
    /// Instances that are expected to take tasks and have not taken one yet. Workers that do not report
    /// that they are ready count as booting until they take a task.
    pub booting: u64,
    /// Instances that are known or presumed to run no task.
    pub idle: u64,
    /// Instances that are known or presumed to run tasks.
    pub busy: u64,
    /// Instances whose activity is not known.
    pub unknown: u64,
    /// Instances that are about to end.
    pub stopping: u64,
    /// Tasks that running and booting instances can take in addition to those they run.
    pub free_slots: u64,
    /// The minimum number of instances.
    pub min: u64,
    /// The maximum number of instances.
    pub max: u64,
    /// Tasks that one instance runs at a time; at least 1.
    pub tasks_per_instance: u64,
    /// The longest time for which workers stay up idle.
    pub idle_timeout: Duration,
    /// Whether more may be requested than is needed. Not while calls are throttled or a quota is used up.
    pub may_hedge: bool,
    /// Whether idle workers stop when they are asked to; only then `CapacityTarget::let_go` has an effect.
    pub workers_consent: bool,
}

impl Situation {
    /// Returns a situation without tasks, requests and instances.
    pub fn nothing(now: Timestamp) -> Self {
        Self {
            now,
            pending: 0,
            running: None,
            requested: 0,
            booting: 0,
            idle: 0,
            busy: 0,
            unknown: 0,
            stopping: 0,
            free_slots: 0,
            min: 0,
            max: 0,
            tasks_per_instance: 1,
            idle_timeout: Duration::from_mins(15),
            may_hedge: true,
            workers_consent: false,
        }
    }

    /// Returns the number of instances that are up, whether or not their activity is known.
    fn up(&self) -> u64 {
        self.idle + self.busy + self.unknown
    }

    /// Returns how many instances the pending tasks need in addition to the existing ones.
    fn short(&self) -> u64 {
        self.pending.saturating_sub(self.free_slots).div_ceil(self.tasks_per_instance.max(1))
    }
}

/// How much capacity a policy wants for one worker type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityTarget {
    /// How many requests should be open or in flight. Surplus ones are cancelled, missing ones are made.
    pub coming: u64,
    /// How many of them only keep the minimum.
    pub for_minimum: u64,
    /// How many of them are needed for tasks or the minimum. The others are requested in excess or in advance.
    pub needed: u64,
    /// How many instances there should be in total.
    pub wanted: u64,
    /// How many idle workers should be asked to stop, the longest idle first.
    ///
    /// This has an effect only where workers consent. An instance is never ended merely because the queue
    /// reports it as idle, since the next task may be on its way to it.
    pub let_go: u64,
    /// The numbers that decided.
    pub why: Why,
}

/// A policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The rule.
    pub rule: Rule,
}

/// The rule by which a policy decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The rules of 2014, corrected.
    Basic,
    /// The estimator of Taskcluster's worker-manager.
    WorkerManager(WorkerManager),
    /// The policy of this project.
    Adaptive(Adaptive),
}

impl From<Rule> for Policy {
    fn from(rule: Rule) -> Self {
        Self { rule }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Rule::Adaptive(Adaptive::default()).into()
    }
}

impl Policy {
    /// The rules of 2014, corrected.
    pub const BASIC: Self = Self { rule: Rule::Basic };

    /// Returns the target in `situation`. Must be called once per round, because `memory` learns from each call.
    pub fn target(&self, situation: &Situation, memory: &mut PolicyMemory) -> CapacityTarget {
        match &self.rule {
            Rule::Basic => basic::target(situation),
            Rule::WorkerManager(worker_manager) => worker_manager.target(situation),
            Rule::Adaptive(adaptive) => adaptive.target(situation, memory),
        }
    }

    /// Whether the policy uses its memory.
    pub fn learns(&self) -> bool {
        matches!(self.rule, Rule::Adaptive(_))
    }

    /// Whether the policy itself decides how many idle workers stop, where they consent.
    pub fn lets_go(&self) -> bool {
        matches!(self.rule, Rule::Adaptive(_))
    }
}
