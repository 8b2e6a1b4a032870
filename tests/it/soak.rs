//! The soak: a real daemon runs for as long as `PROVISIONER_SOAK` says (`1h`; by default, under a minute).
//!
//! Tasks come in waves; workers claim them, stop by themselves and are reclaimed. Calls to AWS fail in every
//! way that the stand-in supports, at random from a seed; the queue fails; the daemon is killed, stopped and
//! reloaded. During all of this, nothing is bought twice, no maximum is exceeded, the process does not grow,
//! and at the end `cleanup-aws` leaves nothing.
//!
//! `PROVISIONER_SOAK=1h cargo test --workspace --test it soak:: -- --nocapture` prints the figures.

mod audit;
mod length;
mod load;
mod shape;
mod trouble;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cleanup::{Others, nothing_is_left};
use crate::harness::{Answer, Daemon, Project, REGION, free_port, get, post};
use audit::Audit;
use length::Length;
use load::{KINDS, Load, MOST};
use shape::{Growth, Shape};
use trouble::{Event, Trouble};

/// The time between two inspections of everything.
const TICK: Duration = Duration::from_millis(150);

/// Tasks that wait are done by then, whatever paused their worker type.
const DRAINED: Duration = Duration::from_mins(3);

/// The percentage of changing calls that fail, because there are few such calls.
const CHANGES_PER_CENT: f64 = 8.0;

const SEED: u64 = 2014;

#[test]
fn the_daemon_lasts() {
    let length = Length::from_env();
    let mut soak = Soak::start(length);
    let end = Instant::now() + length.whole;
    while Instant::now() < end || !soak.trouble.is_over() || !soak.shape.is_telling() {
        soak.step();
        soak.trouble();
    }
    soak.drain();
    let growth = soak.shape.growth();
    let said = soak.last_words();
    let project = &soak.project;
    project.account.clear_faults();
    project.account.rules(&json!({ "shutting_down_looks": 0 }));
    project.cleanup_aws(&["--yes"]).ok();
    nothing_is_left(&project.account, &soak.key_name);
    soak.others.are_untouched(&project.account);
    soak.report(&growth);
    growth.is_none(length.is_long());
    let reloads = said.matches("worker-types.linux.max-instances").count();
    assert!(reloads >= soak.reloads, "{reloads} of {} reloads were told", soak.reloads);
    for kind in &KINDS {
        assert!(soak.load.served.done.contains_key(kind.name), "no task of `{}` ran", kind.name);
    }
    assert!(!soak.audit.by_fault.is_empty(), "no call failed");
}

/// Everything that takes part.
struct Soak {
    length: Length,
    project: Project,
    key_name: String,
    port: u16,
    others: Others,
    load: Load,
    audit: Audit,
    trouble: Trouble,
    shape: Shape,
    daemon: Option<Daemon>,
    /// Rounds before this process.
    rounds_before: usize,
    /// Launching calls when a kill in the next one was prepared.
    armed: Option<u64>,
    strays: Vec<String>,
    /// Reloads of this process.
    reloads: usize,
    processes: u64,
    /// The output of processes that have ended.
    log: String,
}

impl Soak {
    fn start(length: Length) -> Self {
        let project = configured(length);
        let port = free_port();
        project.set("server.listen", format!("127.0.0.1:{port}"));
        let others = Others::arrive(&project.account);
        let daemon = project.daemon();
        let soak = Self {
            key_name: project.key_name(),
            port,
            others,
            load: Load::new(SEED),
            audit: Audit::default(),
            trouble: Trouble::new(SEED, length),
            shape: Shape::of(daemon.pid(), every(length)),
            daemon: Some(daemon),
            rounds_before: 0,
            armed: None,
            strays: Vec::new(),
            reloads: 0,
            processes: 1,
            log: String::new(),
            length,
            project,
        };
        soak.roll_dice();
        soak
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("a daemon that runs")
    }

