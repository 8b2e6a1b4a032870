//! An EC2 that misbehaves, with workers on its instances: capacity, spot requests, instances and billing,
//! in virtual time.
//!
//! It keeps two views of everything: the truth, and what describe calls show of it later. All chance is
//! drawn from one seed, a stream per purpose. Nothing in here can be mistaken for AWS: its ids
//! (`i-sim…`, `sir-sim…`) and its account are none that AWS issues.

mod asking;
mod calls;
mod demand;
mod events;
mod instances;
mod lifecycle;
mod look;
pub mod pools;
mod requests;
pub mod throttle;
pub mod trace;
mod truth;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::domain::clock;
use provisioner::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use provisioner::domain::launch::{LaunchCall, Pool};
use provisioner::domain::money::UsdPerHour;
use provisioner::domain::observed::KeyPair;
use provisioner::settings::Settings;

use crate::faults::Faults;
use crate::queue::{Knowledge, Queue};
use crate::rng::{Lognormal, Rng};
use events::{Event, Events};
use lifecycle::Reclaim;
use pools::Pools;
use throttle::Throttle;

pub use asking::{Asking, Habits};
pub(crate) use calls::refusal;
pub use calls::unknown_profile;
pub use instances::NOTICE;
pub use instances::{Machine, Machines};
pub use requests::{Request, Requests};
pub use truth::Bill;

/// How long a worker takes from a running instance to its first claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Boot {
    /// Evenly between two times.
    Between(Duration, Duration),
    /// Lognormal, as measured boots are.
    Lognormal(Lognormal),
}

/// Which of several idle workers gets the next task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waking {
    /// The one that is idle longest.
    #[default]
    FirstIdle,
    /// Any.
    Random,
}

/// One launching call and EC2's answer to it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// Which capacity pool.
    pub pool: Pool,
    /// For which worker type.
    pub worker_type: WorkerTypeName,
    /// How many.
    pub count: u32,
    /// What EC2 said: `3 granted`, or an error code.
    pub said: String,
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// The present.
    pub now: Timestamp,
    /// When it was last looked at: what somebody made since, nobody can know of.
    pub looked: Timestamp,
    /// The configuration its workers were made by.
    pub settings: Arc<Settings>,
    /// The queue.
    pub queue: Queue,
    /// Whether it answered when it was last asked.
    pub queue_answered: bool,
    /// As of when the queue's last answer was true.
    pub queue_read: Timestamp,
    /// How it misbehaves.
    pub faults: Faults,
    /// Whose key pair our key-name names.
    pub key_pair: KeyPair,
    /// Key pairs of other names, with their tags.
    pub more_key_pairs: BTreeMap<String, BTreeMap<String, String>>,
    /// Every spot request there ever was.
    pub requests: Requests,
    /// Every instance there ever was.
    pub machines: Machines,
    /// Capacity and prices.
    pub pools: Pools,
    /// The most instances per first letter of the instance type.
    pub quotas: BTreeMap<char, u64>,
    /// Worker types whose every launch is refused with a code.
    pub refused: BTreeMap<WorkerTypeName, String>,
    /// Worker types whose every request fails with `bad-parameters`.
    pub bad: BTreeSet<WorkerTypeName>,
    /// What EC2 says of requests that fail with `bad-parameters`.
    pub bad_because: String,
    /// Instance profiles that EC2 does not know.
    pub unknown_profiles: BTreeSet<String>,
    /// How long a worker takes to boot.
    pub boot: Boot,
    /// Who gets the next task.
    pub waking: Waking,
    /// Where workers ask whether to stop, if they may.
    pub asking: Option<Asking>,
    /// Throttling by token buckets, where it is wanted.
    pub throttle: Option<Throttle>,
    /// Records per page of a describe call, at most.
    pub page: usize,
    /// What must never happen, and did.
    pub violations: Vec<String>,
    /// Every launching call, in order, with what EC2 said.
    pub calls: Vec<Asked>,
    /// Instances that EC2 took back, when they were given notice.
    pub taken_back: Vec<(Timestamp, InstanceId)>,
    tokens: HashMap<ClientToken, (LaunchCall, Vec<usize>)>,
    /// Calls answered in EC2's protocol.
    answered: u64,
    events: Events,
    /// Machines that are up and have room for a task, per worker type: idle since when, and the number.
    free_workers: BTreeMap<WorkerTypeName, BTreeSet<(Timestamp, usize)>>,
    ended: Bill,
    /// The queue has left a running task out since it last told the truth.
    left_out: bool,
    /// What becomes of requests and instances.
    fate: Rng,
    boots: Rng,
    lag: Rng,
    wakes: Rng,
    asks: Rng,
    /// What the queue says.
    says: Rng,
    /// What becomes of calls; also for drivers, who share it with them.
    pub(crate) network: Rng,
}

