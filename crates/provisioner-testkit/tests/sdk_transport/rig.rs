//! A daemon in a world: it is started, watched, dropped in the middle of a round, and started again from its
//! disk.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provisioner::internal::daemon::StopListener;
use provisioner::internal::daemon::{
    Clock, ClockOffset, Daemon, MissingLedger, ProcessSeed, RoundEnd, RoundSummary,
};
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::observed::Observation;
use provisioner::internal::domain::stop_secret::StopSecret;
use provisioner::internal::domain::user_data::UserData;
use provisioner::internal::engine::{ActionResult, Effect, Plan, Report, StopConsentCounts};
use provisioner::internal::settings::Settings;
use provisioner::internal::state_dir::{LedgerState, StateDir};
use provisioner_sim::deployment::{key, secs};
use provisioner_sim::query_api::{ACCOUNT, REGION};
use provisioner_sim::sdk_transport::{CallPhase, SdkTransport, WorldQueue};
use provisioner_sim::world::World;
use provisioner_testkit::invariants::{self, BeforeCall};
use provisioner_testkit::random::ZONES;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A daemon and its environment.
pub(crate) struct Rig {
    pub(crate) transport: SdkTransport,
    pub(crate) settings: Arc<Settings>,
    /// The last plan.
    pub(crate) plan: Plan,
    daemon: Option<Daemon<WorldQueue>>,
    disk: StateDir,
    births: u64,
    /// The clock of the daemon, and the offset that sets it.
    clock: Clock,
    clock_offset: ClockOffset,
    /// Whether a process that starts from the disk finds an empty ledger.
    pub(crate) forgets_ledger: bool,
    /// When the disk was lost, if it was.
    pub(crate) lost: Option<Timestamp>,
    watched: Arc<Mutex<Watched>>,
    _home: TempDir,
}

/// The observations of the watch at the transport in a round, and the story.
#[derive(Default)]
struct Watched {
    /// The world just before the round's first change, for which the plan was made.
    decided_in: Option<World>,
    before: Option<BeforeCall>,
    story: Vec<String>,
}

/// Adapts settings to the real daemon, which finds its zones in them. An interval of 20 s saves time.
fn for_the_daemon(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.provisioner.interval = secs(20);
    for worker_type in settings.worker_types.values_mut() {
        worker_type.availability_zones = ZONES.map(Into::into).to_vec();
        // Simulated workers read only the token.
        let raw = b"${{ stop_token }}".to_vec();
        worker_type.user_data =
            settings.server.workers.is_some().then_some(UserData { raw, template: true });
    }
    settings
}

impl Rig {
    /// Starts a daemon in `world` with an empty ledger.
    pub(crate) fn new(world: World) -> Self {
        // In memory if possible, since this does not test the disk.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let home = tempfile::tempdir_in(root).unwrap();
        let disk = StateDir::locate(Some(home.path()), ACCOUNT, REGION, &key()).unwrap();
        disk.create_empty().unwrap();
        let settings = Arc::new(for_the_daemon(&world.settings));
        let clock_offset = ClockOffset::default();
        let clock = Clock::set_by(clock_offset.clone(), world.now);
        let mut rig = Self {
            transport: SdkTransport::new(world),
            settings,
            plan: Plan::default(),
            daemon: None,
            disk,
            births: 0,
            clock,
            clock_offset,
            forgets_ledger: false,
            lost: None,
            watched: Arc::default(),
            _home: home,
        };
        rig.watch();
        rig.start();
        rig
    }

    /// Returns how often workers asked the present daemon.
    pub(crate) fn stop_consent_counts(&self) -> StopConsentCounts {
        self.daemon
            .as_ref()
            .and_then(Daemon::stop_listener)
            .map(StopListener::counts)
            .unwrap_or_default()
    }

    fn start(&mut self) {
        self.daemon = None;
        self.births += 1;
        let birth = ProcessSeed { clock: self.clock(), nonce: self.births };
        let (settings, queue) =
            (Arc::clone(&self.settings), self.transport.queue(Arc::clone(&self.settings)));
        self.know_the_secret();
        if self.forgets_ledger {
            self.disk.lock().unwrap().write_ledger(&Ledger::default()).unwrap();
        }
        let client = self.transport.client().unwrap();
        let daemon = Daemon::open_with(
            settings,
            key(),
            client,
            queue,
            &self.disk,
            MissingLedger::IsLost,
            birth,
        );
        let daemon = daemon.unwrap();
        if let Some(listener) = daemon.stop_listener() {
            self.transport.world().attend(listener.clone(), self.clock_offset.ahead());
        }
        self.daemon = Some(daemon);
    }

