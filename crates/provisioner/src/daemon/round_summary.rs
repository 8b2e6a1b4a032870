//! The summary that the loop hands out after each round, to be shown and measured.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::RoundEnd;
use crate::domain::demand::{Demand, TaskWaits};
use crate::domain::ids::WorkerTypeName;
use crate::domain::prices::SpotPrices;
use crate::engine::Machines;
use crate::queue::source::DemandError;
use crate::settings::Settings;
use crate::status::{RoundRecord, StatusPicture};

/// One turn of the loop: a round, however it ended.
#[derive(Clone, Copy, Debug)]
pub struct RoundSummary<'a> {
    /// The configuration in force.
    pub settings: &'a Settings,
    /// What reading the queue brought.
    pub read: &'a QueueRead,
    /// How the round ended.
    pub end: &'a RoundEnd,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, waiting for EC2 and the queue included.
    pub took: Duration,
    /// Live instances, as of the last complete observation.
    pub machines: &'a [Machines],
    /// Spot prices of the pools they run in, as far as known.
    pub prices: &'a SpotPrices,
    /// The record of this round, and what went wrong lately.
    pub record: &'a RoundRecord,
    /// When the last round ended that could be decided.
    pub last_success: Option<Timestamp>,
    /// Rounds in a row that failed.
    pub failed_rounds: u32,
    /// How long until the next round is due.
    pub next: Duration,
}

impl RoundSummary<'_> {
    /// Takes what the round brought into a picture of the deployment. Where nothing was decided, the
    /// picture stays what it was but for the record.
    pub fn show(&self, picture: &mut StatusPicture) {
        if let Some(plan) = self.end.plan() {
            picture.plan(plan, self.machines, self.ended);
        }
        picture.prices(self.prices);
        picture.record(self.record);
    }
}

/// How the queue was read in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueRead {
    /// `Err` holds the code of the failure ([`DemandError::code`]); `None`: the queue was not asked.
    pub outcome: Option<Result<(), &'static str>>,
    /// How long the tasks had waited that started since the queue was last read, per worker type.
    pub waits: BTreeMap<WorkerTypeName, TaskWaits>,
}

impl QueueRead {
    /// Takes what is only measured out of an answer.
    pub(super) fn of(demand: &mut Result<Demand, DemandError>) -> Self {
        match demand {
            Ok(demand) => Self { outcome: Some(Ok(())), waits: std::mem::take(&mut demand.waits) },
            Err(error) => Self { outcome: Some(Err(error.code())), waits: BTreeMap::new() },
        }
    }
}