    /// Calls fail by chance from now on.
    fn roll_dice(&self) {
        let rules = json!({ "dice": {
            "seed": SEED + self.processes,
            "per_cent": self.length.per_cent(),
            "changes_per_cent": CHANGES_PER_CENT,
            "slow_ms": 1_000,
            "hang_ms": self.length.hang().as_millis(),
            "outlast": if self.length.is_long() { 0.2 } else { 1.0 },
        } });
        self.project.account.rules(&rules);
    }

    /// Lets a moment pass: checks the world, and moves tasks and workers.
    #[track_caller]
    fn step(&mut self) {
        self.daemon().still_runs();
        self.shape.look();
        let account = &self.project.account;
        let world = account.world();
        self.audit.look(account, &world);
        let ended = self.load.step(&world, &self.key_name);
        let (pending, running) = self.load.lists();
        let odd = self.trouble.queue(&pending);
        self.project.queue.answer_pending(odd.unwrap_or(Answer::Tasks(pending)));
        let odd = self.trouble.queue(&running);
        self.project.queue.answer_running(odd.unwrap_or(Answer::Tasks(running)));
        if let Some(id) = self.trouble.interrupted(&world, &self.key_name)
            && !ended.contains(&id)
        {
            account.to_instances(&json!({ "ids": [id], "do": "interrupt" }));
        }
        if !ended.is_empty() {
            account.to_instances(&json!({ "ids": ended, "do": "terminate" }));
        }
        // A process that is about to listen, or hangs, does not answer: that is no matter here.
        let asked = if self.trouble.wakes() {
            post(self.port, "/wake", "")
        } else {
            get(self.port, "/metrics")
        };
        drop(asked);
        thread::sleep(TICK);
    }

    /// Lets the trouble happen that is due.
    fn trouble(&mut self) {
        if let Some(mood) = self.trouble.mood() {
            self.project.account.rules(&mood);
        }
        if let Some(before) = self.armed {
            if self.audit.launch_calls() > before {
                self.kill();
                self.restart();
            }
            return;
        }
        let Some(event) = self.trouble.due() else { return };
        // Signals have a meaning only for a process that has come up.
        if self.project.queue.rounds() <= self.rounds_before {
            return;
        }
        match event {
            Event::Kill => {
                self.kill();
                self.restart();
            }
            Event::KillInLaunch { after } => self.arm(after),
            Event::Stop => {
                // A hanging call would delay its end.
                self.project.account.clear_faults();
                let ended = self.daemon.take().expect("a daemon").stop();
                self.log.push_str(&ended.stderr);
                self.restart();
            }
            Event::Reload => {
                let most = KINDS[0].most - (self.reloads + 1) % 2;
                let most = i64::try_from(most).expect("a small number");
                self.project.set("worker-types.linux.max-instances", most);
                self.daemon().signal("HUP");
                self.reloads += 1;
            }
            Event::Stray => {
                let what = json!({ "key_name": self.key_name });
                self.strays.extend(self.project.account.add_instances(&what));
            }
        }
        self.trouble.past();
    }

    /// The next launching call hangs, until the process is killed in it.
    fn arm(&mut self, after: &str) {
        self.project.account.fault(&json!({
            "action": "RequestSpotInstances", "after": after, "hang_ms": 60_000, "drop": true,
            "name": "killed",
        }));
        self.armed = Some(self.audit.launch_calls());
    }

    fn kill(&mut self) {
        let ended = self.daemon.take().expect("a daemon").kill();
        self.log.push_str(&ended.stderr);
        self.project.account.clear_faults();
        self.armed = None;
    }

    fn restart(&mut self) {
        self.rounds_before = self.project.queue.rounds();
        let daemon = self.project.daemon();
        self.shape = Shape::of(daemon.pid(), every(self.length));
        self.daemon = Some(daemon);
        self.processes += 1;
        self.reloads = 0;
        self.roll_dice();
    }

