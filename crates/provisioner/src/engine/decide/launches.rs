//! Launches: how many, what holds them back, and what is asked again.

use std::collections::BTreeMap;

use super::Draft;
use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::observed::KeyPair;
use crate::engine::decide::detail::{LaunchReason, NoRoom, Obstacle, PlanNote, ReasonDetail};
use crate::engine::decide::placement::{self, Circumstances, LaunchGoal, Tries};
use crate::engine::decide::plan::{ActionKind, Reason};
use crate::engine::observe::ledger::is_repeated;
use crate::engine::state::failures::Failures;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine};
use crate::engine::state::other_ledgers::OtherDaemon;
use crate::engine::state::places;
use crate::policy::CapacityTarget;
use crate::settings::WorkerType;

impl<'a> Draft<'a> {
    /// Makes the goal for what is missing to `target`, within `max-instances`.
    pub(super) fn launch(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &'a WorkerType,
        group: &Group,
        target: CapacityTarget,
    ) {
        let counts = group.counts;
        let coming = self.coming(name, group);
        let pending = self.pending(name);
        let missing = target.coming.saturating_sub(coming);
        if missing == 0 {
            if coming > 0 && pending > counts.free_slots {
                let waiting = pending - counts.free_slots;
                self.note_about(name, &PlanNote::InFlight { coming, waiting });
            }
            return;
        }
        let max = worker_type.max_instances;
        let total = counts.live() + counts.leaving + coming;
        let room = max.saturating_sub(total);
        let needed = target.needed.saturating_sub(coming);
        if needed > room {
            self.note_about(name, &PlanNote::AtMaximum { needed, max, room, total });
        }
        let launched = missing.min(room);
        if launched == 0 {
            return;
        }
        if let Some(obstacle) = self.obstacle(name, worker_type, group) {
            let obstacle = &obstacle;
            self.note_about(name, &PlanNote::NotLaunched { wanted: launched, obstacle });
            return;
        }
        let probes = self.decide.memory.failures.get(name).is_some_and(Failures::is_too_many);
        let launched = if probes { 1 } else { launched };
        let why = target.why;
        let reason = if launched <= target.for_minimum {
            LaunchReason::BelowMinimum { launched, min: worker_type.min_instances, total }
        } else if needed == 0 {
            LaunchReason::Spare { why }
        } else {
            LaunchReason::PendingTasks { pending, free_slots: counts.free_slots, coming, why }
        };
        let reason = ReasonDetail::Launch(reason).into();
        let extra = launched.saturating_sub(needed);
        self.goals.push(LaunchGoal::new(name.clone(), launched, extra, reason));
    }

    /// Returns why nothing of the worker type may be launched in this round, if so.
    fn obstacle(
        &self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
    ) -> Option<Obstacle<'a>> {
        let decide = self.decide;
        let now = decide.now;
        if let Some(until) = decide.ledger.hold_until.filter(|until| now < *until) {
            return Some(Obstacle::LedgerLost { until });
        }
        if let Some(OtherDaemon { ledger, until }) = decide.other_daemon {
            return Some(Obstacle::OtherDaemon { ledger, until: *until });
        }
        if decide.index.key_pair == KeyPair::Absent {
            return Some(Obstacle::KeyPairMissing);
        }
        if let Some(failures) = decide.memory.failures.get(name).filter(|it| it.is_too_many()) {
            let last = &failures.text;
            let n = failures.in_a_row;
            if let Some(until) = failures.paused_until().filter(|until| now < *until) {
                return Some(Obstacle::Paused { failures: n, until, last });
            }
            let is_probe = |machine: &Machine| {
                machine.launched >= failures.last
                    && !matches!(machine.class, Class::Stopping | Class::Overdue)
            };
            // One that ended is a probe until the queue tells whether it had a task.
            let mut ended = decide.memory.ended_unclaimed.values();
            if self.coming(name, group) > 0
                || group.machines.iter().any(is_probe)
                || ended.any(|ended| ended.worker_type == *name)
            {
                return Some(Obstacle::Probing { failures: n, last });
            }
        }
        let resolved = match decide.resolved.get(name) {
            Some(Ok(resolved)) => resolved,
            Some(Err(why)) => return Some(Obstacle::Unresolved { why: Some(why) }),
            None => return Some(Obstacle::Unresolved { why: None }),
        };
        let memory = decide.memory;
        let interval = decide.settings.provisioner.interval;
        let held = placement::held_profile(worker_type, memory, interval, now);
        let nowhere = || {
            let addresses_taken = &BTreeMap::new();
            let circumstances =
                Circumstances { worker_type: name, memory, addresses_taken, interval, now };
            let placements = places::all(worker_type, resolved);
            placement::next(&placements, 1, &Tries::default(), circumstances).err()
        };
        held.or_else(nowhere).map(Obstacle::NoPlacement)
    }

    /// Returns why a launch whose answer is not known must not be repeated, if so. It is counted
    /// already, but if its first call did not arrive, it is the repetition that launches; since it was
    /// decided, a maximum may have been lowered, or other launches may have taken the room.
    fn no_room_for(&self, name: &WorkerTypeName) -> Option<NoRoom> {
        let decide = self.decide;
        let Some(worker_type) = decide.settings.worker_types.get(name) else {
            return Some(NoRoom::NotConfigured);
        };
        if decide.other_daemon.is_some() {
            return Some(NoRoom::OtherDaemon);
        }
        // What it names now is not known, so it may name another image.
        if !matches!(decide.resolved.get(name), Some(Ok(_))) {
            return Some(NoRoom::Unresolved);
        }
        let group = decide.index.types.get(name)?;
        let total = group.counts.live() + group.counts.leaving + self.coming(name, group);
        let max = worker_type.max_instances;
        if total > max {
            return Some(NoRoom::OverMaximum { total, max });
        }
        self.over_limits.then_some(NoRoom::OverLimits)
    }

    /// Repeats the launches whose answer is not known, with their tokens.
    pub(super) fn repeats(&mut self) {
        let decide = self.decide;
        for (token, intent) in &decide.ledger.intents {
            let name = &intent.call.worker_type;
            let asked = intent.call.count;
            if intent.withdrawn.is_some() {
                let why = NoRoom::Withdrawn;
                self.note_about(name, &PlanNote::Unanswered { asked, why });
            }
            if !is_repeated(intent, decide.now) {
                continue;
            }
            if let Some(why) = self.no_room_for(name) {
                self.note_about(name, &PlanNote::Unanswered { asked, why });
                continue;
            }
            let age = clock::age(intent.call.decided, decide.now);
            let reason = LaunchReason::UnansweredIntent { age, token };
            let reason = Reason::from(ReasonDetail::Launch(reason));
            self.repeats.push((token.clone(), reason.clone()));
            self.act(Some(name), ActionKind::Request(u64::from(asked)), reason);
        }
    }

    /// Makes the actions for the goals.
    pub(super) fn goals(&mut self) {
        for goal in std::mem::take(&mut self.goals) {
            let request = ActionKind::Request(goal.remaining);
            self.act(Some(&goal.worker_type), request, goal.reason.clone());
            self.goals.push(goal);
        }
    }
}
