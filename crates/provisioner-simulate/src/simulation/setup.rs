//! The parameters of a simulation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use provisioner_sim::rng::Lognormal;

use crate::spot::Market;

/// The name of a world model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorldName {
    /// The primary world: half of the startups take up to 90 s, and 1 % over 240 s.
    #[default]
    P,
    /// Every startup takes 98 s.
    D,
    /// A worker's first task takes 60 s longer.
    K,
    /// Startups take 3.3 times as long as in `P`.
    S300,
    /// A random idle worker takes the next task.
    R,
    /// One instance in twenty is reclaimed every hour.
    Q,
    /// The time until a request is fulfilled and the boot time of its instance are independent.
    I,
    /// Instances are bought in a recorded spot market: [`Setup::market`].
    Z,
}

impl WorldName {
    /// All worlds that need no recorded market.
    pub const ALL: [Self; 7] = [Self::P, Self::D, Self::K, Self::S300, Self::R, Self::Q, Self::I];

    /// Returns the name as it is spelled on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P => "P",
            Self::D => "D",
            Self::K => "K",
            Self::S300 => "S300",
            Self::R => "R",
            Self::Q => "Q",
            Self::I => "I",
            Self::Z => "Z",
        }
    }

    /// Returns the world with this name, whatever its case.
    pub fn by_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain([Self::Z]);
        all.find(|world| world.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for WorldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The properties of instances and workers that a policy cannot change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldModel {
    /// The time from a request until its instance takes tasks.
    pub startup: Lognormal,
    /// The part of a startup before the instance exists and is billed, from 0 to 1.
    pub unbilled: f64,
    /// Whether the two parts of a startup are drawn independently of each other.
    pub parts_apart: bool,
    /// The minimum time that is billed.
    pub least_billed: Duration,
    /// How much longer a worker's first task takes.
    pub first_task: Duration,
    /// Which idle worker gets the next task.
    pub wake: Wake,
    /// The rate at which EC2 reclaims each running instance, per hour.
    pub reclaimed_per_hour: f64,
}

/// Which idle worker gets the next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The worker that has been idle for the longest time.
    Longest,
    /// A random idle worker.
    Any,
}

impl WorldModel {
    /// Median and 99th percentile of startups in [`WorldName::P`].
    pub const STARTUP: (Duration, Duration) = (Duration::from_secs(90), Duration::from_mins(4));

    /// Returns the model with this name.
    pub fn named(name: WorldName) -> Self {
        let (median, p99) = Self::STARTUP;
        let primary = Self {
            startup: Lognormal::new(median, p99),
            unbilled: 1.0 / 3.0,
            parts_apart: false,
            least_billed: Duration::from_mins(1),
            first_task: Duration::ZERO,
            wake: Wake::Longest,
            reclaimed_per_hour: 0.0,
        };
        match name {
            WorldName::P | WorldName::Z => primary,
            WorldName::D => {
                Self { startup: Lognormal::new(Duration::from_secs(98), Duration::ZERO), ..primary }
            }
            WorldName::K => Self { first_task: Duration::from_mins(1), ..primary },
            WorldName::S300 => {
                Self { startup: Lognormal::new(median.mul_f64(3.3), p99.mul_f64(3.3)), ..primary }
            }
            WorldName::R => Self { wake: Wake::Any, ..primary },
            WorldName::Q => Self { reclaimed_per_hour: 0.05, ..primary },
            WorldName::I => Self { parts_apart: true, ..primary },
        }
    }

    /// Returns the billed part of a mean startup: the cost of a launch before it serves.
    pub fn restart(&self) -> Duration {
        self.startup.mean().mul_f64(1.0 - self.unbilled)
    }
}

/// How much the provisioner knows about workers, and whether it can stop them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerKnowledge {
    /// Only the number of waiting tasks. Workers stop by themselves.
    Pending,
    /// Also the number of running tasks. Workers stop by themselves.
    Counts,
    /// Also the instance of every running task. Workers stop by themselves.
    Ids,
    /// Idle workers ask every 30 s whether to stop, and stay up until the answer is yes.
    Asking,
    /// The state of every worker is known, and an idle worker stops at once when asked, the longest idle
    /// first. This is the assumption of the measuring protocol.
    #[default]
    Workers,
}

impl WorkerKnowledge {
    /// All levels, from least to most.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Counts, Self::Ids, Self::Asking, Self::Workers];

    /// Returns whether idle workers can be told to stop.
    pub fn workers_consent(self) -> bool {
        matches!(self, Self::Asking | Self::Workers)
    }

    /// Returns the name as it is spelled on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Counts => "counts",
            Self::Ids => "ids",
            Self::Asking => "asking",
            Self::Workers => "workers",
        }
    }
}

/// Everything about a simulation except its load, policy and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// The properties of instances and workers.
    pub world: WorldModel,
    /// The interval between rounds.
    pub round: Duration,
    /// The age of an observation when a round acts on it.
    pub staleness: Duration,
    /// The minimum number of instances.
    pub min_instances: u64,
    /// The maximum number of instances.
    pub max_instances: u64,
    /// How long idle workers stay up before they stop by themselves, unless the policy decides.
    pub idle_timeout: Duration,
    /// The age at which an instance is no longer presumed to boot, where the queue does not name the
    /// instances of running tasks.
    pub boot_timeout: Duration,
    /// How much the provisioner knows about workers, and whether it can stop them.
    pub knowledge: WorkerKnowledge,
    /// When to end the simulation, even if tasks remain.
    pub until: Option<Duration>,
    /// Where instances are bought; `None` if capacity is unlimited.
    pub market: Option<Arc<Market>>,
}

impl Setup {
    /// Returns the setup of the measuring protocol: rounds every 10 s on observations 5 s old, and at most
    /// 1,000 instances.
    pub fn of(world: WorldModel) -> Self {
        Self {
            world,
            round: Duration::from_secs(10),
            staleness: Duration::from_secs(5),
            min_instances: 0,
            max_instances: 1000,
            idle_timeout: Duration::from_mins(15),
            boot_timeout: Duration::from_mins(15),
            knowledge: WorkerKnowledge::Workers,
            until: None,
            market: None,
        }
    }

    /// Returns the setup of the self-test, for which worker-manager's figures are known: see
    /// `docs/simulate.md`.
    pub fn self_test() -> Self {
        let world = WorldModel {
            startup: Lognormal::new(Duration::from_secs(20), Duration::ZERO),
            unbilled: 0.0,
            least_billed: Duration::ZERO,
            ..WorldModel::named(WorldName::P)
        };
        Self { round: Duration::from_secs(1), staleness: Duration::ZERO, ..Self::of(world) }
    }
}
