//! Instances: launched, running, interrupted, stopped, terminated.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::ids::{
    InstanceId, InstanceType, KeyName, SpotRequestId, VolumeId, WorkerTypeName,
};
use provisioner::internal::domain::launch::{
    LaunchCall, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{Instance, InstanceState, OwnTags, SpotRequestState};

use super::asking::Asker;
use super::events::Event;
use super::lifecycle::Reclaim;
use super::state_reason;
use super::{Boot, Volume, World};
use crate::lagged::Lagged;

const PREFIX: &str = "i-sim";
const VOLUME: &str = "vol-sim";
/// The device of the root volume.
pub(crate) const ROOT_DEVICE: &str = "/dev/xvda";

/// The time between a spot instance interruption notice and the end of the instance (EC2 User Guide, "Spot
/// Instance interruption notices").
pub const NOTICE: Duration = Duration::from_mins(2);

/// Returns the address of the instance with this number: 127.0.0.2, 127.0.0.3 and so on, each a different one
/// from which a worker on this machine can ask.
pub(crate) fn address(no: usize) -> Ipv4Addr {
    let no = u32::try_from(no).unwrap_or(0) % (1 << 24) + 2;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) | no & 0x00ff_ffff)
}

/// Returns the public address of the instance with this number: in a range that nobody is assigned (RFC 2544),
/// which repeats after 131,072 instances.
pub(crate) fn public_address(no: usize) -> Ipv4Addr {
    let [_, b, c, d] = u32::try_from(no).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(198, 18 + b % 2, c, d)
}

/// An instance and the worker on it.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four facts about a machine, none of which excludes another"
)]
pub struct Machine {
    /// EC2's record of it.
    pub record: Lagged<Instance>,
    /// The key pair it was launched with.
    pub key: KeyName,
    /// The worker type of its worker.
    pub worker_type: Option<WorkerTypeName>,
    /// The maximum price.
    pub max_price: UsdPerHour,
    /// Whether its worker takes tasks.
    pub up: bool,
    /// Whether its worker never takes a task.
    pub never_claims: bool,
    /// The call that requested it.
    pub call: Option<Arc<LaunchCall>>,
    /// All its tags.
    pub tags: BTreeMap<String, String>,
    /// The tags of its root volume.
    pub volume_tags: BTreeMap<String, String>,
    /// Whether its root volume ends with it.
    pub deletes_volume: bool,
    /// Whether its worker has received an interruption notice and takes no more tasks.
    pub(super) draining: bool,
    pub(super) idle_since: Timestamp,
    pub(super) asker: Asker,
    /// Since when EC2 bills it; `None` if it has stopped or ended.
    pub(super) billed_from: Option<Timestamp>,
    /// When it began to shut down.
    pub(super) ended: Option<Timestamp>,
}

impl Machine {
    /// Returns its true state.
    pub fn truth(&self) -> &Instance {
        self.record.truth()
    }

    /// Returns its capacity pool.
    pub fn pool(&self) -> Pool {
        let instance = self.truth();
        Pool { instance_type: instance.instance_type.clone(), zone: instance.zone.clone() }
    }
}

/// All instances there ever were.
#[derive(Clone, Debug, Default)]
pub struct Machines {
    all: Vec<Machine>,
    /// Instances that EC2 has not forgotten.
    pub(super) shown: BTreeSet<usize>,
}

impl Machines {
    /// Counts all instances there ever were.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether there never was an instance.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns the number in one of our ids.
    pub(super) fn number(&self, id: &InstanceId) -> Option<usize> {
        let no = usize::from_str_radix(id.as_str().strip_prefix(PREFIX)?, 16).ok()?;
        (no < self.all.len()).then_some(no)
    }

    /// Returns all instances there ever were.
    pub fn all(&self) -> impl Iterator<Item = &Machine> {
        self.all.iter()
    }

    /// Returns an instance by its id.
    pub fn get(&self, id: &InstanceId) -> Option<&Machine> {
        self.number(id).map(|no| &self.all[no])
    }

    pub(super) fn at(&self, no: usize) -> &Machine {
        &self.all[no]
    }

    pub(super) fn at_mut(&mut self, no: usize) -> &mut Machine {
        &mut self.all[no]
    }

