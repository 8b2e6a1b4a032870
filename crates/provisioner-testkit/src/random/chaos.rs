//! Random events between two rounds, which concern the queue, EC2 or the process.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use provisioner::internal::domain::ids::{InstanceId, InstanceType, KeyName, WorkerTypeName};
use provisioner::internal::domain::observed::{InstanceState, OwnTags};
use provisioner::internal::settings::Settings;

use super::{Chaos, TYPES, ZONES, one_of};
use provisioner_sim::deployment::{key, secs};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::rng::Rng;
use provisioner_sim::world::World;

/// An event that concerns the process and not the world.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// Nothing.
    None,
    /// The process dies after so many more steps.
    Crash(u64),
    /// The process loses its disk and restarts.
    LoseDisk,
    /// The process restarts with another configuration.
    Reconfigure(Box<Settings>),
    /// The process reloads another configuration.
    Reload(Box<Settings>),
    /// The provisioner's clock is set to so far ahead of EC2's.
    SetClock(SignedDuration),
}

/// The events before a round.
#[derive(Clone, Debug)]
pub struct Disturbance {
    /// The event for the driver to carry out.
    pub process: ProcessEvent,
    /// Whether the next round is woken up early.
    pub wakes: bool,
}

impl Chaos {
    /// Returns whether the chaos goes on for another round.
    pub fn goes_on(&self, world: &World) -> bool {
        world.now < self.ends && self.case.rounds.is_none_or(|rounds| self.rounds < rounds)
    }

    /// Returns the rounds before which something happened.
    pub fn happened(&self) -> &BTreeSet<u64> {
        &self.happened
    }

    /// Disturbs the world before the next round, and returns the event that the driver must carry out.
    /// `configured` are the settings of the process. Every round has its own stream of random numbers, so
    /// that leaving one out does not change the others.
    pub fn disturb(&mut self, world: &mut World, configured: &Settings) -> Disturbance {
        self.rounds += 1;
        if !self.case.keeps(self.rounds) {
            return Disturbance { process: ProcessEvent::None, wakes: false };
        }
        let mut rng = Rng::stream(self.case.seed, &format!("round {}", self.rounds));
        let wakes = rng.percent(10);
        let what = rng.below(100);
        if wakes || what < 66 {
            self.happened.insert(self.rounds);
        }
        Disturbance { process: self.happen(what, world, configured, &mut rng), wakes }
    }

    fn happen(
        &self,
        what: u64,
        world: &mut World,
        configured: &Settings,
        rng: &mut Rng,
    ) -> ProcessEvent {
        let types: Vec<WorkerTypeName> = world.settings.worker_types.keys().cloned().collect();
        let Some(some_type) = rng.pick(&types).cloned() else { return ProcessEvent::None };
        let running: Vec<InstanceId> = world
            .live()
            .filter(|(_, machine)| machine.truth().state == InstanceState::Running)
            .map(|(id, _)| id.clone())
            .collect();
        match what {
            0..=24 => {
                let n = 1 + rng.below(6);
                let duration = secs(20 + rng.below(600));
                world.add_tasks(&some_type, n, duration);
            }
            25..=30 => world.queue.withdraw(&some_type, rng.below(2)),
            31..=32 => {
                if let Some(id) = rng.pick(&running) {
                    world.stop(id);
                }
            }
            33..=34 => {
                if let Some(id) = rng.pick(&running) {
                    world.end(id, "instance-terminated-no-capacity");
                }
            }
            35 => launch_by_hand(world, &key(), OwnTags::default()),
            36 => launch_by_hand(world, &KeyName::from("somebody-else"), OwnTags::default()),
            37 => {
                let disputed = Some(KeyName::from("another-deployment"));
                launch_by_hand(world, &key(), OwnTags { key_name: disputed, ..OwnTags::default() });
            }
            38..=40 => world.queue.down = rng.percent(50),
            41..=44 => {
                let pool = format!("{} in {}", one_of(rng, TYPES), one_of(rng, ZONES));
                if !world.pools.dry.remove(&pool) {
                    world.pools.dry.insert(pool);
                }
            }
            45..=46 => {
                let pool = format!("c7a.large in {}", one_of(rng, ZONES));
                world.pools.free.insert(pool, one_of(rng, [0, 1, 2]));
            }
            47 if self.case.has("quotas") => {
                world.quotas.insert(one_of(rng, ['c', 'm', 'g']), rng.below(6));
            }
            48..=50 => return ProcessEvent::Crash(1 + rng.below(12)),
            // With a limit per day the spending must not be lost; only the disk knows it.
            51 if configured.limits.max_usd_per_day.is_none() && rng.percent(30) => {
                return ProcessEvent::LoseDisk;
            }
            52 if rng.percent(50) => {
                let settings = Box::new(other(configured, &some_type, rng));
                return if rng.percent(50) {
                    ProcessEvent::Reload(settings)
                } else {
                    ProcessEvent::Reconfigure(settings)
                };
            }
            53 => {
                let all = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];
                world.queue.knowledge = one_of(rng, all);
            }
            // A broken image or a wrong parameter, which is fixed after a while.
            54..=55 if !world.bad.remove(&some_type) => {
                world.bad.insert(some_type);
            }
            56 if world.refused.remove(&some_type).is_none() => {
                world.refused.insert(some_type, "InvalidParameterValue".to_owned());
            }
            57..=61 if !self.clock_off.is_zero() => {
                let off = SignedDuration::try_from(self.clock_off).unwrap_or_default();
                let to = rng.between(Duration::ZERO, 2 * self.clock_off);
                let to = SignedDuration::try_from(to).unwrap_or_default() - off;
                return ProcessEvent::SetClock(to);
            }
            62..=65 if self.clock_days => {
                let hours = one_of(rng, [-72, -25, 25, 48, 0, 0, 0, 0]);
                return ProcessEvent::SetClock(SignedDuration::from_hours(hours));
            }
            _ => {}
        }
        ProcessEvent::None
    }
}

/// Removes a worker type from the configuration, or changes its maximum.
fn other(configured: &Settings, some_type: &WorkerTypeName, rng: &mut Rng) -> Settings {
    let mut settings = configured.clone();
    if rng.percent(30) && settings.worker_types.len() > 1 {
        settings.worker_types.remove(some_type);
    } else if let Some(worker_type) = settings.worker_types.get_mut(some_type) {
        worker_type.max_instances = 1 + rng.below(8);
        worker_type.min_instances = worker_type.min_instances.min(worker_type.max_instances);
    }
    settings
}

fn launch_by_hand(world: &mut World, key: &KeyName, tags: OwnTags) {
    world.launch(key, None, InstanceType::from("c7g.large"), tags, true);
}
