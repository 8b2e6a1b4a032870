//! An instance and a request as the engine sees them, and how many there are of each class.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::domain::ids::{ClientToken, InstanceId, SpotRequestId, StatusText, VolumeId};
use crate::domain::launch::Pool;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;

/// A live instance.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts about a machine, none of which excludes another"
)]
pub(in crate::engine) struct Machine {
    pub(in crate::engine) id: InstanceId,
    /// Its place among the machines of the memory, as of the last observation.
    pub(in crate::engine) rank: usize,
    pub(in crate::engine) state: InstanceState,
    /// Which of [`Index::pools`] it runs in, if a spot request made it and it is plain Linux.
    pub(in crate::engine) pool: Option<usize>,
    pub(in crate::engine) launched: Timestamp,
    pub(in crate::engine) price: Option<UsdPerHour>,
    pub(in crate::engine) intent: Option<ClientToken>,
    /// Where its worker asks from, if workers are heard.
    pub(in crate::engine) addresses: Vec<IpAddr>,
    /// Its volumes, which are tagged with it; empty once it is tagged.
    pub(in crate::engine) volumes: Vec<VolumeId>,
    /// The spot request that made it.
    pub(in crate::engine) request: Option<SpotRequestId>,
    /// EC2 has announced that it takes it back.
    pub(in crate::engine) noticed: bool,
    /// Whether it carries our tags already.
    pub(in crate::engine) tagged: bool,
    pub(in crate::engine) class: Class,
    /// Known to run no task, for long enough and in enough rounds.
    pub(in crate::engine) positively_idle: bool,
    /// Its worker was told to stop and confirmed that it is stopping, and no task is seen on it.
    pub(in crate::engine) agreed: bool,
    /// Older than `max-lifetime`.
    pub(in crate::engine) aged: bool,
    /// How many tasks it is known, or presumed, to run.
    pub(in crate::engine) tasks: u32,
}

impl Machine {
    /// Whether it is shutting down, or told to.
    pub(in crate::engine) fn is_leaving(&self) -> bool {
        self.state == InstanceState::ShuttingDown
    }

    /// Whether it may be ended: not if its state is unknown, or if it is shutting down already.
    pub(in crate::engine) fn may_be_ended(&self) -> bool {
        !matches!(self.state, InstanceState::Unrecognised(_) | InstanceState::ShuttingDown)
    }
}

/// What a machine is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) enum Class {
    /// No task has run on it yet; it is expected to take one.
    Booting,
    /// Known or presumed to run no task.
    Idle,
    /// It runs tasks, or may: its work is not known.
    #[default]
    Unknown,
    /// Known or presumed to run tasks.
    Busy,
    /// Up longer than `boot-timeout` without a claim: no capacity.
    Overdue,
    /// Older than `max-lifetime`: no capacity.
    Aged,
    /// Stopping or stopped, or about to be because its worker was told so: no capacity.
    Stopping,
}

/// A request waiting for capacity.
#[derive(Clone, Debug)]
pub(in crate::engine) struct OpenRequest {
    pub(in crate::engine) id: SpotRequestId,
    pub(in crate::engine) asked: Timestamp,
    pub(in crate::engine) status_code: StatusText,
    /// When we first saw that it cannot be filled where it is.
    pub(in crate::engine) unfillable_since: Option<Timestamp>,
    pub(in crate::engine) pool: Pool,
    pub(in crate::engine) price: Option<UsdPerHour>,
    /// Cancelled by us already; EC2 still shows it open.
    pub(in crate::engine) cancelled: bool,
    /// Its state is known, so it may be cancelled.
    pub(in crate::engine) touchable: bool,
}

/// Machines by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct Counts {
    pub(in crate::engine) booting: u64,
    pub(in crate::engine) idle: u64,
    pub(in crate::engine) unknown: u64,
    pub(in crate::engine) busy: u64,
    pub(in crate::engine) overdue: u64,
    pub(in crate::engine) aged: u64,
    pub(in crate::engine) stopping: u64,
    /// Shutting down: no cost and no capacity any more, but they count to the maximum until they are gone.
    pub(in crate::engine) leaving: u64,
    /// Tasks that machines up or booting can take beyond those they run.
    pub(in crate::engine) free_slots: u64,
    /// Machines without our tags.
    pub(in crate::engine) untagged: u64,
    /// The highest possible price of the machines and open requests that have one.
    pub(in crate::engine) usd: UsdPerHour,
    /// The number of machines and open requests whose price is unknown.
    pub(in crate::engine) unpriced: u64,
}

impl Counts {
    pub(in crate::engine) fn live(&self) -> u64 {
        let Self {
            booting,
            idle,
            unknown,
            busy,
            overdue,
            aged,
            stopping,
            leaving: _,
            free_slots: _,
            usd: _,
            unpriced: _,
            untagged: _,
        } = *self;
        booting + idle + unknown + busy + overdue + aged + stopping
    }
}
