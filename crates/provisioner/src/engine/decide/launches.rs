//! Launches: how many, whether at all, and what is asked again.

use std::collections::BTreeSet;

use super::Draft;

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::observed::KeyPair;
use crate::domain::plural;
use crate::engine::decide::placement::{self, LaunchGoal};
use crate::engine::decide::plan::{Action, ActionKind, NoteKind, Reason, ReasonKind};
use crate::engine::observe::ledger::is_repeated;
use crate::engine::state::group::Group;
use crate::policy::Wish;
use crate::settings::WorkerType;

impl<'a> Draft<'a> {
    pub(in crate::engine) fn launch(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &'a WorkerType,
        wish: Wish,
        group: &Group,
        coming: u64,
        pending: u64,
    ) {
        let counts = group.counts;
        let launch = wish.coming.saturating_sub(coming);
        if launch == 0 {
            if coming > 0 && pending > counts.free_slots {
                let text = format!(
                    "{} open or in flight for the {} that no instance has room for",
                    plural::count(coming, "request"),
                    plural::count(pending - counts.free_slots, "pending task")
                );
                self.note(Some(name), NoteKind::InFlight, text);
            }
            return;
        }
        let max = worker_type.max_instances;
        let total = counts.live() + counts.leaving + coming;
        let room = max.saturating_sub(total);
        let needed = wish.needed.saturating_sub(coming);
        if needed > room {
            let text = format!(
                "{} wanted; max-instances ({max}) leaves room for {room}, there are {total} in all",
                plural::are(needed, "more instance")
            );
            self.note(Some(name), NoteKind::AtMaximum, text);
        }
        let launch = launch.min(room);
        if launch == 0 || !self.may_launch(name, worker_type, launch) {
            return;
        }
        let why = match wish.why.to_string() {
            why if why.is_empty() => why,
            why => format!("; {why}"),
        };
        let reason = if launch <= wish.for_minimum {
            Reason {
                kind: ReasonKind::BelowMinimum,
                text: format!(
                    "{launch} more keep min-instances ({}): there are {total} in all",
                    worker_type.min_instances
                ),
            }
        } else if needed == 0 {
            Reason {
                kind: ReasonKind::Spare,
                text: format!("no task waits for them, but one is likely to soon{why}"),
            }
        } else {
            Reason {
                kind: ReasonKind::PendingTasks,
                text: format!(
                    "{}, room for {} on instances up or booting, {} open or in flight{why}",
                    plural::count(pending, "pending task"),
                    counts.free_slots,
                    plural::count(coming, "request")
                ),
            }
        };
        let extra = launch.saturating_sub(needed);
        self.goals.push(LaunchGoal::new(name.clone(), launch, extra, reason));
    }

    /// Whether `name` may launch at all this round; notes why not.
    pub(in crate::engine) fn may_launch(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        launch: u64,
    ) -> bool {
        let decide = self.decide;
        let now = decide.now;
        let wanted = || format!("{} wanted, but", plural::are(launch, "instance"));
        if let Some(until) = decide.ledger.hold_until.filter(|until| now < *until) {
            let text = format!(
                "{} the in-flight ledger was lost: nothing is launched before {until}, when EC2 shows \
                 all that was asked for (`--assume-clean` overrides)",
                wanted()
            );
            self.note(Some(name), NoteKind::LedgerLost, text);
            return false;
        }
        if decide.index.key_pair == KeyPair::Absent {
            let text = format!("{} EC2 has no key pair of our key-name; run `setup-aws`", wanted());
            self.note(Some(name), NoteKind::KeyPairMissing, text);
            return false;
        }
        if let Some(failures) = decide.memory.failures.get(name)
            && let Some(until) = failures.paused_until().filter(|until| now < *until)
        {
            let text = format!(
                "{} {} in a row failed: paused until {until}; the last said {}",
                wanted(),
                plural::count(failures.in_a_row, "launch"),
                failures.text
            );
            self.note(Some(name), NoteKind::Paused, text);
            return false;
        }
        let resolved = match decide.resolved.get(name) {
            Some(Ok(resolved)) => resolved,
            Some(Err(why)) => {
                self.note(Some(name), NoteKind::Unresolved, format!("{} {why}", wanted()));
                return false;
            }
            None => {
                let text =
                    format!("{} what the worker type names in AWS is not known yet", wanted());
                self.note(Some(name), NoteKind::Unresolved, text);
                return false;
            }
        };
        let (memory, interval) = (decide.memory, decide.settings.provisioner.interval);
        let held = placement::held_profile(worker_type, memory, interval, now);
        let next = || {
            let places = placement::all(worker_type, resolved);
            placement::next(&places, &BTreeSet::new(), memory, interval, now).err()
        };
        match held.or_else(next) {
            None => true,
            Some(why) => {
                self.note(Some(name), why.kind(), format!("{} {why}", wanted()));
                false
            }
        }
    }

    /// Why a launch that is counted already must not be asked again: asking may be what makes it, and
    /// since it was decided a maximum was lowered, or others took the room.
    pub(in crate::engine) fn no_room_for(&self, name: &WorkerTypeName) -> Option<String> {
        let decide = self.decide;
        let Some(worker_type) = decide.settings.worker_types.get(name) else {
            return Some("because the worker type is no longer configured".to_owned());
        };
        let group = decide.index.types.get(name)?;
        let counts = &group.counts;
        let there = counts.live() + counts.leaving + group.open.len() as u64;
        let total = there + self.in_flight(name).count;
        if total > worker_type.max_instances {
            let max = worker_type.max_instances;
            return Some(format!("because with it there are {total}, over max-instances ({max})"));
        }
        self.over_limits.then(|| "because [limits] are exceeded with it".to_owned())
    }

    pub(in crate::engine) fn requests(&mut self) {
        let decide = self.decide;
        for (token, intent) in &decide.ledger.intents {
            if !is_repeated(intent, decide.now) {
                continue;
            }
            let name = &intent.call.worker_type;
            if let Some(why) = self.no_room_for(name) {
                let text = format!(
                    "a launch of {} whose answer is not known is not asked again, {why}; EC2's list of \
                     requests will tell",
                    intent.call.count
                );
                self.note(Some(name), NoteKind::Unanswered, text);
                continue;
            }
            let reason = Reason {
                kind: ReasonKind::UnansweredIntent,
                text: format!(
                    "the answer to a launch decided {} ago is not known; repeated with its token \
                     {token}",
                    clock::show(clock::age(intent.call.decided, decide.now))
                ),
            };
            self.repeats.push((token.clone(), reason.clone()));
            self.plan.actions.push(Action {
                kind: ActionKind::Request(u64::from(intent.call.count)),
                worker_type: Some(name.clone()),
                reason,
            });
        }
        for goal in &self.goals {
            self.plan.actions.push(Action {
                kind: ActionKind::Request(goal.remaining),
                worker_type: Some(goal.worker_type.clone()),
                reason: goal.reason.clone(),
            });
        }
    }
}
