//! What becomes of requests, instances and the tasks on them.

use std::time::Duration;

use super::trade::{Place, Startup};
use super::{Event, Fleet, Machine, State};
use crate::fleet::bounds::millis;
use crate::fleet::world::Wake;

impl Fleet<'_> {
    pub(super) fn ask(&mut self, place: Place) {
        let world = &self.setup.world;
        let startup = world.startup.draw(&mut self.startups);
        let boot = if world.parts_apart { world.startup.draw(&mut self.boots) } else { startup };
        let life = (world.reclaimed_per_hour > 0.0).then(|| {
            let mean = Duration::from_hours(1).div_f64(world.reclaimed_per_hour);
            millis(self.lives.until_next(mean))
        });
        let machine = self.machines.len();
        self.machines.push(Machine {
            state: State::Requested,
            asked: self.now,
            since: self.now,
            billed: self.now,
            young: false,
            worked: false,
            life,
            place,
            filled: u64::MAX,
            ready: u64::MAX,
        });
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "minutes in milliseconds"
        )]
        let unbilled = (millis(startup) as f64 * world.unbilled).round() as u64;
        let boot = millis(boot.mul_f64(1.0 - world.unbilled));
        if place == Place::OnDemand {
            // There is no doubt that it comes: it boots, as far as a policy is concerned.
            self.totals.booting += 1;
            self.on_demand_requested += 1;
        } else {
            self.totals.asked += 1;
            self.totals.requested += 1;
            self.requests.push(machine);
            if self.is_refused(machine, place, (unbilled, boot)) {
                return;
            }
        }
        self.start_up(machine, (unbilled, boot));
    }

    pub(super) fn start_up(&mut self, machine: usize, (unbilled, boot): Startup) {
        let it = &mut self.machines[machine];
        it.filled = self.now + unbilled;
        it.ready = it.filled + boot;
        let (filled, ready) = (it.filled, it.ready);
        self.at(filled, Event::Fulfil(machine));
        self.at(ready, Event::Ready(machine));
    }

    /// Cancels the request that was made last: the others are nearer to being filled.
    pub(super) fn cancel(&mut self) -> bool {
        while let Some(machine) = self.requests.pop() {
            if self.machines[machine].state == State::Requested {
                self.machines[machine].state = State::Gone;
                self.totals.requested -= 1;
                self.totals.cancelled += 1;
                // One that waits for capacity tells nothing of how long requests take.
                if !self.is_waiting_for_room(machine) {
                    let open = self.now - self.machines[machine].asked;
                    self.memory.record_cancelled_request(Duration::from_millis(open));
                }
                return true;
            }
        }
        false
    }

    pub(super) fn fulfil(&mut self, machine: usize) {
        let it = self.machines[machine];
        if it.state != State::Requested || self.now != it.filled {
            return;
        }
        let (life, place) = (it.life, it.place);
        if self.is_too_late(machine) {
            return;
        }
        let it = &mut self.machines[machine];
        *it = Machine {
            state: State::Booting,
            since: self.now,
            billed: self.now,
            young: true,
            ..*it
        };
        if place == Place::OnDemand {
            self.on_demand_requested -= 1;
        } else {
            self.totals.requested -= 1;
            self.totals.booting += 1;
        }
        self.filled(place);
        self.totals.young += 1;
        self.young.push_back(machine);
        self.launched += 1;
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if let Some(life) = life {
            self.at(self.now + life, Event::Reclaim(machine));
        }
    }

    pub(super) fn ready(&mut self, machine: usize) {
        let it = self.machines[machine];
        if it.state != State::Booting || self.now != it.ready {
            return;
        }
        self.totals.booting -= 1;
        self.totals.boots.push((it.billed - it.asked, self.now - it.billed));
        self.rest(machine);
    }

    fn rest(&mut self, machine: usize) {
        let it = &mut self.machines[machine];
        it.state = State::Idle;
        it.since = self.now;
        self.idle.push_back(machine);
        self.totals.idle += 1;
        self.assign();
    }

    /// Gives waiting tasks to idle workers.
    pub(super) fn assign(&mut self) {
        while !self.idle.is_empty() {
            let Some(task) = self.pending.pop_front() else { return };
            let place = match self.setup.world.wake {
                Wake::Longest => 0,
                Wake::Any => usize::try_from(self.wakes.below(self.idle.len() as u64)).unwrap_or(0),
            };
            let Some(machine) = self.idle.remove(place) else { return };
            self.start(machine, task);
        }
    }

    fn start(&mut self, machine: usize, task: usize) {
        let it = &mut self.machines[machine];
        let first = if it.worked { 0 } else { millis(self.setup.world.first_task) };
        it.state = State::Busy(task);
        it.since = self.now;
        it.worked = true;
        self.totals.idle -= 1;
        self.totals.busy += 1;
        let created = self.load.tasks()[task].created;
        let wait = self.now - created;
        if self.first_starts[task].replace(self.now).is_none() {
            self.waits.push(wait);
        }
        self.at(self.now + self.load.tasks()[task].duration + first, Event::Finish(machine));
    }

    pub(super) fn finish(&mut self, machine: usize) {
        let it = self.machines[machine];
        let State::Busy(task) = it.state else { return };
        let task = self.load.tasks()[task];
        self.delays.push(self.now - task.created - task.duration);
        self.served += task.duration;
        self.totals.busy -= 1;
        self.last_progress = self.now;
        self.rest(machine);
    }

    pub(super) fn reclaim(&mut self, machine: usize) {
        let it = self.machines[machine];
        if let State::Busy(task) = it.state {
            self.interrupted += 1;
            self.lost += self.now - it.since;
            // It is the oldest of those that wait.
            self.pending.push_front(task);
            self.waits_again(task);
        }
        self.end(machine);
        self.assign();
    }

    pub(super) fn end(&mut self, machine: usize) {
        let it = self.machines[machine];
        match it.state {
            State::Gone => return,
            State::Requested => {
                if it.place == Place::OnDemand {
                    self.on_demand_requested -= 1;
                    self.totals.booting -= 1;
                } else {
                    self.totals.requested -= 1;
                }
                self.machines[machine].state = State::Gone;
                return;
            }
            State::Booting => self.totals.booting -= 1,
            State::Idle => {
                self.totals.idle -= 1;
                // It may be taken off the list already.
                if let Some(place) = self.idle.iter().position(|other| *other == machine) {
                    let _ = self.idle.remove(place);
                }
            }
            State::Busy(_) => self.totals.busy -= 1,
        }
        let it = &mut self.machines[machine];
        it.state = State::Gone;
        if std::mem::take(&mut it.young) {
            self.totals.young -= 1;
        }
        self.live -= 1;
        let (place, since) = (it.place, it.billed);
        let billed = (self.now - since).max(millis(self.setup.world.least_billed));
        self.billed += billed;
        self.ended(place, self.now - since, billed);
    }
}
