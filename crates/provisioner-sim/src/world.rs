//! An EC2 that misbehaves, with workers on its instances: capacity, spot requests, instances and billing,
//! in virtual time.
//!
//! It keeps two views of everything: the truth, and what describe calls show of it later. All random numbers
//! come from one seed, with a stream per purpose. Nothing in here can be mistaken for AWS, which issues
//! neither its ids (`i-sim…`, `sir-sim…`) nor its account number.

mod asking;
mod calls;
mod demand;
mod describe;
mod events;
mod instances;
mod lifecycle;
pub mod pools;
mod requests;
mod state_reason;
pub mod throttle;
pub mod trace;
mod truth;
mod visitors;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, InstanceType, SubnetId, VolumeId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::launch::{LaunchCall, Pool};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{Instance, KeyPair, SpotRequest};
use provisioner::internal::settings::Settings;

use crate::faults::Faults;
use crate::query_api::Iam;
use crate::queue::{Knowledge, Queue};
use crate::rng::{Lognormal, Rng};
use crate::written::Written;
use events::{Event, Events};
use lifecycle::Reclaim;
use pools::Pools;
use throttle::Throttle;

pub use asking::{Asking, Habits};
pub(crate) use calls::refusal;
pub use calls::unknown_profile;
pub use instances::{Machine, Machines, NOTICE};
pub(crate) use instances::{ROOT_DEVICE, address, public_address, root_volume};
pub use requests::{Request, Requests};
pub use truth::Bill;
use visitors::Crew;

/// How long a worker takes from a running instance to its first claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Boot {
    /// Uniformly distributed between two times.
    Between(Duration, Duration),
    /// Lognormally distributed, like measured boots.
    Lognormal(Lognormal),
}

/// Which of several idle workers gets the next task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waking {
    /// The worker that has been idle for the longest time.
    #[default]
    FirstIdle,
    /// A random worker.
    Random,
}

/// One launching call and EC2's answer to it.
#[derive(Clone, Debug)]
pub struct AnsweredLaunch {
    /// The time of the call.
    pub at: Timestamp,
    /// The capacity pool.
    pub pool: Pool,
    /// The worker type.
    pub worker_type: WorkerTypeName,
    /// The number of instances.
    pub count: u32,
    /// EC2's answer: `3 granted`, or an error code.
    pub answer: String,
}

/// A subnet with a limited number of addresses.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its zone.
    pub zone: Zone,
    /// How many addresses are free.
    pub free: u64,
}

/// A volume that outlived its instance.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// The present.
    pub now: Timestamp,
    /// When it was last observed. The provisioner cannot know of instances that others launched later.
    pub observed: Timestamp,
    /// The configuration of its workers.
    pub settings: Arc<Settings>,
    /// The queue.
    pub queue: Queue,
    /// The queue of programs to which this world is served.
    pub visitors: Queue,
    /// Whether the queue answered when it was last asked.
    pub queue_answered: bool,
    /// The time at which the queue's last answer was true.
    pub queue_read: Timestamp,
    /// The faults.
    pub faults: Faults,
    /// How far the clock of the machine that calls is ahead of EC2's.
    pub caller_ahead: SignedDuration,
    /// Whether calls are refused while that clock is far off, because their signatures count as expired. Without
    /// it, the clock is as if it were set between the calls of a round.
    pub checks_signatures: bool,
    /// The owner of the key pair with our key-name.
    pub key_pair: KeyPair,
    /// Key pairs of other names, with their tags.
    pub more_key_pairs: BTreeMap<String, BTreeMap<String, String>>,
    /// Every spot request there ever was.
    pub requests: Requests,
    /// Every instance there ever was.
    pub machines: Machines,
    /// Capacity and prices.
    pub pools: Pools,
    /// Subnets with a limited number of addresses.
    pub subnets: BTreeMap<SubnetId, Subnet>,
    /// The zones among which EC2 chooses for requests that name neither a zone nor a subnet. Without any, such
    /// requests have a pool of their own.
    pub zones: Vec<Zone>,
    /// Whether the image's root volume outlives its instance, unless the launch says otherwise.
    pub lasting_volumes: bool,
    /// Every volume there ever was that outlived its instance.
    pub volumes: BTreeMap<VolumeId, Volume>,
    /// Workers of these types power off so long after they came up, if they have no task.
    pub powers_off: BTreeMap<WorkerTypeName, Duration>,
    /// Workers of these types power off after one task.
    pub one_shot: BTreeSet<WorkerTypeName>,
    /// Worker types whose instances EC2 itself ends soon after their launch, with the code.
    pub ends_launches: BTreeMap<WorkerTypeName, String>,
    /// The most instances per first letter of the instance type.
    pub quotas: BTreeMap<char, u64>,
    /// Worker types whose launches are refused, with the error code.
    pub refused: BTreeMap<WorkerTypeName, String>,
    /// Worker types whose requests fail with `bad-parameters`.
    pub bad: BTreeSet<WorkerTypeName>,
    /// Instance types of which launches are refused, with the error code.
    pub refused_types: BTreeMap<InstanceType, String>,
    /// EC2's message for requests that fail with `bad-parameters`.
    pub bad_because: String,
    /// Instance profiles that EC2 does not know.
    pub unknown_profiles: BTreeSet<String>,
    /// How long a worker takes to boot.
    pub boot: Boot,
    /// Which idle worker gets the next task.
    pub waking: Waking,
    /// Where workers ask whether to stop, if they may.
    pub asking: Option<Asking>,
    /// Throttling by token buckets, if any.
    pub throttle: Option<Throttle>,
    /// The maximum number of records per page of a describe call.
    pub page: usize,
    /// What there is in IAM.
    pub(crate) iam: Iam,
    /// Everything that happened and must never happen.
    pub violations: Vec<String>,
    /// Every launching call, in order.
    pub calls: Vec<AnsweredLaunch>,
    /// Instances that EC2 interrupted, with the time of the notice.
    pub taken_back: Vec<(Timestamp, InstanceId)>,
    tokens: HashMap<ClientToken, (LaunchCall, Vec<usize>)>,
    /// The number of calls answered in EC2's protocol.
    answered: u64,
    /// Instances with all their tags in EC2's protocol, as they were last shown.
    pub(crate) written_instances: Written<(Instance, BTreeMap<String, String>)>,
    /// Spot requests in EC2's protocol, as they were last shown.
    pub(crate) written_requests: Written<SpotRequest>,
    events: Events,
    /// Machines that can take a task, per worker type and queue: since when they are idle, and their number.
    free_workers: BTreeMap<Crew, BTreeSet<(Timestamp, usize)>>,
    ended: Bill,
    /// Whether the queue's last answer left out a running task.
    left_out: demand::LeftOut,
    /// For the fate of requests and instances.
    fate: Rng,
    boots: Rng,
    lag: Rng,
    wakes: Rng,
    asks: Rng,
    /// For the answers of the queue.
    says: Rng,
    /// For the fate of calls; drivers use it too.
    pub(crate) network: Rng,
}

