//! The demonstration: a day of CI on the simulated EC2 with the production engine, a realistic load, moving
//! prices, a zone that runs out of capacity, and interrupted instances.
//!
//! There is no clock and no terminal in here; the caller sets the pace.

mod load;
mod market;
mod script;
mod view;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::engine::{ActionKind, ActionOutcome, ActionResult, NoteKind};
use provisioner::internal::settings::{Settings, WorkerType};

use crate::deployment::{IMAGE, key, mins, name, secs, settings, worker_type};
use crate::driver::{Driver, End};
use crate::queue::Knowledge;
use crate::world::throttle::{Call, Rate, Throttle};
use crate::world::{Boot, World};
use load::Load;
use script::Script;

pub use view::{Glance, Line, LineKind, Row, Summary};

/// The zones in which capacity is requested.
const ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];

/// The worker types with their instance types and initial prices in USD per hour, which are close to those of
/// the spot market in us-west-2 in 2026.
struct Kind {
    name: &'static str,
    /// The image, which has the architecture of the instance types.
    image: &'static str,
    instance_types: [(&'static str, f64); 2],
    max_price: f64,
    max_instances: u64,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "linux",
        image: IMAGE,
        instance_types: [("c7g.large", 0.031), ("m7g.large", 0.036)],
        max_price: 0.08,
        max_instances: 60,
    },
    Kind {
        name: "linux-large",
        image: IMAGE,
        instance_types: [("c7g.4xlarge", 0.246), ("m7g.4xlarge", 0.284)],
        max_price: 0.60,
        max_instances: 16,
    },
    Kind {
        name: "gpu",
        image: "ami-gpu",
        instance_types: [("g5.xlarge", 0.424), ("g4dn.xlarge", 0.219)],
        max_price: 0.90,
        max_instances: 4,
    },
];

impl Kind {
    fn worker_type(&self) -> WorkerType {
        let types = self.instance_types.map(|(name, _)| name);
        WorkerType {
            image_id: self.image.to_owned(),
            max_price: UsdPerHour::from_dollars(self.max_price).ok(),
            idle_timeout: mins(5),
            ..worker_type(&types, self.max_instances)
        }
    }
}

fn deployment() -> Settings {
    settings(KINDS.iter().map(|kind| (kind.name, kind.worker_type())))
}

/// A demonstration in progress.
#[derive(Debug)]
pub struct Demo {
    driver: Driver,
    load: Load,
    script: Script,
    begins: Timestamp,
    ends: Timestamp,
    next_round: Timestamp,
    rounds: u64,
    actions: u64,
    /// How many of the world's interruptions were reported.
    told: usize,
    /// The notes of the last round, since a note that stays is reported only once.
    notes: BTreeSet<(Option<WorkerTypeName>, NoteKind)>,
    lines: VecDeque<Line>,
}

impl Demo {
    /// Begins a demonstration in the morning of a working day that lasts for `length`, whatever the clock shows
    /// at that time.
    pub fn new(seed: u64, begins: Timestamp, length: Duration) -> Self {
        let mut world = World::new(Arc::new(deployment()), Knowledge::ByInstance, seed, begins);
        world.boot = Boot::Lognormal(crate::rng::Lognormal::new(secs(60), secs(200)));
        // EC2 publishes no limits. These are those of an account in which nothing else runs.
        let mut throttle = Throttle::default();
        throttle.set_rate(Call::Request, Rate { burst: 50.0, per_second: 5.0 });
        world.throttle = Some(throttle);
        world.faults.fill = secs(20);
        world.faults.lag = secs(15);
        world.faults.interrupted = 3;
        let ends = clock::after(begins, length);
        market::open(&mut world, seed, begins, ends);
        let mut driver = Driver::new(world, &ZONES);
        for kind in &KINDS {
            if let Some(Ok(resolved)) = driver.resolved.get_mut(kind.name) {
                kind.image.clone_into(&mut resolved.image_id);
            }
        }
        Self {
            driver,
            load: Load::new(seed, begins),
            script: Script::new(begins, ends),
            begins,
            ends,
            next_round: begins,
            rounds: 0,
            actions: 0,
            told: 0,
            notes: BTreeSet::new(),
            lines: VecDeque::new(),
        }
    }

    /// Returns when the next round begins; `None` if the demonstration has ended.
    pub fn next_round(&self) -> Option<Timestamp> {
        (self.next_round < self.ends).then_some(self.next_round)
    }

    /// Returns the time in the demonstration.
    pub fn now(&self) -> Timestamp {
        self.driver.world.now
    }

    /// Returns the simulated EC2 and queue.
    pub fn world(&self) -> &World {
        &self.driver.world
    }

    /// Returns the simulated EC2 and queue, for changes from outside.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.driver.world
    }

    /// Lets time pass until `until`, with new tasks, work and events. Returns lines for the noteworthy events.
    pub fn advance(&mut self, until: Timestamp) -> Vec<Line> {
        self.pass(until);
        self.lines.drain(..).collect()
    }

    /// Lets time pass between two rounds, for a call from outside that comes at `now`.
    pub fn catch_up(&mut self, now: Timestamp) {
        self.pass(now.min(self.next_round));
    }

    fn pass(&mut self, until: Timestamp) {
        let until = until.min(self.ends);
        while self.load.next_at() <= until {
            self.play(self.load.next_at().min(until));
            let at = self.load.next_at();
            self.driver.world.advance(at);
            for (worker_type, n, duration) in self.load.take() {
                self.driver.world.add_tasks(&name(worker_type), n, duration);
            }
        }
        self.play(until);
        self.driver.world.advance(until);
        self.tell_taken_back();
    }

