//! The trouble of the daemon, and the moods of EC2.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use provisioner_sim::rng::Rng;
use serde_json::{Value, json};

use super::length::Length;
use crate::harness::{Answer, World};

/// An event that happens to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// `kill -9`, whatever it does just now.
    Kill,
    /// `kill -9` while a launching call is under way that was, or was not, carried out.
    KillInLaunch { after: &'static str },
    /// SIGTERM.
    Stop,
    /// SIGHUP with another configuration.
    Reload,
    /// A user starts a machine by hand under our key pair.
    Stray,
}

/// The next event, and the mood of EC2 until then.
#[derive(Debug)]
pub(super) struct Trouble {
    rng: Rng,
    start: Instant,
    events: VecDeque<(Duration, Event)>,
    mood_until: Instant,
}

impl Trouble {
    /// All restarts are early, so that the last process lives for most of the time.
    pub(super) fn new(seed: u64, length: Length) -> Self {
        let (before, applied) =
            (Event::KillInLaunch { after: "before" }, Event::KillInLaunch { after: "applied" });
        let mut early = vec![(3, Event::Kill), (6, before), (9, applied), (12, Event::Stop)];
        if length.is_long() {
            let more = [1, 2, 4, 5, 7, 8, 10, 11];
            early.extend(more.into_iter().zip([Event::Kill, applied, before].into_iter().cycle()));
        }
        let late = [20, 30, 40, 50, 60, 70, 80, 90].map(|at| (at, Event::Reload));
        let strays: &[u32] = if length.is_long() {
            &[
                15, 18, 22, 25, 28, 32, 35, 38, 42, 45, 48, 52, 55, 58, 62, 65, 68, 72, 75, 78, 82,
                85,
            ]
        } else {
            &[25, 45, 65]
        };
        let mut events: Vec<_> = early
            .into_iter()
            .chain(late)
            .chain(strays.iter().map(|at| (*at, Event::Stray)))
            .map(|(at, event)| (length.part(at), event))
            .collect();
        events.sort_by_key(|(at, _)| *at);
        let now = Instant::now();
        Self {
            rng: Rng::stream(seed, "trouble"),
            start: now,
            events: events.into(),
            mood_until: now,
        }
    }

    /// The next event, if it is due.
    pub(super) fn due(&self) -> Option<Event> {
        let (at, event) = self.events.front()?;
        (*at <= self.start.elapsed()).then_some(*event)
    }

    /// The event that was due is past.
    pub(super) fn past(&mut self) {
        self.events.pop_front();
    }

    /// All events are past.
    pub(super) fn is_over(&self) -> bool {
        self.events.is_empty()
    }

    /// How EC2 behaves from now on, if it changes its mind.
    pub(super) fn mood(&mut self) -> Option<Value> {
        if Instant::now() < self.mood_until {
            return None;
        }
        self.mood_until = Instant::now() + Duration::from_millis(1_000 + self.rng.below(4_000));
        let spot = match self.rng.below(4) {
            0 => json!("at-once"),
            1 => json!({ "after": 1 }),
            2 => json!({ "after": 2 }),
            _ => json!({ "after": 6 }),
        };
        let capacity = match self.rng.below(6) {
            0 => json!({ "us-west-2a/m5.large": 1 }),
            1 => json!({ "us-west-2a/*": 2 }),
            2 => json!({ "*/c5.large": 0 }),
            _ => json!({}),
        };
        Some(json!({
            "spot": spot,
            "capacity": capacity,
            "no_capacity": if self.rng.percent(50) { "hold" } else { "refuse" },
            "lag_looks": self.rng.below(3),
            "fulfil_on_cancel": self.rng.below(2),
        }))
    }

    /// EC2 as it is on a good day.
    pub(super) fn fair() -> Value {
        json!({ "spot": "at-once", "capacity": {}, "lag_looks": 0, "fulfil_on_cancel": 0 })
    }

    /// How the queue answers instead of well, now and then.
    pub(super) fn queue(&mut self, tasks: &[Value]) -> Option<Answer> {
        if !self.rng.percent(1) {
            return None;
        }
        Some(match self.rng.below(5) {
            0 => Answer::Status(500, "the queue is unwell".to_owned()),
            1 => Answer::CutOff(tasks.to_vec()),
            2 => Answer::Close,
            3 => Answer::Hang,
            _ => Answer::Text("[{".to_owned()),
        })
    }

    /// A machine that EC2 takes back, now and then.
    pub(super) fn interrupted(&mut self, world: &World, key_name: &str) -> Option<String> {
        let live = world.live(key_name);
        // About one in ten seconds.
        let taken = self.rng.below(70) == 0;
        self.rng.pick(&live).filter(|_| taken).map(|instance| instance.id.clone())
    }

    /// Whether a user wakes the daemon.
    pub(super) fn wakes(&mut self) -> bool {
        self.rng.percent(5)
    }
}
