//! How soon everything comes right once the faults have ended.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::clock;
use provisioner::engine::{Note, NoteKind, Plan};
use provisioner::ids::SpotRequestId;
use provisioner::ledger::Ledger;
use provisioner::observed::{InstanceState, KeyPair, OwnTags};
use provisioner::settings::Settings;

use crate::deployment::mins;
use crate::faults::Faults;
use crate::world::World;

/// Rounds until the demand is met.
const ROUNDS: u32 = 10;

/// The longest boot in a random world: EC2 takes 25 s, the worker 90 s.
const BOOT: Duration = Duration::from_secs(115);

/// So many empty plans in a row are a fixed point.
const QUIET: u32 = 30;

/// Faults stop. Every build is given up, and long tasks wait instead.
pub fn heal(world: &mut World) {
    world.faults = Faults::default();
    world.throttle = None;
    world.pools.dry.clear();
    world.pools.free.clear();
    world.quotas.clear();
    world.bad.clear();
    world.refused.clear();
    world.queue.down = false;
    // What boots and never works is replaced for ever, as far as it is known.
    let broken: Vec<_> = world
        .live()
        .filter(|(_, machine)| machine.never_claims && machine.worker_type.is_some())
        .map(|(id, _)| id.clone())
        .collect();
    for id in broken {
        world.end(&id, "instance-terminated-by-user");
    }
    let waiting: Vec<SpotRequestId> = world.open().map(|request| request.id.clone()).collect();
    for id in waiting {
        world.fulfil(&id);
    }
    let types = world.settings.worker_types.clone();
    for ((name, worker_type), n) in types.iter().zip(1..) {
        world.queue.withdraw(name, 0);
        world.abandon_tasks(name);
        // Machines that are ended for their age are replaced for ever where tasks last longer.
        if worker_type.max_lifetime.is_none_or(|age| age > mins(120)) {
            // A minimum that has nothing to do is replaced for ever.
            let least = worker_type.min_instances * u64::from(worker_type.tasks_per_instance);
            world.add_tasks(name, n.max(least), mins(600));
        }
    }
}

/// Watches a healed world come right: within ten rounds and a boot the demand is met and no request left
/// over, then every plan is empty, and once idle workers have ended themselves nothing is left over.
///
/// Time counts from when describe calls show everything and the last interruption notice has run out. A
/// pause that is documented, and that holds back what is wanted, is no round, for as long as it may last.
#[derive(Clone, Debug)]
pub struct Settling {
    /// When all that was before the end of the faults has shown.
    shown: Timestamp,
    window: Duration,
    idle_timeout: Duration,
    /// Since when it counts.
    from: Timestamp,
    rounds: u32,
    quiet: u32,
    /// When the demand was met.
    met: Option<Timestamp>,
}

impl Settling {
    /// Heals `world`, and begins.
    pub fn begin(world: &mut World, settings: &Settings) -> Self {
        let Faults { lag, back, .. } = world.faults;
        heal(world);
        let shown = clock::after(world.now, (lag + back).max(crate::world::NOTICE));
        let idle = world.settings.worker_types.values().map(|it| it.idle_timeout);
        Self {
            shown,
            window: settings.provisioner.visibility_window,
            idle_timeout: idle.max().unwrap_or_default(),
            from: shown,
            rounds: 0,
            quiet: 0,
            met: None,
        }
    }

    /// How long the pause that a note tells of may last from the end of the faults on. `None`: it is none.
    fn longest(&self, note: &Note) -> Option<Duration> {
        match note.kind {
            // `LONGEST_PAUSE` of a pool or a quota.
            NoteKind::CoolingDown | NoteKind::QuotaExceeded => Some(mins(10)),
            // One that doubles with each failure: no longer than it went badly.
            NoteKind::Paused => Some(super::CHAOS),
            // What was asked for is trusted to come for so long.
            NoteKind::LedgerLost | NoteKind::InFlight => Some(self.window),
            // The longest pause after throttled rounds.
            NoteKind::Throttled => Some(mins(1)),
            _ => None,
        }
    }

