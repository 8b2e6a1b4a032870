//! How a deployment is doing: the document that `provisionerd status` prints and a daemon serves.
//!
//! One shape, filled in two ways ([`Picture`]): by the daemon after each round, or by a look at EC2 and the
//! queue beside it or without one. What is not known is `None` and never a zero. Costs are at spot prices
//! of the last minutes, never at the highest price allowed. Readers ignore fields that they do not know.

mod ask;
pub mod cost;
mod picture;
mod problem;
mod record;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::WorkerTypeName;
use crate::domain::money::UsdPerHour;
use crate::status::cost::Cost;

pub use ask::{AskError, ROUTE, ask};
pub use picture::Picture;
pub use problem::{Problem, Scope, Seen};
pub use record::{ActionCounts, LastRound, Record, RoundOutcome, Trigger};

/// The version of the document's shape.
pub const VERSION: u32 = 1;

/// How a deployment is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The shape: [`VERSION`].
    pub version: u32,
    /// When this was said.
    pub time: Timestamp,
    /// Who looked.
    pub source: Source,
    /// When EC2 was seen as it is told here; `None` if it was not.
    pub observed: Option<Timestamp>,
    /// Whether the queue's tasks are known.
    pub demand_known: bool,
    /// The configured worker types, in order of name.
    pub worker_types: Vec<WorkerType>,
    /// Instances of no configured worker type: of one that was removed, strays, and those that are not
    /// known yet.
    pub other: Other,
    /// What all instances cost.
    #[serde(flatten)]
    pub cost: HourlyCost,
    /// The last round that a daemon or `run --once` ran; `None` if none is known.
    pub last_round: Option<LastRound>,
    /// Why less was done than is wanted, and what else the plan reports that is no error and that
    /// somebody can do something about. Empty where no plan was made.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// What went wrong lately: what still does first, then what has ended.
    pub errors: Vec<Problem>,
}

/// A note of a plan, as in `plan --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// About which worker type.
    pub worker_type: Option<String>,
    /// The kind, as `plan` names it (`at-maximum`).
    pub kind: String,
    /// A sentence with the numbers that decided.
    pub text: String,
}

/// Who looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A running daemon, in its last round.
    Daemon,
    /// Whoever asked, at EC2 and the queue directly.
    Direct,
}

/// One worker type: the fields of `plan --output json`, and what they cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerType {
    /// Its name.
    pub name: String,
    /// Pending tasks.
    pub pending: Option<u64>,
    /// When the oldest of them was created, where the queue says so.
    pub oldest_pending: Option<Timestamp>,
    /// How old that one is.
    pub oldest_pending_seconds: Option<u64>,
    /// Running tasks as the queue counts them; 0 where it does not tell.
    pub running: Option<u64>,
    /// Instances wanted in all.
    pub wanted: Option<u64>,
    /// Open spot instance requests and launches in flight.
    pub open_requests: Option<u64>,
    /// Instances on which no task has run yet.
    pub booting: Option<u64>,
    /// Instances that run tasks, or may: what they do is not known.
    pub busy: Option<u64>,
    /// Instances known to run no task now.
    pub idle: Option<u64>,
    /// Instances stopping or stopped.
    pub stopping: Option<u64>,
    /// What its instances cost.
    #[serde(flatten)]
    pub cost: HourlyCost,
}

/// Instances of no configured worker type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Those that boot.
    pub booting: Option<u64>,
    /// Those that run tasks, or may.
    pub busy: Option<u64>,
    /// Those known to run no task now.
    pub idle: Option<u64>,
    /// Those stopping or stopped.
    pub stopping: Option<u64>,
    /// What they cost.
    #[serde(flatten)]
    pub cost: HourlyCost,
}

/// What instances cost per hour. All `None`: it is not known what instances there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HourlyCost {
    /// The whole of it; `None` if the price of any instance is unknown.
    pub usd_per_hour: Option<f64>,
    /// That of the instances whose price is known.
    pub known_usd_per_hour: Option<f64>,
    /// How many have an unknown price.
    pub unknown_price_machines: Option<u64>,
}

impl From<Cost> for HourlyCost {
    fn from(cost: Cost) -> Self {
        Self {
            usd_per_hour: cost.known().map(UsdPerHour::dollars),
            known_usd_per_hour: Some(cost.usd_per_hour.dollars()),
            unknown_price_machines: Some(cost.unknown_price_machines),
        }
    }
}

impl Status {
    /// Says that nothing is known, because of this.
    pub fn unknown(source: Source, why: Seen, now: Timestamp) -> Self {
        let mut picture = Picture::new(std::iter::empty::<WorkerTypeName>());
        picture.looked(vec![why], now);
        picture.status(source, now)
    }

    /// Whether neither EC2 nor the queue could be read.
    pub fn knows_nothing(&self) -> bool {
        self.observed.is_none() && !self.demand_known
    }
}
