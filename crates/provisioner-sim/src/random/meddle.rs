//! What happens between two rounds: to the queue, to EC2, and to the process.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use provisioner::domain::ids::{InstanceId, InstanceType, KeyName, WorkerTypeName};
use provisioner::domain::observed::{InstanceState, OwnTags};
use provisioner::settings::Settings;

use super::{Chaos, TYPES, ZONES, one_of};
use crate::deployment::{key, secs};
use crate::queue::Knowledge;
use crate::rng::Rng;
use crate::world::World;

/// What happens to the process and not to the world.
#[derive(Clone, Debug)]
pub enum Meddling {
    /// Nothing.
    None,
    /// It dies after so many steps more.
    Crash(u64),
    /// It loses what is on its disk, and starts again.
    LoseDisk,
    /// It starts again under another configuration.
    Reconfigure(Box<Settings>),
    /// It reads another configuration, and goes on.
    Reload(Box<Settings>),
    /// The clock beside it is set: so far ahead of EC2's.
    SetClock(SignedDuration),
}

/// What happened before a round.
#[derive(Clone, Debug)]
pub struct Meddled {
    /// For the driver to do.
    pub meddling: Meddling,
    /// After this round the next one is woken up early.
    pub wakes: bool,
}

impl Chaos {
    /// Whether it goes on for another round.
    pub fn goes_on(&self, world: &World) -> bool {
        world.now < self.ends && self.case.rounds.is_none_or(|rounds| self.rounds < rounds)
    }

    /// Before which rounds something happened.
    pub fn happened(&self) -> &BTreeSet<u64> {
        &self.happened
    }

    /// Lets something happen before the next round. What happens to the process is for its driver to do;
    /// `configured` is what it runs under. Every round has chance of its own: leaving one out leaves the
    /// others as they are.
    pub fn meddle(&mut self, world: &mut World, configured: &Settings) -> Meddled {
        self.rounds += 1;
        if !self.case.keeps(self.rounds) {
            return Meddled { meddling: Meddling::None, wakes: false };
        }
        let mut rng = Rng::stream(self.case.seed, &format!("round {}", self.rounds));
        let wakes = rng.percent(10);
        let what = rng.below(100);
        if wakes || what < 62 {
            self.happened.insert(self.rounds);
        }
        Meddled { meddling: self.happen(what, world, configured, &mut rng), wakes }
    }

    fn happen(
        &self,
        what: u64,
        world: &mut World,
        configured: &Settings,
        rng: &mut Rng,
    ) -> Meddling {
        let types: Vec<WorkerTypeName> = world.settings.worker_types.keys().cloned().collect();
        let Some(some_type) = rng.pick(&types).cloned() else { return Meddling::None };
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
            48..=50 => return Meddling::Crash(1 + rng.below(12)),
            // What was spent is known from the disk alone.
            51 if configured.limits.max_usd_per_day.is_none() && rng.percent(30) => {
                return Meddling::LoseDisk;
            }
            52 if rng.percent(50) => {
                let settings = Box::new(other(configured, &some_type, rng));
                return if rng.percent(50) {
                    Meddling::Reload(settings)
                } else {
                    Meddling::Reconfigure(settings)
                };
            }
            53 => {
                let all = [Knowledge::Unknown, Knowledge::Counted, Knowledge::ByInstance];
                world.queue.knowledge = one_of(rng, all);
            }
            // Bad for a time: a broken image or a wrong parameter, and it is mended.
            54..=55 if !world.bad.remove(&some_type) => drop(world.bad.insert(some_type)),
            56 if world.refused.remove(&some_type).is_none() => {
                world.refused.insert(some_type, "InvalidParameterValue".to_owned());
            }
            57..=61 if !self.clock_off.is_zero() => {
                let off = SignedDuration::try_from(self.clock_off).unwrap_or_default();
                let to = rng.between(Duration::ZERO, 2 * self.clock_off);
                let to = SignedDuration::try_from(to).unwrap_or_default() - off;
                return Meddling::SetClock(to);
            }
            _ => {}
        }
        Meddling::None
    }
}

/// Another configuration: a worker type is gone, or has another maximum.
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
