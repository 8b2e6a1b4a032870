//! Plays the commands of a scenario.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::duration;
use provisioner::internal::domain::ids::{
    InstanceId, InstanceType, SubnetId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::observed::{InstanceState, OwnTags};
use provisioner::internal::engine::{ActionKind, ActionOutcome, ActionResult, NoteKind};
use provisioner::internal::settings::Settings;

use super::Stage;
use super::command::{Act, Ec2Change};
use super::stage::apply_all;
use provisioner_sim::deployment::{key, name as type_name, start};
use provisioner_sim::driver::{Disk, Driver, End};
use provisioner_sim::world::throttle::{Call, Rate};
use provisioner_sim::world::trace::Trace;
use provisioner_sim::world::{Boot, Subnet, World};

pub(super) struct Play {
    pub(super) driver: Driver,
    next_round: Timestamp,
    /// The notes of the last round, since a note that stays is printed only once.
    notes: BTreeSet<(Option<WorkerTypeName>, NoteKind)>,
    /// How many of the world's interruptions were printed.
    printed_interruptions: usize,
}

impl Play {
    pub(super) fn begin(stage: &Stage) -> Self {
        let settings = Arc::new(stage.settings());
        let mut world = World::new(settings, stage.knowledge, stage.seed, start());
        world.boot = Boot::Between(stage.boot.0, stage.boot.1);
        for (id, zone, free) in &stage.subnets {
            let subnet = Subnet { zone: Zone::from(zone.as_str()), free: *free };
            world.subnets.insert(SubnetId::from(id.as_str()), subnet);
        }
        let zones: Vec<_> = stage.zones.iter().map(String::as_str).collect();
        let mut driver = Driver::new(world, &zones);
        driver.look_up_subnets();
        Self { driver, next_round: start(), notes: BTreeSet::new(), printed_interruptions: 0 }
    }

    fn time(&self) -> String {
        duration::show(clock::age(start(), self.driver.world.now))
    }

    fn known(&self, name: &str) -> Result<WorkerTypeName, String> {
        let name = type_name(name);
        if self.driver.world.settings.worker_types.contains_key(&name) {
            Ok(name)
        } else {
            Err(format!("there is no worker type `{name}`"))
        }
    }

    pub(super) fn act(&mut self, act: Act) -> Result<Vec<String>, String> {
        let world = &mut self.driver.world;
        match act {
            Act::Demand { name, n, run_time } => {
                let name = self.known(&name)?;
                self.driver.world.add_tasks(&name, n, run_time);
            }
            Act::Withdraw { name, keep } => {
                let name = self.known(&name)?;
                self.driver.world.queue.withdraw(&name, keep);
            }
            Act::Capacity { zone, instance_type, free, refuses } => {
                set_capacity(world, format!("{instance_type} in {zone}"), free, refuses);
            }
            Act::Ec2(change) => self.change_ec2(change)?,
            Act::Price { zone, instance_type, price } => {
                let now = world.now;
                world.set_price(&format!("{instance_type} in {zone}"), now, price);
            }
            Act::Trace { zone, instance_type, gap, room } => {
                let trace = Trace::new(world.now, gap, room).map_err(|error| error.to_string())?;
                world.follow(&format!("{instance_type} in {zone}"), trace);
            }
            Act::Quota { family, most } => {
                match most {
                    Some(most) => world.quotas.insert(family, most),
                    None => world.quotas.remove(&family),
                };
            }
            Act::Fault { kind, value } => world.faults.set(&kind, &value)?,
            Act::Queue { down } => world.queue.down = down,
            Act::Interrupt { name, n } => {
                for id in self.running(&name, n)? {
                    self.driver.world.interrupt(&id);
                }
            }
            Act::Stop { name, n } => {
                for id in self.running(&name, n)? {
                    self.driver.world.stop(&id);
                }
            }
            Act::Stray(n) => {
                for _ in 0..n {
                    let instance_type = InstanceType::from("m5.large");
                    world.launch(&key(), None, instance_type, OwnTags::default(), true);
                }
            }
            Act::Broken { name, broken } => {
                let name = self.known(&name)?;
                let bad = &mut self.driver.world.bad;
                if broken {
                    bad.insert(name)
                } else {
                    bad.remove(&name)
                };
            }
            Act::Refuse { name, code } => {
                let name = self.known(&name)?;
                let refused = &mut self.driver.world.refused;
                match code {
                    Some(code) => refused.insert(name, code),
                    None => refused.remove(&name),
                };
            }
            Act::Configure { name, properties } => {
                let name = self.known(&name)?;
                self.reconfigure(|settings| {
                    if let Some(worker_type) = settings.worker_types.get_mut(&name) {
                        apply_all(worker_type, properties);
                    }
                });
            }
            Act::Remove(name) => {
                let name = self.known(&name)?;
                self.reconfigure(|settings| {
                    settings.worker_types.remove(&name);
                });
            }
            Act::Crash(step) => self.driver.crash_at = Some(self.driver.steps + step),
            Act::Restart => self.restart(),
            Act::Clock(ahead) => self.driver.set_clock(ahead),
            Act::LoseLedger => {
                self.driver.disk = Disk::default();
                self.restart();
            }
            Act::Round => return Ok(self.round()),
            Act::Advance(time) => return Ok(self.advance(time)),
            Act::Wait(time) => {
                let until = clock::after(self.driver.world.now, time);
                self.driver.world.advance(until);
                return Ok(self.interruptions());
            }
            Act::Show => return Ok(self.show()),
        }
        Ok(Vec::new())
    }

    fn change_ec2(&mut self, change: Ec2Change) -> Result<(), String> {
        let world = &mut self.driver.world;
        match change {
            Ec2Change::NotOffered { zone, instance_type } => {
                world.pools.not_offered.insert(format!("{instance_type} in {zone}"));
            }
            Ec2Change::PowersOff { name, after } => {
                let name = self.known(&name)?;
                let powers_off = &mut self.driver.world.powers_off;
                match after {
                    Some(after) => powers_off.insert(name, after),
                    None => powers_off.remove(&name),
                };
            }
            Ec2Change::OneShot(name) => {
                let name = self.known(&name)?;
                self.driver.world.one_shot.insert(name);
            }
            Ec2Change::EndsLaunches { name, code } => {
                let name = self.known(&name)?;
                let ends_launches = &mut self.driver.world.ends_launches;
                match code {
                    Some(code) => ends_launches.insert(name, code),
                    None => ends_launches.remove(&name),
                };
            }
            Ec2Change::RefuseType { instance_type, code } => {
                let instance_type = InstanceType::from(instance_type.as_str());
                match code {
                    Some(code) => world.refused_types.insert(instance_type, code),
                    None => world.refused_types.remove(&instance_type),
                };
            }
            Ec2Change::Bucket { at_once, tenths_per_second } => {
                let per_second = f64::from(tenths_per_second) / 10.0;
                let rate = Rate { burst: f64::from(at_once), per_second };
                world.throttle.get_or_insert_default().set_rate(Call::Request, rate);
            }
        }
        Ok(())
    }

    fn running(&self, name: &str, n: usize) -> Result<Vec<InstanceId>, String> {
        let name = self.known(name)?;
        let of_type = self.driver.world.live().filter(|(_, machine)| {
            machine.worker_type.as_ref() == Some(&name)
                && machine.truth().state == InstanceState::Running
        });
        Ok(of_type.map(|(id, _)| id.clone()).take(n).collect())
    }

    fn reconfigure(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::clone(&self.driver.settings);
        change(&mut settings);
        self.driver.reconfigure(Arc::new(settings));
    }

    fn restart(&mut self) {
        self.driver.restart(Arc::clone(&self.driver.settings));
        self.next_round = self.driver.world.now;
    }

    fn round(&mut self) -> Vec<String> {
        let mut lines = self.interruptions();
        let mut done = Vec::new();
        let end = self.driver.round_watched(|_, _, executed| done.extend(executed.to_vec()));
        let time = self.time();
        let visible = done.iter().filter(|one| !matches!(one.action.kind, ActionKind::Tag(_)));
        lines.extend(visible.map(|one| format!("{time} {}", line(one))));
        let now = self.driver.clock();
        let wake = match end {
            End::Round(report) => report.wake,
            End::Blind(wake) => {
                lines.push(format!("{time} EC2 could not be looked at"));
                wake
            }
            End::Crashed => {
                lines.push(format!("{time} the process dies, and another starts"));
                self.driver.crash_at = None;
                self.restart();
                now
            }
        };
        let pause = clock::age(now, wake).max(Duration::from_millis(100));
        self.next_round = clock::after(self.driver.world.now, pause);
        let before = std::mem::take(&mut self.notes);
        for note in &self.driver.plan.notes {
            let key = (note.worker_type.clone(), note.kind);
            if !before.contains(&key) {
                let whose = note.worker_type.as_ref().map_or("-", WorkerTypeName::as_str);
                lines.push(format!("{time} note {whose} {}: {}", note.kind.as_str(), note.text));
            }
            self.notes.insert(key);
        }
        lines
    }

    fn advance(&mut self, time: Duration) -> Vec<String> {
        let until = clock::after(self.driver.world.now, time);
        let mut lines = Vec::new();
        while self.next_round <= until {
            let next = self.next_round;
            self.driver.world.advance(next);
            lines.extend(self.round());
        }
        self.driver.world.advance(until);
        lines.extend(self.interruptions());
        lines
    }

    fn interruptions(&mut self) -> Vec<String> {
        let taken_back = &self.driver.world.taken_back[self.printed_interruptions..];
        let lines = taken_back
            .iter()
            .map(|(at, id)| {
                let at = duration::show(clock::age(start(), *at));
                format!("{at} EC2 gives notice to {id}")
            })
            .collect();
        self.printed_interruptions = self.driver.world.taken_back.len();
        lines
    }

    fn show(&self) -> Vec<String> {
        let world = &self.driver.world;
        let mut lines = vec![format!("{} in truth:", self.time())];
        for name in world.settings.worker_types.keys() {
            let of_type = |other: &Option<WorkerTypeName>| other.as_ref() == Some(name);
            let open = world.open().filter(|request| of_type(&request.tags.worker_type)).count();
            let mut live = 0;
            let mut busy = 0;
            for (id, _) in world.live().filter(|(_, machine)| of_type(&machine.worker_type)) {
                live += 1;
                busy += usize::from(world.queue.runs(id) > 0);
            }
            let requests = world.requests.iter();
            let made =
                requests.filter(|request| of_type(&request.truth().tags.worker_type)).count();
            lines.push(format!(
                "{name}: {} pending; {made} requests made, {open} of them open; {live} instances, {busy} \
                 of them at work",
                world.queue.pending(name)
            ));
        }
        let strays = world.live().filter(|(_, machine)| machine.worker_type.is_none()).count();
        if strays > 0 {
            lines.push(format!("strays: {strays}"));
        }
        lines
    }
}

fn set_capacity(world: &mut World, pool: String, free: Option<i64>, refuses: bool) {
    world.pools.dry.remove(&pool);
    world.pools.free.remove(&pool);
    if refuses {
        world.pools.dry.insert(pool);
    } else if let Some(free) = free {
        world.pools.free.insert(pool, free);
    }
}

fn line(executed: &ActionOutcome) -> String {
    let ActionOutcome { action, launch, result } = executed;
    let whose = action.worker_type.as_ref().map_or("-", WorkerTypeName::as_str);
    let kind = action.kind.as_str();
    let count = action.kind.count();
    let why = &action.reason.text;
    let place = match (launch, action.kind.ids().join(" ")) {
        (Some((pool, _)), _) => format!(" ({pool})"),
        (None, ids) => format!(" ({ids})"),
    };
    match result {
        ActionResult::Done(made) => {
            let asked = usize::try_from(count).unwrap_or(usize::MAX);
            let part = if launch.is_some() && made.len() < asked {
                format!("; {} granted", made.len())
            } else {
                String::new()
            };
            format!("{kind} {count} {whose}{place}{part}: {why}")
        }
        ActionResult::Refused(refusal) => {
            format!("{kind} {count} {whose}{place} refused: {}", refusal.code)
        }
        ActionResult::Unknown(refusal) => {
            format!("{kind} {count} {whose}{place} unanswered: {}", refusal.code)
        }
    }
}
