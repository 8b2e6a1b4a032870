//! What of a worker type's settings says what its machines are good for.

use std::time::Duration;

use crate::settings::{Settings, WorkerType};

/// What classing needs to know of the owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine) struct Rules {
    pub(in crate::engine) boot_timeout: Option<Duration>,
    pub(in crate::engine) max_lifetime: Option<Duration>,
    pub(in crate::engine) tasks_per_instance: u64,
    /// How long machines past their boot time may look free beside pending tasks.
    pub(in crate::engine) claim_grace: Duration,
    /// How many instances that never claimed a task are excused while no task waits that long: those
    /// that keep the minimum had nothing to claim, and would be replaced every `boot-timeout`.
    pub(in crate::engine) excused: u64,
}

impl Rules {
    /// A machine that is up and free claims within seconds; queues that poll take a minute at most.
    const CLAIM_GRACE: Duration = Duration::from_mins(1);

    pub(in crate::engine) fn of(worker_type: &WorkerType) -> Self {
        Self {
            boot_timeout: Some(worker_type.boot_timeout),
            max_lifetime: worker_type.max_lifetime,
            tasks_per_instance: u64::from(worker_type.tasks_per_instance),
            claim_grace: Self::CLAIM_GRACE.min(worker_type.boot_timeout),
            excused: worker_type.min_instances,
        }
    }

    pub(in crate::engine) fn per_machine(&self) -> u64 {
        self.tasks_per_instance.max(1)
    }

    /// Excuses those too that the policy keeps in advance.
    pub(in crate::engine) fn excuse(&mut self, kept: u64) {
        self.excused = self.excused.max(kept);
    }

    pub(in crate::engine) fn retired(settings: &Settings) -> Self {
        Self {
            boot_timeout: None,
            max_lifetime: settings.retired_max_lifetime,
            tasks_per_instance: 1,
            claim_grace: Self::CLAIM_GRACE,
            excused: 0,
        }
    }
}