    /// Writes a fixed stop secret, because a random one would change the story of a seed.
    fn know_the_secret(&self) {
        let path = self.disk.path().join("stop-secret.json");
        if self.settings.server.workers.is_some() && !path.exists() {
            std::fs::create_dir_all(self.disk.path()).unwrap();
            // Different after each loss of the disk, like a real one: the daemon forgot its workers.
            let mut secret = [0; 64];
            secret[..8].copy_from_slice(&self.births.to_le_bytes());
            let secret = StopSecret::new(secret);
            let secret = serde_json::json!({ "version": 1, "secret": secret });
            std::fs::write(path, secret.to_string()).unwrap();
        }
    }

    /// Returns the daemon's clock.
    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Sets how far the clock of the running daemon is ahead of EC2's.
    pub(crate) fn set_clock(&mut self, ahead: SignedDuration) {
        if self.clock_offset.ahead() == ahead {
            return;
        }
        self.clock_offset.set(ahead);
        self.transport.world().caller_ahead = ahead;
        self.tell(&format!("the clock is set to {ahead:#} ahead"));
        if let Some(listener) = self.daemon.as_ref().and_then(Daemon::stop_listener) {
            self.transport.world().attend(listener.clone(), ahead);
        }
    }

    /// Ends the process and starts another from its disk, perhaps with other settings.
    pub(crate) fn restart(&mut self, settings: &Settings) {
        self.tell("restart");
        self.settings = Arc::new(for_the_daemon(settings));
        self.watch();
        self.start();
    }

    /// Empties the disk and restarts the process.
    pub(crate) fn lose_disk(&mut self) {
        self.daemon = None;
        self.lost = Some(self.transport.clock().now());
        std::fs::remove_dir_all(self.disk.path()).unwrap();
        let settings = Arc::clone(&self.settings);
        self.restart(&settings);
    }

    /// Checks the invariants at every change.
    fn watch(&self) {
        let (watched, settings) = (Arc::clone(&self.watched), Arc::clone(&self.settings));
        let disk = self.disk.clone();
        self.transport.watch(Box::new(move |moment, effect, world| {
            let mut watched = watched.lock().unwrap();
            match moment {
                CallPhase::Before => {
                    watched.decided_in.get_or_insert_with(|| world.clone());
                    let on_disk = ledger(&disk);
                    let effect = as_intended(effect, on_disk.as_ref());
                    watched.story.push(format!("{} {:?}", world.now, without_secrets(&effect)));
                    let before =
                        invariants::before_call(&effect, on_disk.as_ref(), world, &settings);
                    watched.before = Some(before);
                }
                CallPhase::After => {
                    let before = watched.before.take().expect("it was watched before");
                    world.violations.extend(invariants::after_call(before, world, &settings));
                }
            }
        }));
    }

    /// Adds a line to the story.
    pub(crate) fn tell(&self, line: &str) {
        let at = self.transport.clock().now();
        self.watched.lock().unwrap().story.push(format!("{at} {line}"));
    }

    /// Returns the story, one line per event.
    pub(crate) fn story(&self) -> Vec<String> {
        self.watched.lock().unwrap().story.clone()
    }

    /// Returns the end of the story.
    pub(crate) fn end_of_story(&self) -> String {
        let story = self.story();
        story[story.len().saturating_sub(60)..].join("\n")
    }

    /// Runs a round.
    pub(crate) async fn round(&mut self) -> RoundEnd {
        self.round_until(u64::MAX).await.expect("a round that is not dropped ends").0
    }

    /// Runs a round that is dropped at its `n`-th poll together with the process, which then restarts. Returns
    /// `None` if it was dropped, and otherwise its end and the number of polls.
    pub(crate) async fn round_until(&mut self, n: u64) -> Option<(RoundEnd, u64)> {
        self.watched.lock().unwrap().decided_in = None;
        let stop = CancellationToken::new();
        let mut daemon = self.daemon.take().expect("a daemon runs");
        let ended = polled(Box::pin(daemon.round(&stop)), n).await;
        // A dropped daemon releases its lock for the next one.
        self.daemon = ended.is_some().then_some(daemon);
        match &ended {
            Some((RoundEnd::Done(report), _)) => self.check(report),
            Some((RoundEnd::Failed { error, .. }, _)) => self.tell(&format!("failed: {error}")),
            Some((RoundEnd::Planned(_) | RoundEnd::Stopped, _)) => {
                unreachable!("the round was neither a dry run nor stopped")
            }
            None => {
                self.tell(&format!("DROPPED at poll {n}"));
                let settings = Arc::clone(&self.settings);
                self.restart(&settings);
            }
        }
        ended
    }