    /// Lets the remaining time pass, after the last round.
    pub fn finish(&mut self) -> Vec<Line> {
        self.advance(self.ends)
    }

    /// Runs the script until `until`.
    fn play(&mut self, until: Timestamp) {
        while let Some(scene) = self.script.next_until(until) {
            self.driver.world.advance(scene.at);
            if let Some(text) = scene.play(&mut self.driver.world, &mut self.load) {
                let at = scene.at;
                self.lines.push_back(Line { at, kind: LineKind::World, worker_type: None, text });
            }
        }
    }

    fn tell_taken_back(&mut self) {
        let world = &self.driver.world;
        for (at, id) in &world.taken_back[self.told..] {
            let Some(machine) = world.machines.get(id) else { continue };
            if machine.key != key() {
                continue;
            }
            let text = format!("EC2 takes {id} back in two minutes ({})", machine.pool());
            let worker_type = machine.worker_type.clone();
            self.lines.push_back(Line { at: *at, kind: LineKind::World, worker_type, text });
        }
        self.told = world.taken_back.len();
    }

    /// Runs the round that is due. Returns lines about what was done and why, and what was not done.
    pub fn round(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        let now = self.driver.world.now;
        let mut actions = 0;
        let end = self.driver.round_watched(|_, _, executed| {
            actions += executed.len() as u64;
            // Tagging follows every launch and is not noteworthy.
            let news = executed.iter().filter(|one| !matches!(one.action.kind, ActionKind::Tag(_)));
            lines.extend(news.map(|one| line(now, one)));
        });
        self.rounds += 1;
        self.actions += actions;
        let clock = self.driver.clock();
        let wake = match end {
            End::Round(report) => report.wake,
            End::Blind(wake) => wake,
            End::Crashed => clock,
        };
        self.next_round = clock::after(self.now(), clock::age(clock, wake).max(secs(1)));
        let notes = std::mem::take(&mut self.notes);
        for note in &self.driver.plan.notes {
            let key = (note.worker_type.clone(), note.kind);
            if note.kind != NoteKind::InFlight && !notes.contains(&key) {
                let worker_type = note.worker_type.clone();
                let text = note.text.clone();
                lines.push(Line { at: now, kind: LineKind::Note, worker_type, text });
            }
            self.notes.insert(key);
        }
        lines
    }
}

fn line(at: Timestamp, executed: &ActionOutcome) -> Line {
    let ActionOutcome { action, launch, result } = executed;
    let (kind, count) = (action.kind.as_str(), action.kind.count());
    let place = launch.as_ref().map_or_else(String::new, |(pool, _)| format!(" {pool}"));
    let (tone, text) = match result {
        ActionResult::Done(_) => {
            (LineKind::Done, format!("{kind} {count}{place}: {}", action.reason.text))
        }
        ActionResult::Refused(refusal) => {
            (LineKind::Refused, format!("{kind} {count}{place} was refused: {}", refusal.code))
        }
        ActionResult::Unknown(refusal) => {
            (LineKind::Refused, format!("{kind} {count}{place} got no answer: {}", refusal.code))
        }
    };
    Line { at, kind: tone, worker_type: action.worker_type.clone(), text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::start;

    fn play(seed: u64, length: Duration) -> (Demo, Vec<Line>) {
        let mut demo = Demo::new(seed, start(), length);
        let mut lines = Vec::new();
        while let Some(next) = demo.next_round() {
            lines.extend(demo.advance(next));
            lines.extend(demo.round());
        }
        (demo, lines)
    }

    #[test]
    fn a_day_has_something_of_everything_and_nothing_forbidden() {
        let (demo, lines) = play(1, Duration::from_hours(6));
        assert!(demo.world().violations.is_empty(), "{:?}", demo.world().violations);
        let summary = demo.summary();
        assert!(summary.tasks.finished > 500, "{summary:?}");
        assert!(summary.cost_usd > 1.0, "{summary:?}");
        let told = |part: &str| lines.iter().any(|line| line.text.contains(part));
        for part in
            ["tasks wait", "no capacity there", "takes i-sim", "has no c7g.large left", "too many;"]
        {
            assert!(told(part), "nothing about `{part}`");
        }
    }

    #[test]
    fn all_that_is_shown_at_once_is_of_the_same_moment() {
        let mut demo = Demo::new(1, start(), Duration::from_hours(2));
        let mut just_asked = 0;
        while let Some(next) = demo.next_round() {
            demo.advance(next);
            let before = demo.world().requests.len();
            demo.round();
            let (glance, world) = (demo.glance(), demo.world());
            let sum = |of: fn(&Row) -> u64| glance.rows.iter().map(of).sum::<u64>();
            assert_eq!(sum(|row| row.pending), world.queue.pending_in_all());
            assert_eq!(sum(|row| row.open), world.open().count() as u64);
            assert_eq!(sum(Row::instances), world.live().count() as u64);
            assert_eq!(glance.usd_per_hour, world.usd_per_hour());
            for row in &glance.rows {
                assert_eq!(row.instances() == 0, row.usd_per_hour == UsdPerHour::ZERO, "{row:?}");
            }
            just_asked += usize::from(before == 0 && sum(|row| row.open + row.booting) > 0);
        }
        assert_eq!(just_asked, 1, "what the first round asked for is there when it is told");
    }

    #[test]
    fn the_same_seed_is_the_same_day_and_another_is_another() {
        let day = |seed| {
            let (demo, lines) = play(seed, Duration::from_hours(1));
            (format!("{:?}", demo.summary()), lines)
        };
        assert_eq!(day(3), day(3));
        assert_ne!(day(3), day(4));
    }
}