impl World {
    /// Creates a world without faults and tasks, at `start`.
    pub fn new(settings: Arc<Settings>, knowledge: Knowledge, seed: u64, start: Timestamp) -> Self {
        Self {
            now: start,
            observed: start,
            settings,
            queue: Queue::new(knowledge),
            visitors: Queue::new(Knowledge::ByInstance),
            queue_answered: true,
            queue_read: start,
            faults: Faults::default(),
            caller_ahead: SignedDuration::ZERO,
            checks_signatures: true,
            key_pair: KeyPair::Ours,
            more_key_pairs: BTreeMap::new(),
            requests: Requests::default(),
            machines: Machines::default(),
            pools: Pools::default(),
            subnets: BTreeMap::new(),
            zones: Vec::new(),
            lasting_volumes: false,
            volumes: BTreeMap::new(),
            powers_off: BTreeMap::new(),
            one_shot: BTreeSet::new(),
            ends_launches: BTreeMap::new(),
            quotas: BTreeMap::new(),
            refused: BTreeMap::new(),
            refused_types: BTreeMap::new(),
            bad: BTreeSet::new(),
            bad_because: "bad-parameters it is".to_owned(),
            unknown_profiles: BTreeSet::new(),
            boot: Boot::Between(Duration::from_secs(20), Duration::from_secs(90)),
            waking: Waking::default(),
            asking: None,
            throttle: None,
            page: describe::PAGE,
            iam: Iam::default(),
            violations: Vec::new(),
            calls: Vec::new(),
            taken_back: Vec::new(),
            tokens: HashMap::new(),
            answered: 0,
            written_instances: Written::default(),
            written_requests: Written::default(),
            events: Events::default(),
            free_workers: BTreeMap::new(),
            ended: Bill::default(),
            left_out: demand::LeftOut::default(),
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

    /// Returns the time of the next event.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.events.next_at()
    }

    /// Returns a new request id for an answer in EC2's protocol.
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
            Event::NotOffered(request) => self.fails_where_not_offered(request),
            Event::LaunchEnds(machine) => self.launch_ends(machine),
            Event::PowerOff(machine) => self.powers_off(machine),
            Event::Expire(request) => self.expire(request),
            Event::Running(machine) => self.comes_up(machine),
            Event::Up(machine) => self.worker_starts(machine),
            Event::Finished(task, machine) => self.task_ends(task, machine),
            Event::Idle(machine) => self.worker_tires(machine),
            Event::Ask(machine) => self.worker_asks(machine),
            Event::Stopping(machine) => self.worker_stops(machine),
            // There are no interruptions once the fault has ended.
            Event::Notice(machine) if self.faults.interrupted > 0 => {
                self.give_notice(machine, Reclaim::Capacity);
            }
            Event::Notice(_) => {}
            Event::Interrupted(machine, why) => {
                self.end_machine(machine, why.code(), state_reason::INTERRUPTION);
            }
            Event::Stopped(machine) => self.comes_to_a_stop(machine),
            Event::Terminated(machine) => self.is_terminated(machine),
            Event::Vanish(machine) => self.vanish(machine),
            Event::Market => self.market_moves(),
        }
    }

    /// Draws the time from which describe calls show a change.
    fn visible(&mut self) -> Timestamp {
        let most = self.faults.lag;
        // Many changes are visible at once, as with EC2.
        let lag = if most.is_zero() || self.lag.percent(30) {
            Duration::ZERO
        } else {
            Duration::from_secs(self.lag.below(most.as_secs() + 1))
        };
        clock::after(self.now, lag)
    }

    /// Sets the price of an instance-hour from `at` on in `pool`, which is named as [`Pool`] prints.
    pub fn set_price(&mut self, pool: &str, at: Timestamp, price: UsdPerHour) {
        self.pools.set_price(pool, at, price);
        self.events.add(at, Event::Market);
    }

    /// Fixes the price of an instance-hour from now on in every pool that has a price.
    pub fn fix_prices(&mut self, price: UsdPerHour) {
        self.pools.fix_prices(self.now, price);
    }

    /// Ends all traces of capacity.
    pub fn forget_traces(&mut self) {
        self.pools.forget_traces();
    }

    /// Lets the capacity of `pool` follow a recorded trace.
    pub fn follow(&mut self, pool: &str, trace: trace::Trace) {
        self.pools.follow(pool, trace);
        self.events.add(self.now, Event::Market);
    }
}
