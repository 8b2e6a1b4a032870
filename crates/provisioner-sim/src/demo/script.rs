//! The events of the day that do not depend on the seed: a zone runs out of capacity, a pool becomes too
//! expensive, instances are interrupted, and many developers merge at once.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::InstanceId;

use super::load::Load;
use crate::deployment::key;
use crate::world::World;

/// An event.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// A pool runs out of capacity.
    Empty(&'static str),
    /// The pool has capacity again.
    Refilled(&'static str),
    /// EC2 interrupts so many instances in a zone.
    TakeBack(&'static str, usize),
    /// A push has so many times the usual size.
    Surge(u64),
}

/// The events with their minutes after the start of each day, in order.
const TURNS: [(u64, Turn); 9] = [
    (25, Turn::Surge(4)),
    (50, Turn::Empty("c7g.large in us-west-2a")),
    (75, Turn::TakeBack("us-west-2b", 3)),
    (105, Turn::Empty("c7g.large in us-west-2b")),
    (110, Turn::Surge(6)),
    (165, Turn::Refilled("c7g.large in us-west-2b")),
    (200, Turn::Refilled("c7g.large in us-west-2a")),
    (255, Turn::TakeBack("us-west-2c", 2)),
    (290, Turn::Surge(5)),
];

/// An event and its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) at: Timestamp,
    turn: Turn,
}

/// The events of every day until the end.
#[derive(Debug)]
pub(super) struct Script {
    /// In reverse order.
    scenes: Vec<Scene>,
}

impl Script {
    pub(super) fn new(begins: Timestamp, ends: Timestamp) -> Self {
        let mut scenes = Vec::new();
        let mut day = begins;
        while day < ends {
            scenes.extend(TURNS.map(|(minute, turn)| Scene {
                at: clock::after(day, Duration::from_mins(minute)),
                turn,
            }));
            day = clock::after(day, Duration::from_hours(24));
        }
        scenes.reverse();
        Self { scenes }
    }

    pub(super) fn next_until(&mut self, until: Timestamp) -> Option<Scene> {
        self.scenes.pop_if(|scene| scene.at <= until)
    }
}

impl Scene {
    /// Lets the event happen. Returns a description.
    pub(super) fn play(self, world: &mut World, load: &mut Load) -> Option<String> {
        match self.turn {
            Turn::Empty(pool) => {
                world.pools.dry.insert(pool.to_owned());
                let (instance_type, zone) = pool.split_once(" in ")?;
                Some(format!("{zone} has no {instance_type} left"))
            }
            Turn::Refilled(pool) => {
                world.pools.dry.remove(pool);
                let (instance_type, zone) = pool.split_once(" in ")?;
                Some(format!("{zone} has {instance_type} again"))
            }
            Turn::TakeBack(zone, n) => {
                let there: Vec<InstanceId> = world
                    .live()
                    .filter(|(_, machine)| {
                        let own = machine.truth().zone.as_ref();
                        machine.key == key() && own.is_some_and(|own| own.as_str() == zone)
                    })
                    .map(|(id, _)| id.clone())
                    .take(n)
                    .collect();
                for id in &there {
                    world.interrupt(id);
                }
                None
            }
            Turn::Surge(times) => {
                load.surge(self.at, times);
                Some(format!("a push {times} times as large as usual"))
            }
        }
    }
}