impl World {
    /// A world without faults and without tasks, at `start`.
    pub fn new(settings: Arc<Settings>, knowledge: Knowledge, seed: u64, start: Timestamp) -> Self {
        Self {
            now: start,
            looked: start,
            settings,
            queue: Queue::new(knowledge),
            queue_answered: true,
            queue_read: start,
            faults: Faults::default(),
            key_pair: KeyPair::Ours,
            more_key_pairs: BTreeMap::new(),
            requests: Requests::default(),
            machines: Machines::default(),
            pools: Pools::default(),
            quotas: BTreeMap::new(),
            refused: BTreeMap::new(),
            bad: BTreeSet::new(),
            bad_because: "bad-parameters it is".to_owned(),
            unknown_profiles: BTreeSet::new(),
            boot: Boot::Between(Duration::from_secs(20), Duration::from_secs(90)),
            waking: Waking::default(),
            asking: None,
            throttle: None,
            page: look::PAGE,
            violations: Vec::new(),
            calls: Vec::new(),
            taken_back: Vec::new(),
            tokens: HashMap::new(),
            answered: 0,
            events: Events::default(),
            free_workers: BTreeMap::new(),
            ended: Bill::default(),
            left_out: false,
            fate: Rng::stream(seed, "fate"),
            boots: Rng::stream(seed, "boots"),
            lag: Rng::stream(seed, "lag"),
            wakes: Rng::stream(seed, "wakes"),
            asks: Rng::stream(seed, "asks"),
            says: Rng::stream(seed, "says"),
            network: Rng::stream(seed, "network"),
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some((at, event)) = self.events.next_until(to) {
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(to);
    }

    /// When something happens next by itself.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.events.next_at()
    }

    /// The id of one more answer in EC2's protocol.
    pub(crate) fn next_request_id(&mut self) -> String {
        self.answered += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.answered)
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.events.add(clock::after(self.now, after), event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fill(request) => self.fill(request),
            Event::Fail(request) => self.fail_request(request),
            Event::Expire(request) => self.expire(request),
            Event::Running(machine) => self.comes_up(machine),
            Event::Up(machine) => self.worker_starts(machine),
            Event::Finished(task, machine) => self.task_ends(task, machine),
            Event::Idle(machine) => self.worker_tires(machine),
            Event::Ask(machine) => self.worker_asks(machine),
            Event::Stopping(machine) => self.worker_stops(machine),
            // No more of them once the fault has ended.
            Event::Notice(machine) if self.faults.interrupted > 0 => {
                self.give_notice(machine, Reclaim::Capacity);
            }
            Event::Notice(_) => {}
            Event::Interrupted(machine, why) => self.end_machine(machine, why.code()),
            Event::Stopped(machine) => self.comes_to_a_stop(machine),
            Event::Terminated(machine) => self.is_terminated(machine),
            Event::Vanish(machine) => self.vanish(machine),
            Event::Market => self.market_moves(),
        }
    }

    /// From when the next change of a record is shown.
    fn visible(&mut self) -> Timestamp {
        let most = self.faults.lag;
        // Often at once, as EC2 does.
        let lag = if most.is_zero() || self.lag.percent(30) {
            Duration::ZERO
        } else {
            Duration::from_secs(self.lag.below(most.as_secs() + 1))
        };
        clock::after(self.now, lag)
    }

    /// Says what an instance-hour in `pool` (as [`Pool`] prints) costs from `at` on.
    pub fn set_price(&mut self, pool: &str, at: Timestamp, price: UsdPerHour) {
        self.pools.set_price(pool, at, price);
        self.events.add(at, Event::Market);
    }

    /// From now on an instance-hour costs `price` in every pool that has one.
    pub fn fix_prices(&mut self, price: UsdPerHour) {
        self.pools.fix_prices(self.now, price);
    }

    /// From now on no pool follows a trace.
    pub fn forget_traces(&mut self) {
        self.pools.forget_traces();
    }

    /// Lets the capacity of `pool` follow a recorded trace.
    pub fn follow(&mut self, pool: &str, trace: trace::Trace) {
        self.pools.follow(pool, trace);
        self.events.add(self.now, Event::Market);
    }
}