    /// No more tasks come: those that are there get done, though calls still fail.
    fn drain(&mut self) {
        self.project.account.rules(&Trouble::fair());
        self.load.arriving = false;
        let start = Instant::now();
        while !self.load.is_empty() || self.stray_lives() {
            assert!(
                start.elapsed() < DRAINED,
                "tasks still wait, or a stray lives: {:?} {:?}",
                self.load,
                self.strays
            );
            self.step();
        }
    }

    fn stray_lives(&self) -> bool {
        let world = self.project.world();
        world.live(&self.key_name).iter().any(|instance| self.strays.contains(&instance.id))
    }

    /// Kills the daemon during a launch that is carried out, and returns its output.
    fn last_words(&mut self) -> String {
        self.load.arriving = true;
        self.arm("applied");
        let before = self.audit.launch_calls();
        let start = Instant::now();
        while self.audit.launch_calls() == before {
            assert!(start.elapsed() < DRAINED, "nothing is launched any more: {:?}", self.load);
            self.step();
        }
        let said = self.daemon().said();
        self.kill();
        said
    }

    #[expect(clippy::print_stderr, reason = "a long soak is run for its figures")]
    fn report(&self, growth: &Growth) {
        let Self { audit, load, .. } = self;
        let served = &load.served;
        let (launches, again, granted) = audit.launches();
        let failed: u64 = audit.by_fault.values().sum();
        eprintln!(
            "soak of {} s, {} rounds, {} processes, {} looks at the truth\n\
             calls: {} {:?}\n\
             of these failed: {failed} {:?}, {} pairs of action and fault\n\
             launches: {launches} asked {granted} requests, {again} of them more than once\n\
             tasks: {:?} done, {} started over, {} withdrawn; \
             machines: {}, of which {} never had a task\n\
             {growth}",
            self.length.whole.as_secs(),
            self.project.queue.rounds(),
            self.processes,
            audit.looks,
            audit.calls,
            audit.by_action,
            audit.by_fault,
            audit.pairs.len(),
            served.done,
            served.started_over,
            served.withdrawn,
            served.workers,
            served.never_worked,
        );
    }
}

impl Drop for Soak {
    /// The story of a soak that failed is in the daemon's log.
    fn drop(&mut self) {
        let now = self.daemon.as_ref().map(Daemon::said).unwrap_or_default();
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("soak-daemon.log");
        drop(std::fs::write(path, format!("{}{now}", self.log)));
    }
}

/// The time between two samples of the process.
fn every(length: Length) -> Duration {
    if length.is_long() { Duration::from_secs(2) } else { TICK }
}

fn configured(length: Length) -> Project {
    let project = Project::set_up();
    project.set("provisioner.interval", "300ms");
    project.set("limits.max-instances", i64::try_from(MOST).expect("a small number"));
    project.set("worker-types.linux.instance-types", vec!["m5.large", "c5.large"]);
    let zones = vec![format!("{REGION}a"), format!("{REGION}b")];
    project.set("worker-types.linux.availability-zones", zones);
    for kind in &KINDS {
        if kind.name != "linux" {
            project.add_worker_type(kind.name);
        }
        let set = |key: &str, count: usize| {
            let count = i64::try_from(count).expect("a small number");
            project.set(&format!("worker-types.{}.{key}", kind.name), count);
        };
        set("min-instances", kind.least);
        set("max-instances", kind.most);
        set("tasks-per-instance", kind.tasks);
    }
    project.set("worker-types.windows.max-lifetime", "2m");
    project.account.rules(&json!({
        "page_size": 20, "pending_looks": 1, "shutting_down_looks": 1, "held_age_s": 40,
    }));
    if length.is_long() {
        // Otherwise the answers of describe calls would grow for ever. Hanging calls make observations rare, but
        // their lag stays far within the window.
        project.set("provisioner.visibility-window", "3m");
        project.account.rules(&json!({ "forget_after_s": 300 }));
    }
    project
}