    fn check(&mut self, report: &Report) {
        let mut world = self.transport.world();
        let decided_in = self.watched.lock().unwrap().decided_in.take();
        let decided_in = decided_in.as_ref().unwrap_or(&world);
        let observation = everything_visible(decided_in);
        let mut violations =
            invariants::of_plan(&report.plan, &observation, decided_in, &self.settings);
        for executed in &report.executed {
            let (ActionResult::Done(ids), Some((_, token))) = (&executed.result, &executed.launch)
            else {
                continue;
            };
            let made = world.requests.iter().filter(|request| request.call.token == *token);
            let (made, asked) = (made.count(), executed.action.kind.count());
            if made != ids.len() || made as u64 > asked {
                violations.push(format!("{asked} asked, {made} made, {} reported", ids.len()));
            }
        }
        world.violations.extend(violations);
        drop(world);
        self.plan = report.plan.clone();
    }

    /// Waits until the next round is due, and at least for the time that a computer needs for a round.
    pub(crate) async fn wait(&self, wake: Timestamp) {
        let now = self.clock().now();
        let wait =
            provisioner::internal::domain::clock::age(now, wake).max(Duration::from_millis(100));
        tokio::time::sleep(wait).await;
    }

    /// Runs rounds until `until`.
    pub(crate) async fn run(&mut self, until: Timestamp) {
        while self.transport.clock().now() < until {
            let end = self.round().await;
            self.wait(wake(&end)).await;
        }
    }

    /// Runs the loop of `provisionerd run` for `time`. Calls `tell` with every summary.
    pub(crate) async fn run_loop(&mut self, time: Duration, tell: impl FnMut(RoundSummary<'_>)) {
        let (stop, wake) = (CancellationToken::new(), Notify::new());
        let daemon = self.daemon.as_mut().expect("a daemon runs");
        let end = async {
            tokio::time::sleep(time).await;
            stop.cancel();
        };
        let (ended, ()) = tokio::join!(Box::pin(daemon.run(&stop, &wake, tell)), end);
        ended.expect("it does not give up");
    }

    /// Returns the ledger on the disk.
    pub(crate) fn ledger(&self) -> Ledger {
        ledger(&self.disk).expect("a ledger on the disk")
    }

    /// Returns all violations so far as an error.
    pub(crate) fn sound(&self) -> Result<(), String> {
        let violations = &self.transport.world().violations;
        if violations.is_empty() { Ok(()) } else { Err(format!("{violations:#?}")) }
    }

    /// Asserts that there was no violation, and prints the end of the story if there was one.
    #[track_caller]
    pub(crate) fn assert_sound(&self, context: &str) {
        if let Err(violations) = self.sound() {
            panic!("{context}: {violations}\n{}", self.end_of_story());
        }
    }
}

/// Returns when the next round is due.
pub(crate) fn wake(end: &RoundEnd) -> Timestamp {
    match end {
        RoundEnd::Done(report) => report.wake,
        RoundEnd::Failed { wake, .. } => *wake,
        RoundEnd::Planned(_) | RoundEnd::Stopped => {
            unreachable!("the round was neither a dry run nor stopped")
        }
    }
}

/// Polls `future` until it ends, or drops it at its `n`-th poll. Returns its output and the number of polls.
async fn polled<F: Future>(future: F, n: u64) -> Option<(F::Output, u64)> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        if polls >= n {
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(|output| Some((output, polls)))
    })
    .await
}

fn ledger(disk: &StateDir) -> Option<Ledger> {
    match disk.peek_ledger().unwrap() {
        LedgerState::Known(ledger) => Some(ledger),
        LedgerState::Lost { .. } => None,
    }
}

/// Removes the user data, whose token depends on a secret that differs in every run.
fn without_secrets(effect: &Effect) -> Effect {
    let mut effect = effect.clone();
    if let Effect::Request(call) = &mut effect {
        call.user_data = None;
    }
    effect
}

/// Completes a call that was read from the protocol by the fields that only its intent on disk has.
fn as_intended(effect: &Effect, on_disk: Option<&Ledger>) -> Effect {
    let Effect::Request(call) = effect else { return effect.clone() };
    let intent = on_disk.and_then(|ledger| ledger.intents.get(&call.token));
    let Some(intent) = intent else { return effect.clone() };
    let mut call = call.clone();
    call.decided = intent.call.decided;
    // The protocol has times in seconds.
    if call.valid_until.as_second() == intent.call.valid_until.as_second() {
        call.valid_until = intent.call.valid_until;
    }
    Effect::Request(call)
}

/// Returns everything that describe calls show.
fn everything_visible(world: &World) -> Observation {
    Observation {
        instances: world
            .machines
            .iter()
            .filter_map(|(_, it)| it.record.seen(world.now).cloned())
            .collect(),
        spot_requests: world
            .requests
            .iter()
            .filter_map(|it| it.record.seen(world.now).cloned())
            .collect(),
        key_pair: world.key_pair,
    }
}
