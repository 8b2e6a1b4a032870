//! Classes machines: whether each boots, idles, works, or is no capacity any more.

use std::time::Duration;

use jiff::Timestamp;

use super::Claims;
use super::rules::Rules;
use crate::domain::clock;
use crate::domain::demand::Running;
use crate::domain::observed::InstanceState;
use crate::engine::state::lookup::Lookup;
use crate::engine::state::machine::{Class, Machine};
use crate::engine::state::memory::MachineMemory;
use crate::engine::stop_consent::Heard;

/// How long an instance took to its first task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Startup {
    /// From asking for it until it was launched.
    pub(in crate::engine) requested: Duration,
    /// From there until it had a task.
    pub(in crate::engine) booted: Duration,
}

/// Classes machines, one after the other, the oldest first.
pub(in crate::engine) struct Classing<'a> {
    pub(in crate::engine) rules: Rules,
    pub(in crate::engine) claims: &'a Claims<'a>,
    pub(in crate::engine) now: Timestamp,
    /// Tasks have been pending too long beside machines that look free.
    pub(in crate::engine) stuck: bool,
    /// How many more are excused.
    pub(in crate::engine) excused: u64,
    /// How many more are presumed to run a task.
    pub(in crate::engine) presumed_busy: Option<u64>,
    pub(in crate::engine) first_claim: bool,
}

impl Classing<'_> {
    pub(in crate::engine) fn class(
        &mut self,
        machine: &mut Machine,
        lookup: &mut Lookup<'_>,
        started: &mut Vec<Startup>,
    ) {
        let rules = &self.rules;
        machine.aged = false;
        machine.tasks = 0;
        machine.positively_idle = false;
        machine.agreed = false;
        if machine.is_leaving() {
            machine.class = Class::Stopping;
            return;
        }
        // Every live machine is remembered since the observation that showed it. A machine that is missing
        // from the memory must still count to the maximum, or it would be launched again.
        let Some((known, known_tasks)) = lookup.get(machine) else {
            machine.class = Class::Unknown;
            return;
        };
        let now = self.now;
        let up_since = machine.launched;
        let aged =
            rules.max_lifetime.is_some_and(|lifetime| clock::after(up_since, lifetime) <= now);
        let tasks = match self.claims.running {
            Running::ByInstance { .. } => {
                if known_tasks > 0 && !known.claimed {
                    known.claimed = true;
                    self.first_claim = true;
                    started.extend(startup(machine, known, now));
                }
                if known_tasks > 0 {
                    known.may_work();
                } else if let Some(look) = self.claims.look {
                    known.runs_nothing(look);
                }
                Some(u64::from(known_tasks))
            }
            Running::Unknown | Running::Counted { .. } => {
                if self.claims.look.is_some() {
                    known.may_work();
                }
                None
            }
        };
        let heard = self.claims.consent.heard(&machine.id, now);
        // Once a machine has run a task, its age does not matter for `boot-timeout`.
        let ran = known.claimed && tasks.is_some();
        let has_booted = |since| {
            rules.boot_timeout.is_some_and(|timeout| !ran && clock::after(since, timeout) <= now)
        };
        let booted = has_booted(up_since);
        // The past of a machine that was old when first seen is unknown: it is watched for a boot time
        // before it is taken for one that never claimed.
        let watched = has_booted(known.first_seen);
        let (excused, stuck) = (&mut self.excused, self.stuck);
        machine.class = match machine.state {
            InstanceState::Stopping | InstanceState::Stopped => Class::Stopping,
            InstanceState::Unrecognised(_)
            | InstanceState::ShuttingDown
            | InstanceState::Terminated => Class::Unknown,
            InstanceState::Pending | InstanceState::Running => {
                match (tasks, &mut self.presumed_busy) {
                    (Some(1..), _) => Class::Busy,
                    // EC2 takes it back within two minutes: it gets no more tasks.
                    _ if heard.is_leaving() || machine.noticed => Class::Stopping,
                    (None, Some(busy))
                        if *busy > 0
                            && machine.state == InstanceState::Running
                            && heard != Heard::Idle =>
                    {
                        *busy -= 1;
                        Class::Busy
                    }
                    _ if aged => Class::Aged,
                    (Some(0), _) if known.claimed => Class::Idle,
                    // A worker that asks is up, and ready for its first task.
                    _ if heard == Heard::Idle && !(booted && stuck) => Class::Idle,
                    (Some(0), _) if rules.boot_timeout.is_none() => Class::Idle,
                    (Some(0), _) if booted && watched && *excused > 0 => {
                        *excused -= 1;
                        Class::Idle
                    }
                    (Some(0), _) if booted && watched => Class::Overdue,
                    (None, Some(_)) if booted && stuck => Class::Overdue,
                    (Some(0), _) | (None, Some(_)) if booted => Class::Idle,
                    (None, None) if heard == Heard::Quiet => Class::Busy,
                    (None, None) if booted || rules.boot_timeout.is_none() => Class::Unknown,
                    _ => Class::Booting,
                }
            }
        };
        machine.aged = aged;
        machine.tasks = match (tasks, machine.class) {
            // The number is not known: as many as it can run are presumed.
            (None, Class::Busy) => u32::try_from(rules.per_machine()).unwrap_or(u32::MAX),
            _ => known_tasks,
        };
        machine.agreed = machine.class == Class::Stopping && heard == Heard::Agreed;
        machine.positively_idle =
            tasks == Some(0) && machine.state == InstanceState::Running && known.is_known_idle();
    }
}

/// The startup of a machine that has its first task now, if it was watched from the beginning.
fn startup(machine: &Machine, known: &MachineMemory, now: Timestamp) -> Option<Startup> {
    let seen_late = clock::age(machine.launched, known.first_seen) > WATCHED_FROM;
    if seen_late || known.first_seen == now {
        return None;
    }
    Some(Startup {
        requested: clock::age(known.asked?, machine.launched),
        booted: clock::age(machine.launched, now),
    })
}

/// A machine first seen later than this after its launch may have had tasks before.
const WATCHED_FROM: Duration = Duration::from_mins(1);
