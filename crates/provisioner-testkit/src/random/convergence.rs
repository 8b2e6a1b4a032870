//! Checks how soon everything is in order once the faults have ended.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{SpotRequestId, WorkerTypeName};
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::observed::{InstanceState, KeyPair, OwnTags};
use provisioner::internal::engine::{Action, ActionKind, Note, NoteKind, Plan, ReasonKind};
use provisioner::internal::settings::Settings;

use provisioner_sim::deployment::mins;
use provisioner_sim::faults::Faults;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::{Habits, Machine, World};

/// The number of rounds within which the demand must be met.
const ROUNDS: u32 = 10;

/// The longest boot in a random world: EC2 takes up to 25 s and the worker up to 90 s.
const BOOT: Duration = Duration::from_secs(115);

/// For how many idle timeouts `adaptive` holds idle machines at most, where workers ask whether to stop.
const HELD: u32 = 4;

/// The number of empty plans in a row that counts as a fixed point.
const QUIET: u32 = 30;

/// Ends all faults, and replaces all tasks by long ones.
pub fn heal(world: &mut World) {
    world.faults = Faults::default();
    world.throttle = None;
    world.keep_habits(Habits::default());
    world.pools.dry.clear();
    world.pools.free.clear();
    world.forget_traces();
    world.fix_prices(super::CALM_PRICE);
    world.quotas.clear();
    world.bad.clear();
    world.refused.clear();
    world.powers_off.clear();
    world.ends_launches.clear();
    world.queue.down = false;
    // The provisioner replaces instances that never work forever.
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
        // Machines with a maximum age are replaced forever if tasks last longer.
        if worker_type.max_lifetime.is_none_or(|age| age > mins(120)) {
            // A minimum without work is replaced forever.
            let least = worker_type.min_instances * u64::from(worker_type.tasks_per_instance);
            world.add_tasks(name, n.max(least), mins(600));
        }
    }
}

/// Checks that a healed world converges. Within ten rounds and a boot, the demand of a worker type must be
/// met and no request may be left open. From then on nothing may be requested, and once idle workers have
/// stopped, nothing may be left over and every plan must be empty.
///
/// Time counts from when describe calls show everything and the last interruption notice has run out. A
/// round in a documented pause that holds back launches does not count, for as long as the pause may last.
#[derive(Clone, Debug)]
pub struct Convergence {
    /// When describe calls show everything that happened before the end of the faults.
    visible: Timestamp,
    window: Duration,
    /// How long machines may stay that are not needed.
    excess: Duration,
    /// Per worker type; `None` stands for everything else.
    counts: BTreeMap<Option<WorkerTypeName>, Count>,
    quiet: u32,
    /// When all demand was met, if it was.
    met: Option<Timestamp>,
    /// Whether no pause has held back anything.
    at_once: bool,
    /// When the day began. With a limit per day, the check begins again with every day.
    day: Timestamp,
    /// Workers launched before this time are told to stay for as long as they ask; see
    /// [`forgot_workers`](Self::forgot_workers).
    unknown_before: Option<Timestamp>,
}

/// The rounds of a worker type since its last pause.
#[derive(Clone, Copy, Debug)]
struct Count {
    rounds: u32,
    /// The time of the last round that counted.
    at: Timestamp,
    /// When a pause last held back a launch.
    held: Timestamp,
}

impl Count {
    /// Returns whether ten rounds and the time of a boot have passed.
    fn is_due(self, now: Timestamp) -> bool {
        self.rounds >= ROUNDS && now >= clock::after(self.at, BOOT)
    }
}

impl Convergence {
    /// Heals `world` and begins the check.
    pub fn begin(world: &mut World, settings: &Settings) -> Self {
        let Faults { lag, back, .. } = world.faults;
        heal(world);
        let visible = clock::after(world.now, (lag + back).max(provisioner_sim::world::NOTICE));
        let idle =
            world.settings.worker_types.values().map(|worker_type| worker_type.idle_timeout).max();
        let held = if settings.server.workers.is_some() { HELD } else { 1 };
        let names = settings.worker_types.keys().cloned().map(Some);
        let count = Count { rounds: 0, at: visible, held: visible };
        Self {
            visible,
            window: settings.provisioner.visibility_window,
            excess: BOOT + idle.unwrap_or_default() * held,
            counts: names.chain([None]).map(|name| (name, count)).collect(),
            quiet: 0,
            met: None,
            at_once: true,
            day: clock::last_midnight(world.now),
            unknown_before: None,
        }
    }

    /// Declares that the secret of workers' tokens was lost with the disk at this time. Workers launched
    /// before are told to stay for as long as they ask.
    pub fn forgot_workers(&mut self, at: Option<Timestamp>) {
        self.unknown_before = at;
    }

    /// Returns whether no pause has held back anything.
    pub fn was_at_once(&self) -> bool {
        self.at_once
    }

