//! Capacity policies: how many instances a worker type should have on the way.
//!
//! A policy sees one worker type's numbers and wishes; it neither knows limits nor acts. What it wishes is
//! cut to the fences afterwards, and checked again. What it learns is in its [`PolicyMemory`]. The same
//! code runs in the daemon and in the simulator, where there are more policies to compare with.
//!
//! A decision takes a time that does not depend on the number of tasks or instances.

mod adaptive;
mod basic;
mod memory;
mod naive;
mod spelling;
mod why;
mod worker_manager;

use std::time::Duration;

use jiff::Timestamp;

pub use adaptive::{Adaptive, Beside};
pub use memory::PolicyMemory;
pub use spelling::PolicyError;
pub use why::Why;
pub use worker_manager::WorkerManager;

/// One worker type in numbers, as a round sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// When.
    pub now: Timestamp,
    /// Tasks that wait.
    pub pending: u64,
    /// Tasks that run, where the queue tells.
    pub running: Option<u64>,
    /// Open requests and launches in flight: what is to become an instance.
    pub requested: u64,
    /// Instances that are expected to take tasks and never did. Where workers do not tell that they are
    /// ready, these are among them until they take one.
    pub booting: u64,
    /// Instances that run no task, as known or presumed.
    pub idle: u64,
    /// Instances that run tasks, as known or presumed.
    pub busy: u64,
    /// Instances of which it is not known what they do.
    pub unknown: u64,
    /// Instances that are on their way out.
    pub stopping: u64,
    /// Tasks that instances up or booting can take beyond those they run.
    pub free_slots: u64,
    /// Least instances.
    pub min: u64,
    /// Most instances.
    pub max: u64,
    /// Tasks one instance runs at a time. At least 1.
    pub tasks_per_instance: u64,
    /// How long workers stay up idle at most.
    pub idle_timeout: Duration,
    /// Whether more may be asked for than is needed: not where calls are throttled or a quota is used up.
    pub may_hedge: bool,
    /// Whether idle workers stop when asked: then [`Wish::let_go`] is heeded.
    pub workers_consent: bool,
}

impl Situation {
    /// Nothing there, nothing to do.
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

    /// Instances whose work is known, and those of which it is not.
    fn up(&self) -> u64 {
        self.idle + self.busy + self.unknown
    }

    /// Instances that the pending tasks need, beyond those there are.
    fn short(&self) -> u64 {
        self.pending.saturating_sub(self.free_slots).div_ceil(self.tasks_per_instance.max(1))
    }
}

/// What a policy wishes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// Open requests and launches in flight there should be. More are cancelled, fewer asked for.
    pub coming: u64,
    /// How many of them only keep the minimum.
    pub for_minimum: u64,
    /// How many of them tasks or the minimum need. The others are asked for in excess or in advance.
    pub needed: u64,
    /// Instances there should be in all.
    pub wanted: u64,
    /// How many idle workers should be asked to stop, the longest idle first.
    ///
    /// Heeded only where workers consent: an instance is never ended on the queue's word alone that it
    /// is idle, because the next task may be on its way to it.
    pub let_go: u64,
    /// The numbers that decided.
    pub why: Why,
}

/// A policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The rule.
    pub rule: Rule,
    /// How long workers stay up idle before they end themselves, if not as the worker type says. For
    /// simulations: in production only workers can change it.
    pub idle_timeout: Option<Duration>,
}

/// How a policy decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// The 2014 rules, mended.
    Basic,
    /// The 2014 rules as they were. For simulations only.
    Naive2014,
    /// Taskcluster worker-manager's estimator.
    WorkerManager(WorkerManager),
    /// Ours.
    Adaptive(Adaptive),
}

impl From<Rule> for Policy {
    fn from(rule: Rule) -> Self {
        Self { rule, idle_timeout: None }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Rule::Adaptive(Adaptive::default()).into()
    }
}

impl Policy {
    /// The 2014 rules, mended.
    pub const BASIC: Self = Self { rule: Rule::Basic, idle_timeout: None };

    /// What it wishes in `situation`. To be asked once per round: `memory` learns from it.
    pub fn wish(&self, situation: &Situation, memory: &mut PolicyMemory) -> Wish {
        match &self.rule {
            Rule::Basic => basic::wish(situation),
            Rule::Naive2014 => naive::wish(situation),
            Rule::WorkerManager(it) => it.wish(situation),
            Rule::Adaptive(it) => it.wish(situation, memory),
        }
    }

    /// Whether it uses its memory.
    pub fn learns(&self) -> bool {
        matches!(self.rule, Rule::Adaptive(_))
    }

    /// Whether it says itself which idle workers stop, where they consent.
    pub fn lets_go(&self) -> bool {
        matches!(self.rule, Rule::Adaptive(_))
    }

    /// How often its rounds came where it was in use, if that is part of it.
    pub fn own_interval(&self) -> Option<Duration> {
        matches!(self.rule, Rule::Naive2014).then_some(Duration::from_secs(45))
    }
}