    /// Judges a round, just after it. `true`: it has settled.
    ///
    /// # Errors
    ///
    /// What has not come right in time.
    pub fn round(
        &mut self,
        world: &World,
        settings: &Settings,
        plan: &Plan,
        ledger: &Ledger,
    ) -> Result<bool, String> {
        let Some(met) = self.met else {
            let paused = plan.notes.iter().any(|note| {
                let longest = self.longest(note);
                longest.is_some_and(|longest| world.now < clock::after(self.shown, longest))
            });
            if world.now < self.shown || paused {
                (self.from, self.rounds) = (world.now, 0);
                return Ok(false);
            }
            self.rounds += 1;
            if self.rounds > ROUNDS && world.now >= clock::after(self.from, BOOT) {
                let amiss = amiss(world, settings, plan, ledger);
                if !amiss.is_empty() {
                    return Err(format!(
                        "{} rounds and {} after all pauses: {amiss:#?}",
                        self.rounds,
                        clock::show(clock::age(self.from, world.now))
                    ));
                }
                self.met = Some(world.now);
            }
            return Ok(false);
        };
        if !plan.actions.is_empty() {
            return Err(format!(
                "no fixed point: {} quiet rounds, then {:#?}",
                self.quiet, plan.actions
            ));
        }
        self.quiet += 1;
        let left_alone = clock::after(met, self.idle_timeout + BOOT);
        if self.quiet < QUIET || world.now < left_alone {
            return Ok(false);
        }
        let mut amiss = amiss(world, settings, plan, ledger);
        let idle = world.live().filter(|(id, machine)| {
            let name = machine.worker_type.as_ref();
            name.is_some_and(|name| settings.worker_types.contains_key(name))
                && world.queue.runs(id) == 0
        });
        amiss.extend(idle.map(|(id, _)| format!("{id} is left idle")));
        if amiss.is_empty() { Ok(true) } else { Err(format!("in the end: {amiss:#?}")) }
    }
}

/// What is not as it must be once the demand can have been met.
fn amiss(world: &World, settings: &Settings, plan: &Plan, ledger: &Ledger) -> Vec<String> {
    let mut amiss = Vec::new();
    let full = is_full(world, settings, plan);
    for (name, worker_type) in &settings.worker_types {
        let (pending, count) = (world.queue.pending(name), world.count(name));
        if pending > 0 && count < worker_type.max_instances && !full {
            amiss.push(format!("{pending} tasks of `{name}` wait: {plan:#?}"));
        }
        if count > worker_type.max_instances {
            amiss.push(format!("{count} of `{name}`"));
        }
    }
    amiss.extend(world.open().map(|request| format!("{} is left open", request.id)));
    for (id, machine) in world.live() {
        let Some(name) = &machine.worker_type else { continue };
        let truth = machine.truth();
        if settings.worker_types.contains_key(name)
            && truth.tags.worker_type.as_ref() != Some(name)
            && truth.tags.key_name.is_none()
        {
            amiss.push(format!("{id} is untagged"));
        }
        if matches!(truth.state, InstanceState::Stopping | InstanceState::Stopped) {
            amiss.push(format!("{id} is stopped"));
        }
    }
    if !ledger.intents.is_empty() || ledger.hold_until.is_some() {
        amiss.push(format!("{ledger:?}"));
    }
    if world.key_pair == KeyPair::Ours {
        let strays = world.live().filter(|(_, machine)| {
            machine.worker_type.is_none() && machine.truth().tags == OwnTags::default()
        });
        amiss.extend(strays.map(|(id, _)| format!("{id}, a stray, is left")));
    }
    amiss
}

/// Whether the plan says that `[limits]` leave no room, and they leave none for the dearest machine.
/// Limits count what others run under our key-name, at the dearest of our prices.
fn is_full(world: &World, settings: &Settings, plan: &Plan) -> bool {
    let says = |kind| matches!(kind, NoteKind::PriceUnknown | NoteKind::AtLimit);
    if !plan.notes.iter().any(|note| says(note.kind)) {
        return false;
    }
    let dearest = settings.worker_types.values().filter_map(|it| it.max_price).max();
    let dearest = dearest.unwrap_or_default();
    let (n, _) = world.total();
    let limits = &settings.limits;
    limits.max_instances.is_some_and(|most| n >= most)
        || limits.max_usd_per_hour.is_some_and(|most| dearest.times(n + 1) > most)
}