    /// Returns the number of the instance with a root volume of this id.
    pub(super) fn with_volume(&self, id: &VolumeId) -> Option<usize> {
        let no = usize::from_str_radix(id.as_str().strip_prefix(VOLUME)?, 16).ok()?;
        (no < self.all.len()).then_some(no)
    }

    /// Returns an instance by its id, unless EC2 has forgotten it.
    pub(crate) fn known(&self, id: &InstanceId, now: Timestamp) -> Option<&Machine> {
        self.get(id).filter(|machine| !machine.record.is_forgotten(now))
    }

    /// Returns all instances that EC2 has not forgotten, with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, &Machine)> {
        self.shown.iter().map(|no| (*no, &self.all[*no]))
    }

    /// Returns all instances that EC2 has not forgotten, in the order of their launch.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceId, &Machine)> {
        self.shown.iter().map(|no| (&self.all[*no].record.truth().id, &self.all[*no]))
    }
}

/// The root volume of an instance.
pub(crate) fn root_volume(no: usize) -> VolumeId {
    VolumeId::new(format!("{VOLUME}{no:012x}"))
}

/// The parameters of a launch.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) key: KeyName,
    pub(super) worker_type: Option<WorkerTypeName>,
    pub(super) pool: Pool,
    pub(super) request: Option<SpotRequestId>,
    pub(super) tags: OwnTags,
    pub(super) max_price: UsdPerHour,
    pub(super) never_claims: bool,
    pub(super) call: Option<Arc<LaunchCall>>,
}

