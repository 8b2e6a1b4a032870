//! What runs where: live instances by owner, use and capacity pool. What they cost follows from it.

use std::collections::BTreeMap;

use crate::domain::ids::WorkerTypeName;
use crate::domain::launch::Pool;
use crate::domain::observed::InstanceState;
use crate::engine::state::index::Index;
use crate::engine::state::machine::{Class, Machine};

/// Live instances that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machines {
    /// Their worker type, configured or not; `None` for strays and what is not resolved yet.
    pub worker_type: Option<WorkerTypeName>,
    /// What they do.
    pub usage: Usage,
    /// The spot capacity pool they run in; `None` for instances that no spot request made, and for those
    /// of another platform than plain Linux: both pay other prices.
    pub pool: Option<Pool>,
    /// How many.
    pub count: u64,
}

/// What an instance does, as far as cost and credit go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// No task has run on it yet, in time or overdue.
    Booting,
    /// Runs tasks, or may: what it does is not known.
    Busy,
    /// Known or presumed to run no task.
    Idle,
    /// Stopping, stopped or shutting down: EC2 bills no instance-hours for these (EC2 User Guide,
    /// "Instance lifecycle").
    Stopping,
}

impl Usage {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 4] = [Self::Booting, Self::Busy, Self::Idle, Self::Stopping];

    /// A stable name for metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Booting => "booting",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Stopping => "stopping",
        }
    }

    fn of(machine: &Machine) -> Self {
        if machine.state == InstanceState::ShuttingDown {
            return Self::Stopping;
        }
        match machine.class {
            Class::Booting | Class::Overdue => Self::Booting,
            Class::Idle => Self::Idle,
            Class::Unknown | Class::Busy | Class::Aged => Self::Busy,
            Class::Stopping => Self::Stopping,
        }
    }
}

/// Counts every instance of the index once. Work proportional to machines.
pub(in crate::engine) fn count(index: &Index) -> Vec<Machines> {
    let Index { types, retired, strays, unresolved, disputed, pools, .. } = index;
    let named = types.iter().chain(retired).map(|(name, group)| (Some(name), &group.machines));
    let nameless = [&strays.machines, unresolved, disputed].map(|machines| (None, machines));
    let mut counts = BTreeMap::<_, u64>::new();
    for (name, machines) in named.chain(nameless) {
        for machine in machines {
            *counts.entry((name, Usage::of(machine), machine.pool)).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|((name, usage, pool), count)| Machines {
            worker_type: name.cloned(),
            usage,
            pool: pool.and_then(|pool| pools.get(pool).cloned()),
            count,
        })
        .collect()
}