    /// Returns how long the pause behind this note may last after the faults end; `None` if the note is not
    /// about a pause.
    fn longest(&self, note: &Note) -> Option<Duration> {
        match note.kind {
            // `LONGEST_PAUSE` of a pool or a quota.
            NoteKind::CoolingDown | NoteKind::QuotaExceeded => Some(mins(10)),
            // `LONGEST_PAUSE` of a worker type whose launches failed in a row, and the probe after it.
            NoteKind::Paused => Some(mins(10) + 2 * BOOT),
            // For so long the provisioner expects requested instances to appear.
            NoteKind::LedgerLost | NoteKind::InFlight => Some(self.window),
            // The longest pause after throttled rounds.
            NoteKind::Throttled => Some(mins(1)),
            // Machines that are no longer needed use up the limit.
            NoteKind::AtLimit => Some(self.excess),
            _ => None,
        }
    }

    /// Returns whether a busy machine may be presumed free. If the queue does not name the machines of running
    /// tasks, a machine is presumed to boot for `boot-timeout` after its launch, which may have been at the
    /// end of the last pause.
    fn is_presumed_free(
        name: Option<&WorkerTypeName>,
        held: Timestamp,
        world: &World,
        settings: &Settings,
        plan: &Plan,
    ) -> bool {
        let worker_type = name.and_then(|name| settings.worker_types.get(name));
        let status = plan
            .worker_types
            .iter()
            .find(|status| Some(status.name.as_str()) == name.map(WorkerTypeName::as_str));
        world.queue.knowledge != Knowledge::ByInstance
            && status.is_some_and(|status| status.pending > 0 && status.booting > 0)
            && worker_type.is_some_and(|it| world.now < clock::after(held, it.boot_timeout + BOOT))
    }

    /// Returns whether a pause may hold back launches of `name`.
    fn is_paused(
        &self,
        name: Option<&WorkerTypeName>,
        world: &World,
        plan: &Plan,
        ledger: &Ledger,
    ) -> bool {
        let now = world.now;
        let within = |time: Duration| now < clock::after(self.visible, time);
        // The clock may have been half a window ahead.
        if ledger.hold_until.is_some() && within(2 * self.window) {
            return true;
        }
        let about = |note: &&Note| note.worker_type.is_none() || note.worker_type.as_ref() == name;
        // A launch without an answer that is not repeated counts until its token is too old, and for the
        // window after that, by a clock that may have been off. It uses up the limits of all worker types.
        let full = plan.notes.iter().filter(about).any(|note| note.kind == NoteKind::AtLimit);
        let unanswered = plan
            .notes
            .iter()
            .filter(|note| note.kind == NoteKind::Unanswered)
            .map(|note| note.worker_type.as_ref())
            .chain(ledger.intents.values().filter_map(|intent| {
                let age = clock::age(intent.call.decided, now);
                (age + self.window >= mins(30)).then_some(Some(&intent.call.worker_type))
            }))
            .any(|of| full || of == name);
        if unanswered && within(mins(30) + 2 * self.window) {
            return true;
        }
        let on = |note: &Note| self.longest(note).is_some_and(within);
        plan.notes.iter().filter(about).any(on)
    }

    /// Checks the world just after a round. Returns whether it has converged.
    ///
    /// # Errors
    ///
    /// Something is not in order in time.
    pub fn round(
        &mut self,
        world: &World,
        settings: &Settings,
        plan: &Plan,
        ledger: &Ledger,
    ) -> Result<bool, String> {
        let today = clock::last_midnight(world.now);
        if settings.limits.max_usd_per_day.is_some() && self.day != today {
            self.day = today;
            self.met = None;
            self.quiet = 0;
            for count in self.counts.values_mut() {
                *count = Count { rounds: 0, at: world.now, held: world.now };
            }
        }
        match self.met {
            None => self.is_met(world, settings, plan, ledger).map(|()| false),
            Some(met) => self.is_at_rest(met, world, settings, plan, ledger),
        }
    }

    fn is_met(
        &mut self,
        world: &World,
        settings: &Settings,
        plan: &Plan,
        ledger: &Ledger,
    ) -> Result<(), String> {
        let now = world.now;
        let mut counts = std::mem::take(&mut self.counts);
        for (name, count) in &mut counts {
            let paused = self.is_paused(name.as_ref(), world, plan, ledger);
            self.at_once &= now < self.visible || !paused;
            if now < self.visible || paused {
                *count = Count { rounds: 0, at: now, held: now };
                continue;
            }
            if Self::is_presumed_free(name.as_ref(), count.held, world, settings, plan) {
                self.at_once = false;
                *count = Count { rounds: 0, at: now, ..*count };
                continue;
            }
            if count.rounds < ROUNDS {
                *count = Count { rounds: count.rounds + 1, at: now, ..*count };
            }
            let amiss = match name {
                _ if !count.is_due(now) => continue,
                Some(name) => amiss(name, world, settings, plan, ledger),
                None => strays(world, ledger),
            };
            if !amiss.is_empty() {
                return Err(format!("ten rounds and a boot after all pauses: {amiss:#?}"));
            }
        }
        if counts.values().all(|count| count.is_due(now)) {
            self.met = Some(now);
        }
        self.counts = counts;
        Ok(())
    }

