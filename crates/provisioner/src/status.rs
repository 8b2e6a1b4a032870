//! The status of a deployment: the document that `provisionerd status` prints and a daemon serves.
//!
//! The document has one shape. It is made from a [`StatusPicture`], which is filled either by the daemon after
//! each round, or by observing EC2 and the queue directly, whether a daemon runs or not. A fact that is not
//! known is `None` and never zero. Costs are computed from spot prices of the last minutes, never from the
//! highest price allowed. Readers ignore fields that they do not know.

mod ask;
pub(crate) mod cost;
mod picture;
mod problem;
mod record;
mod reload;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::WorkerTypeName;
use crate::domain::money::UsdPerHour;
use crate::status::cost::Cost;

pub use ask::{AskError, ROUTE, ask};
pub use picture::StatusPicture;
pub use problem::{Problem, ProblemScope, ProblemSeen};
pub use record::{ActionCounts, LastRound, RoundOutcome, RoundRecord, Trigger};
pub use reload::{LastReload, ReloadRecord};

/// The version of the document's shape.
pub const VERSION: u32 = 1;

/// The status of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the document's shape: [`VERSION`].
    pub version: u32,
    /// When the document was made.
    pub time: Timestamp,
    /// Where the facts come from.
    pub source: StatusSource,
    /// When EC2 was observed; `None` if it could not be.
    pub observed: Option<Timestamp>,
    /// Whether the queue's tasks are known.
    pub demand_known: bool,
    /// The configured worker types, in order of name.
    pub worker_types: Vec<WorkerTypeRow>,
    /// Instances without a configured worker type: those of a worker type that was removed, strays, and
    /// those that are not known yet.
    pub other: OtherMachines,
    /// The cost of all instances.
    #[serde(flatten)]
    pub cost: HourlyCost,
    /// The last round of a daemon or of `run --once`; `None` if it is not known.
    pub last_round: Option<LastRound>,
    /// Whether a daemon runs; `None` if that is not known.
    #[serde(default)]
    pub daemon_running: Option<bool>,
    /// The last reload of the running daemon's configuration; `None` if there was none, or if it is not known.
    #[serde(default)]
    pub last_reload: Option<LastReload>,
    /// The notes of the plan that are not errors and that somebody can act on, such as why less was done
    /// than is wanted. Empty if no plan was made.
    #[serde(default)]
    pub notes: Vec<StatusNote>,
    /// Recent problems: first those that persist, then those that have ended.
    pub errors: Vec<Problem>,
}

/// A note of a plan, as in `plan --output json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusNote {
    /// The worker type that it is about.
    pub worker_type: Option<String>,
    /// The kind as `plan` names it (`at-maximum`).
    pub kind: String,
    /// A sentence with the numbers behind the decision.
    pub text: String,
}

/// Where the facts of a status come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatusSource {
    /// The last round of a running daemon.
    Daemon,
    /// EC2 and the queue, observed directly by the process that asks.
    Direct,
}

/// One worker type: the fields of `plan --output json`, and the cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerTypeRow {
    /// Its name.
    pub name: String,
    /// Pending tasks.
    pub pending: Option<u64>,
    /// When the oldest pending task was created, if the queue reports it.
    pub oldest_pending: Option<Timestamp>,
    /// The age of the oldest pending task.
    pub oldest_pending_seconds: Option<u64>,
    /// Running tasks as the queue counts them; `None` if it does not report them.
    pub running: Option<u64>,
    /// The total number of instances wanted.
    pub wanted: Option<u64>,
    /// Open spot instance requests and launches in flight.
    pub open_requests: Option<u64>,
    /// Instances on which no task has run yet.
    pub booting: Option<u64>,
    /// Instances that run tasks, or of which it is not known.
    pub busy: Option<u64>,
    /// Instances known to run no task now.
    pub idle: Option<u64>,
    /// Instances stopping or stopped.
    pub stopping: Option<u64>,
    /// The cost of its instances.
    #[serde(flatten)]
    pub cost: HourlyCost,
}

/// Instances without a configured worker type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OtherMachines {
    /// Those that are booting.
    pub booting: Option<u64>,
    /// Those that run tasks, or of which it is not known.
    pub busy: Option<u64>,
    /// Those known to run no task now.
    pub idle: Option<u64>,
    /// Those stopping or stopped.
    pub stopping: Option<u64>,
    /// Their cost.
    #[serde(flatten)]
    pub cost: HourlyCost,
}

/// The cost of instances per hour. All fields are `None` if the instances are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HourlyCost {
    /// The total; `None` if the price of any instance is unknown.
    pub usd_per_hour: Option<f64>,
    /// The cost of the instances whose price is known.
    pub known_usd_per_hour: Option<f64>,
    /// The number of instances whose price is unknown.
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
    /// Returns a status in which nothing is known, for the reason `why`.
    pub fn unknown(source: StatusSource, why: ProblemSeen, now: Timestamp) -> Self {
        let mut picture = StatusPicture::new(std::iter::empty::<WorkerTypeName>());
        picture.observed_directly(vec![why], now);
        Self { daemon_running: None, ..picture.status(source, now) }
    }

    /// Returns whether neither EC2 nor the queue could be read.
    pub fn knows_nothing(&self) -> bool {
        self.observed.is_none() && !self.demand_known
    }
}