/// Returns our tags as EC2 keeps them.
fn texts(own: &OwnTags) -> BTreeMap<String, String> {
    let OwnTags { key_name, worker_type, intent } = own;
    let tags = [
        (TAG_KEY_NAME, key_name.as_ref().map(ToString::to_string)),
        (TAG_WORKER_TYPE, worker_type.as_ref().map(ToString::to_string)),
        (TAG_INTENT, intent.as_ref().map(ToString::to_string)),
    ];
    tags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

impl World {
    /// Launches an instance by hand.
    pub fn launch(
        &mut self,
        key: &KeyName,
        worker_type: Option<WorkerTypeName>,
        instance_type: InstanceType,
        tags: OwnTags,
        never_claims: bool,
    ) -> InstanceId {
        let max_price = worker_type
            .as_ref()
            .and_then(|name| self.settings.worker_types.get(name))
            .and_then(|worker_type| worker_type.max_price)
            .unwrap_or_default();
        let pool = Pool { instance_type, zone: None };
        let key = key.clone();
        let request = None;
        let call = None;
        let launch =
            Launch { key, worker_type, pool, request, tags, max_price, never_claims, call };
        let no = self.start_machine(launch);
        self.machines.at(no).truth().id.clone()
    }

    pub(super) fn start_machine(&mut self, launch: Launch) -> usize {
        let no = self.machines.all.len();
        let Launch { key, worker_type, pool, request, tags, max_price, never_claims, call } =
            launch;
        let instance = Instance {
            id: InstanceId::new(format!("{PREFIX}{no:012x}")),
            state: InstanceState::Pending,
            instance_type: pool.instance_type,
            zone: pool.zone,
            launch_time: self.now,
            spot_request: request,
            other_platform: None,
            state_reason: None,
            addresses: vec![address(no).into(), public_address(no).into()],
            volumes: vec![root_volume(no)],
            tags,
        };
        let tags = texts(&instance.tags);
        let visible = self.visible();
        let asker = Asker::of(call.as_deref());
        let deletes_volume = self.deletes_volume(call.as_deref());
        if let Some(id) = call.as_ref().and_then(|call| call.subnet.as_ref())
            && let Some(subnet) = self.subnets.get_mut(id)
        {
            subnet.free = subnet.free.saturating_sub(1);
        }
        let ends = worker_type.as_ref().is_some_and(|name| self.ends_launches.contains_key(name));
        self.machines.all.push(Machine {
            record: Lagged::new(instance, visible),
            key,
            worker_type,
            max_price,
            up: false,
            never_claims,
            call,
            tags,
            volume_tags: BTreeMap::new(),
            deletes_volume,
            draining: false,
            idle_since: self.now,
            asker,
            billed_from: Some(self.now),
            ended: None,
        });
        self.machines.shown.insert(no);
        let pending = self.fate.between(Duration::from_secs(2), Duration::from_secs(25));
        let event = if ends { Event::LaunchEnds(no) } else { Event::Running(no) };
        self.schedule(pending, event);
        no
    }

    /// Whether the root volume of a launch ends with its instance.
    fn deletes_volume(&self, call: Option<&LaunchCall>) -> bool {
        let mappings = call.map(|call| &call.launch_specification.block_device_mappings);
        let root = mappings.and_then(|mappings| {
            mappings.iter().find(|mapping| mapping.device_name.as_deref() == Some(ROOT_DEVICE))
        });
        let said = root.and_then(|mapping| mapping.ebs.as_ref()?.delete_on_termination);
        said.unwrap_or(!self.lasting_volumes)
    }

    /// EC2 itself ends a launch, for example because it may not use the key of the image's snapshot.
    pub(super) fn launch_ends(&mut self, no: usize) {
        let machine = self.machines.at(no);
        let code = machine.worker_type.as_ref().and_then(|name| self.ends_launches.get(name));
        let code = code.cloned().unwrap_or_else(|| "Client.InternalError".to_owned());
        let message = format!("{code}: Client error on launch");
        self.end_machine(no, "instance-terminated-by-user", (&code, &message));
    }

    /// A worker without a task powers its instance off.
    pub(super) fn powers_off(&mut self, no: usize) {
        if self.tasks_on(no) == 0 {
            self.end_machine(no, "instance-terminated-by-user", state_reason::ITSELF);
        }
    }

    pub(super) fn change_machine(&mut self, no: usize, change: impl FnOnce(&mut Instance)) {
        let (visible, oldest) = (self.visible(), self.oldest_shown());
        let record = &mut self.machines.at_mut(no).record;
        record.settle(oldest);
        record.change(visible, change);
    }

    fn set_state(&mut self, no: usize, state: InstanceState) {
        self.change_machine(no, |instance| {
            if !state.is_live() {
                // EC2 shows none of an instance that ends.
                instance.addresses.clear();
            }
            instance.state = state;
        });
    }

    fn is_in(&self, no: usize, state: &InstanceState) -> bool {
        self.machines.at(no).truth().state == *state
    }

    pub(super) fn comes_up(&mut self, no: usize) {
        if !self.is_in(no, &InstanceState::Pending) {
            return;
        }
        self.set_state(no, InstanceState::Running);
        let boot = match self.boot {
            Boot::Between(least, most) => self.boots.between(least, most),
            Boot::Lognormal(times) => times.draw(&mut self.boots),
        };
        let worker_type = self.machines.at(no).worker_type.as_ref();
        let powers_off = worker_type.and_then(|name| self.powers_off.get(name)).copied();
        if let Some(after) = powers_off {
            // It never takes a task.
            self.schedule(boot + after, Event::PowerOff(no));
        } else if !self.machines.at(no).never_claims {
            self.schedule(boot, Event::Up(no));
        }
        if self.fate.percent(self.faults.interrupted) {
            let later = self.fate.between(Duration::from_secs(1), Duration::from_mins(18));
            self.schedule(later, Event::Notice(no));
        }
    }

    /// Gives an interruption notice: EC2 reclaims the instance in two minutes.
    pub(super) fn give_notice(&mut self, no: usize, why: Reclaim) {
        let machine = self.machines.at_mut(no);
        if !machine.truth().state.is_live() || machine.draining {
            return;
        }
        machine.draining = true;
        let id = machine.truth().id.clone();
        let request = machine.truth().spot_request.clone();
        self.taken_back.push((self.now, id));
        self.leaves_the_free(no);
        if let Some(request) = request.and_then(|id| self.requests.number(&id)) {
            self.change_request(request, |request| match why {
                Reclaim::Capacity => {
                    request.status_code = why.code().into();
                    if request.state == SpotRequestState::Active {
                        request.state = SpotRequestState::Closed;
                    }
                }
                Reclaim::Price => request.status_code = "marked-for-termination".into(),
            });
        }
        self.schedule(NOTICE, Event::Interrupted(no, why));
    }

    /// Interrupts an instance, with a notice.
    pub fn interrupt(&mut self, id: &InstanceId) {
        if let Some(no) = self.machines.number(id) {
            self.give_notice(no, Reclaim::Capacity);
        }
    }

    /// Ends an instance. `code` tells why.
    pub fn end(&mut self, id: &InstanceId, code: &str) {
        if let Some(no) = self.machines.number(id) {
            self.end_machine(no, code, state_reason::USER);
        }
    }

    pub(super) fn end_machine(&mut self, no: usize, code: &str, why: (&str, &str)) {
        if !self.machines.at(no).truth().state.is_live() {
            return;
        }
        self.leaves_the_free(no);
        self.change_machine(no, |instance| {
            instance.state = InstanceState::ShuttingDown;
            instance.state_reason = Some(state_reason::reason(why));
        });
        let machine = self.machines.at_mut(no);
        machine.up = false;
        let pool = machine.pool();
        let request = machine.truth().spot_request.clone();
        self.is_billed_no_more(no);
        self.machines.at_mut(no).ended = Some(self.now);
        self.pools.give_back(&pool);
        if let Some(request) = request.and_then(|id| self.requests.number(&id)) {
            let goes_on = |state: &SpotRequestState| {
                matches!(state, SpotRequestState::Active | SpotRequestState::Cancelled)
            };
            if goes_on(&self.requests.at(request).truth().state) {
                self.change_request(request, |request| {
                    if request.state == SpotRequestState::Active {
                        request.state = SpotRequestState::Closed;
                    }
                    request.status_code = code.into();
                });
            }
        }
        self.requeue(no);
        self.hand_out(no);
        self.schedule(Duration::from_secs(40), Event::Terminated(no));
        self.schedule(Duration::from_hours(1), Event::Vanish(no));
    }

    /// Stops an instance by hand.
    pub fn stop(&mut self, id: &InstanceId) {
        let Some(no) = self.machines.number(id) else { return };
        if self.is_in(no, &InstanceState::Running) {
            self.leaves_the_free(no);
            self.set_state(no, InstanceState::Stopping);
            self.is_billed_no_more(no);
            self.machines.at_mut(no).up = false;
            self.requeue(no);
            self.schedule(Duration::from_secs(30), Event::Stopped(no));
        }
    }

    pub(super) fn comes_to_a_stop(&mut self, no: usize) {
        if self.is_in(no, &InstanceState::Stopping) {
            self.set_state(no, InstanceState::Stopped);
        }
    }

    pub(super) fn is_terminated(&mut self, no: usize) {
        self.set_state(no, InstanceState::Terminated);
        let machine = self.machines.at(no);
        if !machine.deletes_volume {
            let volume = Volume { tags: machine.volume_tags.clone() };
            self.volumes.insert(root_volume(no), volume);
        }
        let subnet = self.machines.at(no).call.as_ref().and_then(|call| call.subnet.clone());
        if let Some(subnet) = subnet.and_then(|id| self.subnets.get_mut(&id)) {
            subnet.free += 1;
        }
    }

    pub(super) fn vanish(&mut self, no: usize) {
        let visible = self.visible();
        let record = &mut self.machines.at_mut(no).record;
        if record.is_forgotten(self.now) {
            self.machines.shown.remove(&no);
        } else {
            record.vanish(visible);
            // Once no describe call shows it any more.
            self.events.add(visible, Event::Vanish(no));
        }
    }

    /// Applies changed prices and capacity. EC2 reclaims the youngest instances that it has no room for, and
    /// instances whose maximum price is below the spot price.
    pub(super) fn market_moves(&mut self) {
        let mut by_pool: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for no in &self.machines.shown {
            let machine = self.machines.at(*no);
            if machine.truth().state.is_live() && machine.truth().spot_request.is_some() {
                by_pool.entry(machine.pool().to_string()).or_default().push(*no);
            }
        }
        let mut taken_back = Vec::new();
        for (pool, room) in self.pools.held(self.now) {
            let there = by_pool.get(pool).map_or(&[][..], Vec::as_slice);
            let kept = usize::try_from(room).unwrap_or(usize::MAX).min(there.len());
            taken_back.extend(there[kept..].iter().map(|no| (*no, Reclaim::Capacity)));
        }
        for (pool, price) in self.pools.priced(self.now) {
            let there = by_pool.get(pool).map_or(&[][..], Vec::as_slice);
            let too_dear = |no: &&usize| self.machines.at(**no).max_price < price;
            taken_back.extend(there.iter().filter(too_dear).map(|no| (*no, Reclaim::Price)));
        }
        for (no, why) in taken_back {
            self.give_notice(no, why);
        }
        if let Some(next) = self.pools.next_step(self.now) {
            self.events.add(next, Event::Market);
        }
    }
}