    fn is_at_rest(
        &mut self,
        met: Timestamp,
        world: &World,
        settings: &Settings,
        plan: &Plan,
        ledger: &Ledger,
    ) -> Result<bool, String> {
        let excess_may_be = world.now < clock::after(met, self.excess);
        let ends = |action: &&Action| matches!(action.kind, ActionKind::Terminate(_));
        // A worker that asks before it stops may be told to stay until its maximum age.
        let asks = settings.server.workers.is_some();
        let ages = |action: &Action| asks && action.reason.kind == ReasonKind::MaxLifetime;
        let odd =
            plan.actions.iter().find(|action| !(ages(action) || excess_may_be && ends(action)));
        if let Some(odd) = odd {
            return Err(format!("no fixed point after {} quiet rounds: {odd:?}", self.quiet));
        }
        if excess_may_be {
            return Ok(false);
        }
        self.quiet += 1;
        if self.quiet < QUIET {
            return Ok(false);
        }
        let mut all = strays(world, ledger);
        for name in settings.worker_types.keys() {
            let status = plan.worker_types.iter().find(|status| status.name == name.as_str());
            let kept = status.is_some_and(|status| asks && world.count(name) <= status.wanted);
            all.extend(amiss(name, world, settings, plan, ledger));
            let idle = world.live().filter(|(id, machine)| {
                machine.worker_type.as_ref() == Some(name) && world.queue.runs(id) == 0
            });
            // A machine that was requested before may have appeared after.
            let unknown = |machine: &Machine| {
                let call = machine.call.as_ref();
                let asked = call.map_or(machine.truth().launch_time, |call| call.decided);
                asks && self.unknown_before.is_some_and(|at| asked <= at)
            };
            let idle = idle.filter(|(_, machine)| !kept && !unknown(machine));
            all.extend(idle.map(|(id, _)| format!("{id} is left idle ({status:?})")));
        }
        if all.is_empty() { Ok(true) } else { Err(format!("in the end: {all:#?}")) }
    }
}

/// Returns what is wrong with a worker type once its demand should be met.
fn amiss(
    name: &WorkerTypeName,
    world: &World,
    settings: &Settings,
    plan: &Plan,
    ledger: &Ledger,
) -> Vec<String> {
    let mut amiss = Vec::new();
    let most = settings.worker_types.get(name).map_or(0, |worker_type| worker_type.max_instances);
    let (pending, count) = (world.queue.pending(name), world.count(name));
    if pending > 0 && count < most && !is_full(world, settings, plan) {
        let notes: Vec<_> = plan.notes.iter().map(|note| note.text.as_str()).collect();
        let status = plan.worker_types.iter().find(|status| status.name == name.as_str());
        amiss.push(format!("{pending} tasks of `{name}` wait: {status:?}; {notes:?}"));
    }
    if count > most {
        amiss.push(format!("{count} of `{name}`"));
    }
    let open = world.open().filter(|request| request.tags.worker_type.as_ref() == Some(name));
    amiss.extend(open.map(|request| format!("{} is left open", request.id)));
    for (id, machine) in world.live() {
        let truth = machine.truth();
        if machine.worker_type.as_ref() != Some(name) {
            continue;
        }
        if truth.tags.worker_type.as_ref() != Some(name) {
            amiss.push(format!("{id} is untagged"));
        }
        if matches!(truth.state, InstanceState::Stopping | InstanceState::Stopped) {
            amiss.push(format!("{id} is stopped"));
        }
    }
    let intents = ledger.intents.values().filter(|intent| intent.call.worker_type == *name);
    amiss.extend(intents.map(|intent| format!("{} is not answered", intent.call.token)));
    amiss
}

/// Returns what is wrong apart from worker types.
fn strays(world: &World, ledger: &Ledger) -> Vec<String> {
    let mut amiss = Vec::new();
    amiss.extend(ledger.hold_until.map(|until| format!("nothing is launched until {until}")));
    if world.key_pair == KeyPair::Ours {
        let strays = world.live().filter(|(_, machine)| {
            machine.worker_type.is_none() && machine.truth().tags == OwnTags::default()
        });
        amiss.extend(strays.map(|(id, _)| format!("{id}, a stray, is left")));
    }
    amiss
}

/// Returns whether the plan says that `[limits]` are used up, and they are for the most expensive machine.
/// Limits count what others run under our key-name, at the highest of our prices.
fn is_full(world: &World, settings: &Settings, plan: &Plan) -> bool {
    let says = |kind| matches!(kind, NoteKind::PriceUnknown | NoteKind::AtLimit);
    if !plan.notes.iter().any(|note| says(note.kind)) {
        return false;
    }
    let dearest =
        settings.worker_types.values().filter_map(|worker_type| worker_type.max_price).max();
    let dearest = dearest.unwrap_or_default();
    let (n, _) = world.total();
    let limits = &settings.limits;
    limits.max_instances.is_some_and(|most| n >= most)
        || limits.max_usd_per_hour.is_some_and(|most| dearest.times(n + 1) > most)
        // Only the plan knows what is left of the day's limit.
        || limits.max_usd_per_day.is_some()
}
