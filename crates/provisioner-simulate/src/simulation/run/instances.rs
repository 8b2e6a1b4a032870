//! The life of requests, instances and the tasks on them.

use std::time::Duration;

use super::market::Purchase;
use super::{Event, Instance, InstanceState, Simulation, Startup};
use crate::simulation::setup::Wake;
use crate::time::millis;

impl Simulation<'_> {
    /// Requests an instance.
    pub(super) fn request(&mut self, purchase: Purchase) {
        let world = &self.setup.world;
        let startup = world.startup.draw(&mut self.startup_rng);
        let boot = if world.parts_apart { world.startup.draw(&mut self.boot_rng) } else { startup };
        let life = (world.reclaimed_per_hour > 0.0).then(|| {
            let mean = Duration::from_hours(1).div_f64(world.reclaimed_per_hour);
            millis(self.life_rng.until_next(mean))
        });
        let index = self.instances.len();
        self.instances.push(Instance {
            state: InstanceState::Requested,
            requested: self.now,
            since: self.now,
            billed_from: self.now,
            young: false,
            worked: false,
            life,
            purchase,
            fulfilled_at: u64::MAX,
            ready_at: u64::MAX,
        });
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "minutes in milliseconds"
        )]
        let open = (millis(startup) as f64 * world.unbilled).round() as u64;
        let startup = Startup { open, boot: millis(boot.mul_f64(1.0 - world.unbilled)) };
        if purchase == Purchase::OnDemand {
            // On-demand capacity is certain to come, so a policy sees it as booting.
            self.totals.booting += 1;
            self.on_demand_requested += 1;
        } else {
            self.totals.asked += 1;
            self.totals.requested += 1;
            self.requests.push(index);
            if self.is_refused(index, startup) {
                return;
            }
        }
        self.start_up(index, startup);
    }

    pub(super) fn start_up(&mut self, index: usize, startup: Startup) {
        let fulfilled_at = self.now + startup.open;
        let ready_at = fulfilled_at + startup.boot;
        let instance = &mut self.instances[index];
        instance.fulfilled_at = fulfilled_at;
        instance.ready_at = ready_at;
        self.schedule(fulfilled_at, Event::Fulfil(index));
        self.schedule(ready_at, Event::Ready(index));
    }

    /// Cancels the latest open request, since the others are closer to being fulfilled. Returns whether
    /// there was one.
    pub(super) fn cancel(&mut self) -> bool {
        while let Some(index) = self.requests.pop() {
            if self.instances[index].state == InstanceState::Requested {
                self.instances[index].state = InstanceState::Gone;
                self.totals.requested -= 1;
                self.totals.cancelled += 1;
                // A request that waits for capacity says nothing about how long requests take.
                if !self.waits_for_capacity(index) {
                    let open = self.now - self.instances[index].requested;
                    self.memory.record_cancelled_request(Duration::from_millis(open));
                }
                return true;
            }
        }
        false
    }

    pub(super) fn fulfil(&mut self, index: usize) {
        let Instance { state, fulfilled_at, life, purchase, .. } = self.instances[index];
        if state != InstanceState::Requested || self.now != fulfilled_at {
            return;
        }
        if self.found_pool_full(index) {
            return;
        }
        let instance = &mut self.instances[index];
        instance.state = InstanceState::Booting;
        instance.since = self.now;
        instance.billed_from = self.now;
        instance.young = true;
        if purchase == Purchase::OnDemand {
            self.on_demand_requested -= 1;
        } else {
            self.totals.requested -= 1;
            self.totals.booting += 1;
        }
        self.fulfilled(purchase);
        self.totals.young += 1;
        self.young.push_back(index);
        self.launched += 1;
        self.live += 1;
        self.peak = self.peak.max(self.live);
        if let Some(life) = life {
            self.schedule(self.now + life, Event::Reclaim(index));
        }
    }

    pub(super) fn ready(&mut self, index: usize) {
        let Instance { state, requested, billed_from, ready_at, .. } = self.instances[index];
        if state != InstanceState::Booting || self.now != ready_at {
            return;
        }
        self.totals.booting -= 1;
        self.totals.boots.push((billed_from - requested, self.now - billed_from));
        self.becomes_idle(index);
    }

    fn becomes_idle(&mut self, index: usize) {
        let instance = &mut self.instances[index];
        instance.state = InstanceState::Idle;
        instance.since = self.now;
        self.idle.push_back(index);
        self.totals.idle += 1;
        self.assign();
    }

    /// Gives waiting tasks to idle workers.
    pub(super) fn assign(&mut self) {
        while !self.idle.is_empty() {
            let Some(task) = self.pending.pop_front() else { return };
            let position = match self.setup.world.wake {
                Wake::Longest => 0,
                Wake::Any => {
                    usize::try_from(self.wake_rng.below(self.idle.len() as u64)).unwrap_or(0)
                }
            };
            let Some(index) = self.idle.remove(position) else { return };
            self.start(index, task);
        }
    }

    fn start(&mut self, index: usize, task: usize) {
        let instance = &mut self.instances[index];
        let extra = if instance.worked { 0 } else { millis(self.setup.world.first_task) };
        instance.state = InstanceState::Busy(task);
        instance.since = self.now;
        instance.worked = true;
        self.totals.idle -= 1;
        self.totals.busy += 1;
        let created = self.load.tasks()[task].created;
        if self.first_starts[task].replace(self.now).is_none() {
            self.waits.push(self.now - created);
        }
        let end = self.now + self.load.tasks()[task].duration + extra;
        self.schedule(end, Event::Finish(index));
    }

    pub(super) fn finish(&mut self, index: usize) {
        let InstanceState::Busy(task) = self.instances[index].state else { return };
        let task = self.load.tasks()[task];
        self.delays.push(self.now - task.created - task.duration);
        self.served += task.duration;
        self.totals.busy -= 1;
        self.last_progress = self.now;
        self.becomes_idle(index);
    }

    pub(super) fn reclaim(&mut self, index: usize) {
        let Instance { state, since, .. } = self.instances[index];
        if let InstanceState::Busy(task) = state {
            self.interrupted += 1;
            self.lost += self.now - since;
            // The interrupted task is the oldest of those that wait.
            self.pending.push_front(task);
            self.waits_again(task);
        }
        self.end(index);
        self.assign();
    }

    /// Ends an instance or its request, whatever its state.
    pub(super) fn end(&mut self, index: usize) {
        let Instance { state, purchase, billed_from, .. } = self.instances[index];
        match state {
            InstanceState::Gone => return,
            InstanceState::Requested => {
                if purchase == Purchase::OnDemand {
                    self.on_demand_requested -= 1;
                    self.totals.booting -= 1;
                } else {
                    self.totals.requested -= 1;
                }
                self.instances[index].state = InstanceState::Gone;
                return;
            }
            InstanceState::Booting => self.totals.booting -= 1,
            InstanceState::Idle => {
                self.totals.idle -= 1;
                // The caller may have removed it from the list already.
                if let Some(position) = self.idle.iter().position(|other| *other == index) {
                    let _ = self.idle.remove(position);
                }
            }
            InstanceState::Busy(_) => self.totals.busy -= 1,
        }
        let instance = &mut self.instances[index];
        instance.state = InstanceState::Gone;
        if std::mem::take(&mut instance.young) {
            self.totals.young -= 1;
        }
        self.live -= 1;
        let lived = self.now - billed_from;
        let billed = lived.max(millis(self.setup.world.least_billed));
        self.billed += billed;
        self.ended(purchase, lived, billed);
    }
}
