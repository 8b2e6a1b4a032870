//! What a simulated world is like, and how it is run.

use std::fmt;
use std::time::Duration;

use crate::chance::Lognormal;

/// A world, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorldName {
    /// The primary one: startups of 90 s, 1 % of them over 240 s.
    #[default]
    P,
    /// Every startup takes 98 s.
    D,
    /// A worker's first task takes 60 s longer.
    K,
    /// Startups take 3.3 times as long.
    S300,
    /// The queue wakes any of the idle workers.
    R,
    /// One instance in twenty is reclaimed every hour.
    Q,
    /// How soon a request is filled tells nothing of how long its instance boots.
    I,
}

impl WorldName {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::P, Self::D, Self::K, Self::S300, Self::R, Self::Q, Self::I];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P => "P",
            Self::D => "D",
            Self::K => "K",
            Self::S300 => "S300",
            Self::R => "R",
            Self::Q => "Q",
            Self::I => "I",
        }
    }

    /// The world of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for WorldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a simulated world is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct World {
    /// From asking for an instance until it takes tasks.
    pub startup: Lognormal,
    /// The part of a startup before the instance is there and billed, from 0 to 1.
    pub unbilled: f64,
    /// Whether the two parts of a startup vary apart from each other, and not together.
    pub parts_apart: bool,
    /// The least time that is billed.
    pub least_billed: Duration,
    /// How much longer a worker's first task takes.
    pub first_task: Duration,
    /// Which idle worker gets the next task.
    pub wake: Wake,
    /// How many of the instances that are up are reclaimed in an hour.
    pub reclaimed_per_hour: f64,
}

/// Which idle worker gets the next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The longest idle.
    Longest,
    /// Any.
    Any,
}

impl World {
    /// Median and 99th percentile of startups in [`WorldName::P`].
    pub const STARTUP: (Duration, Duration) = (Duration::from_secs(90), Duration::from_mins(4));

    /// The world of that name.
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
            WorldName::P => primary,
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

    /// The billed part of a mean startup: what one launch costs before it serves.
    pub fn restart(&self) -> Duration {
        self.startup.mean().mul_f64(1.0 - self.unbilled)
    }
}

/// What is known of workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knowledge {
    /// How many tasks wait. Workers end themselves.
    Pending,
    /// Also how many run. Workers end themselves.
    Counts,
    /// Also on which workers. They end themselves.
    Ids,
    /// Idle workers ask every 30 s whether to stop, and until they are told so they stay up.
    Asking,
    /// What every worker does, and idle ones stop at once when they are told, the longest idle first: the
    /// protocol's own assumption.
    #[default]
    Workers,
}

impl Knowledge {
    /// All of them, from least to most.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Counts, Self::Ids, Self::Asking, Self::Workers];

    /// Whether idle workers can be told to stop.
    pub fn workers_consent(self) -> bool {
        matches!(self, Self::Asking | Self::Workers)
    }

    /// Its name.
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

/// How a world is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setup {
    /// The world.
    pub world: World,
    /// Between rounds.
    pub round: Duration,
    /// How old a look is when it is acted on.
    pub staleness: Duration,
    /// Least instances.
    pub min_instances: u64,
    /// Most instances.
    pub max_instances: u64,
    /// How long workers stay up idle before they end themselves, if the policy does not say.
    pub idle_timeout: Duration,
    /// How long a worker may take to claim a task before it is presumed to be at work or idle, where the
    /// queue does not tell.
    pub boot_timeout: Duration,
    /// What is known of workers.
    pub knowledge: Knowledge,
    /// When to end, finished or not.
    pub until: Option<Duration>,
}

impl Setup {
    /// The protocol's: rounds of 10 s on looks 5 s old, at most 1,000 instances.
    pub fn of(world: World) -> Self {
        Self {
            world,
            round: Duration::from_secs(10),
            staleness: Duration::from_secs(5),
            min_instances: 0,
            max_instances: 1000,
            idle_timeout: Duration::from_mins(15),
            boot_timeout: Duration::from_mins(15),
            knowledge: Knowledge::Workers,
            until: None,
        }
    }

    /// The self-test's, in which worker-manager's figures are known: see `docs/simulate.md`.
    pub fn self_test() -> Self {
        let world = World {
            startup: Lognormal::new(Duration::from_secs(20), Duration::ZERO),
            unbilled: 0.0,
            least_billed: Duration::ZERO,
            ..World::named(WorldName::P)
        };
        Self { round: Duration::from_secs(1), staleness: Duration::ZERO, ..Self::of(world) }
    }
}
