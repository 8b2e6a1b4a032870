//! The complete life of a provisioner, without an AWS account:
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! It builds the three programs, starts [moto](https://docs.getmoto.org/) instead of AWS and
//! `examples/job_queue.rs` as the queue, and then does what a user does: `setup-aws`, a worker type in the
//! configuration, `provisionerd plan`, `provisionerd run` while tasks come and go, and `cleanup-aws`. At the
//! end it counts what happened and checks that nothing is left.
//!
//! It needs Python 3.10 or later. Everything happens on this machine, with invented credentials, in a
//! temporary directory that is removed at the end; only the log of the daemon is kept. The exit code is 1 if
//! it failed.

#![expect(clippy::print_stderr, reason = "it reports to the user")]

#[path = "../tests/support/moto.rs"]
mod moto;
#[path = "quickstart/queue.rs"]
mod queue;
#[path = "quickstart/stand_in.rs"]
mod stand_in;
#[path = "quickstart/user.rs"]
mod user;

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use queue::Queue;
use stand_in::{SpotRequest, StandIn, World};
use user::{Daemon, User};

type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const REGION: &str = "us-west-2";

/// The text that the user adds to the configuration that `setup-aws` saved.
const WORKER_TYPE: &str = r#"
[limits]
max-instances = 20
max-usd-per-hour = 1.0

[queue]
url = "QUEUE_URL"

[server]
listen = ""

[worker-types.linux]
image-id = "ami-00000000000000b86"
instance-types = ["m5.large"]
max-price = 0.05
max-instances = 15
"#;

/// How long EC2 and the queue may take to reach a goal, which usually takes about 3 s.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    // The story owns child processes and the temporary directory, which are dropped here at the latest.
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = story() => ended,
            signal = interrupt() => Err(signal),
        }
    });
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            eprintln!("The quickstart did not finish. All of its processes were stopped.");
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal that ends the program, and returns the reason.
async fn interrupt() -> Box<dyn Error + Send + Sync> {
    let listen = || Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let listening: std::io::Result<_> = listen();
    match listening {
        Ok((mut interrupt, mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            "interrupted".into()
        }
        Err(error) => error.into(),
    }
}

/// Prints a line. The reader may be gone (`| head`), which must not stop the program halfway.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn chapter(title: &str) {
    say(format_args!("\n== {title}\n"));
}

async fn story() -> Done {
    let Places { target, programs, examples, profile } = places()?;
    let logs = target.join("quickstart");
    fs::create_dir_all(&logs)?;
    let dir = tempfile::TempDir::with_prefix("provisioner-quickstart-")?;

    say(
        "The complete life of a provisioner, all on this machine: tasks come and go, and machines with",
    );
    say(
        "them. EC2 is a stand-in, the credentials are invented, and everything is removed at the end.",
    );
    chapter("Build the programs");
    build(&target, &profile).await?;

    let started = Instant::now();
    chapter("Start a stand-in for AWS, and a queue");
    let aws = StandIn::start(&target, &logs.join("moto.log")).await?;
    say(format_args!("   EC2 is moto, at {}", aws.endpoint()));
    // A request is granted at the second describe call, and a machine boots for one more.
    aws.rules(&json!({ "spot": { "after": 1 }, "pending_looks": 1, "shutting_down_looks": 1 }))
        .await?;
    let queue = Queue::start(&examples, 5).await?;
    say(format_args!("  {}", queue.url()));
    let user = User::new(dir.path(), &programs, aws.env());
    let mut stage = Stage { aws, queue, started: Instant::now(), shown: None };

    chapter("Set up");
    user.runs(&format!("setup-aws --region {REGION}")).await?;
    let key_name = user.key_name()?;
    configure(&user.config(), stage.queue.url())?;
    say("$ $EDITOR provisioner.toml");
    for line in fs::read_to_string(user.config())?.lines() {
        say(format_args!("  {line}").to_string().trim_end());
    }
    say("");
    user.runs("provisionerd validate").await?;
    user.runs("provisionerd plan").await?;

    chapter("Run, while tasks come and go");
    let log = logs.join("provisionerd.log");
    let mut daemon = user.starts("provisionerd run --log-format text", &log)?;
    say(format_args!("  its log goes to {}", near(&log)));
    let facts = stage.play(&mut daemon, &key_name).await?;
    daemon.stop().await?;
    let up = stage.picture().await?.0.up;
    say(format_args!(
        "  ended; {up} instances keep running, because stopping the daemon ends no instance"
    ));
    ensure(up == facts.at_the_end, "stopping the daemon ended instances")?;

    chapter("Clean up");
    user.runs("cleanup-aws --yes").await?;

    chapter("What happened");
    account(&mut stage.aws, &user, &key_name, &facts).await?;
    say(format_args!("  daemon's log    {}", near(&log)));
    say(format_args!("\nDone, in {:.0} s after the build.", started.elapsed().as_secs_f64()));
    Ok(())
}

// --- the play ----------------------------------------------------------------------------------

/// EC2, the queue, and the last line of the table about them.
struct Stage {
    aws: StandIn,
    queue: Queue,
    started: Instant,
    shown: Option<Picture>,
}

/// One line of the table.
#[derive(Clone, Copy, PartialEq)]
struct Picture {
    pending: usize,
    running: usize,
    open: usize,
    booting: usize,
    up: usize,
}

/// The facts for the final account.
struct Facts {
    tasks: usize,
    finished: usize,
    elsewhere: usize,
    stray: String,
    ended_themselves: usize,
    at_the_end: usize,
}

fn row<T: Display>(time: &str, cells: [T; 5]) {
    let [waiting, running, open, booting, up] = cells;
    say(format_args!("{time:>8} {waiting:>9} {running:>9} {open:>10} {booting:>11} {up:>11}"));
}

fn act(what: &str) {
    say(format_args!("  -- {what}"));
}

impl Stage {
    async fn play(&mut self, daemon: &mut Daemon, key_name: &str) -> Done<Facts> {
        say("");
        row("", ["tasks", "tasks", "requests", "instances", "instances"]);
        row("time", ["waiting", "running", "open", "booting", "up"]);
        act("5 tasks wait: one machine each");
        self.until(daemon, |now| now.up == 5).await?;

        act("3 more tasks: only 3 more machines");
        self.queue.add(3).await?;
        self.until(daemon, |now| now.up == 8).await?;

        act("the 8 workers claim a task each; 3 finish theirs");
        let workers = self.live().await?;
        let tasks = self.queue.tasks("PENDING").await?;
        for (task, worker) in tasks.iter().zip(&workers) {
            self.queue.claim(task, worker).await?;
        }
        let (done, left) = tasks.split_at(3);
        for task in done {
            self.queue.finish(task).await?;
        }
        self.until(daemon, |now| now.pending == 0 && now.running == 5).await?;

        act("10 more tasks, but EC2 has no capacity at the moment:");
        act("3 machines are idle, so 7 are requested");
        self.aws.rules(&json!({ "spot": "held" })).await?;
        self.queue.add(10).await?;
        self.until(daemon, |now| now.open == 7).await?;

        act("another cluster takes these 10: the requests are cancelled");
        for task in self.queue.tasks("PENDING").await? {
            self.queue.claim(&task, "another-cluster").await?;
            self.queue.finish(&task).await?;
        }
        self.until(daemon, |now| now.pending == 0 && now.open == 0).await?;

        act("somebody launches an instance under our key by hand: it is terminated");
        let stray = self.aws.launch_by_hand(key_name).await?;
        let ended = |world: &World| {
            world
                .instances
                .iter()
                .any(|instance| instance.id == stray && instance.state == "terminated")
        };
        self.watch(daemon, |_, world| ended(world)).await?;

        act("the last 5 tasks finish; without tasks, no machine is terminated");
        for task in left {
            self.queue.finish(task).await?;
        }
        self.until(daemon, |now| now.running == 0).await?;

        act("3 workers reach their idle timeout and stop by themselves");
        self.aws.end_themselves(workers.get(..3).unwrap_or_default()).await?;
        let gone = |world: &World| {
            world.instances.iter().all(|instance| instance.state != "shutting-down")
        };
        self.watch(daemon, |now, world| now.up == 5 && gone(world)).await?;
        say("");
        Ok(Facts {
            tasks: 18,
            finished: 8,
            elsewhere: 10,
            stray,
            ended_themselves: 3,
            at_the_end: 5,
        })
    }

    /// Watches until the picture reaches `goal`.
    async fn until(&mut self, daemon: &mut Daemon, goal: impl Fn(&Picture) -> bool) -> Done {
        self.watch(daemon, |picture, _| goal(picture)).await
    }

    /// Watches until `goal` is reached, with a line for each change.
    async fn watch(
        &mut self,
        daemon: &mut Daemon,
        goal: impl Fn(&Picture, &World) -> bool,
    ) -> Done {
        let since = Instant::now();
        loop {
            let (picture, world) = self.picture().await?;
            if self.shown != Some(picture) {
                self.shown = Some(picture);
                let Picture { pending, running, open, booting, up } = picture;
                let time = format!("{:.1} s", self.started.elapsed().as_secs_f64());
                row(&time, [pending, running, open, booting, up]);
            }
            if goal(&picture, &world) {
                return Ok(());
            }
            daemon.lives()?;
            if since.elapsed() > PATIENCE {
                return Err(format!("the goal was not reached within {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn picture(&self) -> Done<(Picture, World)> {
        let world = self.aws.world().await?;
        let in_state =
            |state: &str| world.instances.iter().filter(|instance| instance.state == state).count();
        let picture = Picture {
            pending: self.queue.tasks("PENDING").await?.len(),
            running: self.queue.tasks("RUNNING").await?.len(),
            open: world.spot_requests.iter().filter(|request| request.state == "open").count(),
            booting: in_state("pending"),
            up: in_state("running"),
        };
        Ok((picture, world))
    }

    /// Returns the ids of the running instances.
    async fn live(&self) -> Done<Vec<String>> {
        let instances = self.aws.world().await?.instances;
        let live = instances.into_iter().filter(|instance| instance.state == "running");
        Ok(live.map(|instance| instance.id).collect())
    }
}

// --- the account -------------------------------------------------------------------------------

/// Counts what happened in EC2, and checks through boto3 whether anything is left.
async fn account(aws: &mut StandIn, user: &User, key_name: &str, facts: &Facts) -> Done {
    let Facts { tasks, finished, elsewhere, stray, ended_themselves, at_the_end } = facts;
    let World { instances, spot_requests } = aws.world().await?;
    let asked_for = aws.asked_for().await?;
    let made = spot_requests.len();
    let fulfilled = spot_requests.iter().filter(|request| request.instance_id.is_some()).count();
    // Fulfilled requests are cancelled by `cleanup-aws`, or close with their instance.
    let unfulfilled =
        |request: &&SpotRequest| request.state == "cancelled" && request.instance_id.is_none();
    let cancelled = spot_requests.iter().filter(unfulfilled).count();
    let launched = instances.iter().filter(|instance| instance.spot_request_id.is_some()).count();
    let calls = aws.calls().await?;
    let count = |action: &str| calls.get(action).copied().unwrap_or(0);
    let reads: usize =
        calls.iter().filter(|(name, _)| name.starts_with("Describe")).map(|(_, count)| count).sum();
    let all: usize = calls.values().sum();

    say(format_args!(
        "  tasks           {tasks} arrived; {finished} ran here, {elsewhere} elsewhere"
    ));
    say(format_args!(
        "  spot requests   {made} made, {fulfilled} fulfilled, {cancelled} cancelled"
    ));
    say(format_args!(
        "  instances       {launched} launched; {ended_themselves} stopped by themselves,"
    ));
    say(format_args!("                  {at_the_end} terminated by cleanup-aws"));
    say(format_args!("  stray           1 terminated: {stray}"));
    say(format_args!("  API calls       {all}, of which {reads} only read;"));
    say(format_args!(
        "                  {} requested, {} cancelled, {} terminated",
        count("RequestSpotInstances"),
        count("CancelSpotInstanceRequests"),
        count("TerminateInstances")
    ));

    let left = left_over(aws, user, key_name)?;
    say(format_args!(
        "  left behind     {}",
        if left.is_empty() { "nothing" } else { left.as_str() }
    ));
    ensure(left.is_empty(), "something was left behind")?;
    ensure(asked_for == made, "more instances were requested than were made")?;
    ensure((made, fulfilled, cancelled) == (15, 8, 7), "8 of 15 requests should be fulfilled")?;
    ensure(launched == 8, "8 instances should have been launched")
}

/// Returns what boto3 still sees under the key-name and what is left on disk; empty if nothing is left.
fn left_over(aws: &mut StandIn, user: &User, key_name: &str) -> Done<String> {
    let list = |answer: &Value, key: &str| answer[key].as_array().map_or(0, Vec::len);
    let live = ["pending", "running", "shutting-down", "stopping", "stopped"];
    let instances = aws.boto3(
        "describe_instances",
        &json!({ "Filters": [
            { "Name": "key-name", "Values": [key_name] },
            { "Name": "instance-state-name", "Values": live },
        ] }),
    )?;
    let requests = aws.boto3(
        "describe_spot_instance_requests",
        &json!({ "Filters": [{ "Name": "state", "Values": ["open", "active"] }] }),
    )?;
    let key_pairs = aws.boto3("describe_key_pairs", &json!({}))?;
    let mut left = Vec::new();
    for (count, what) in [
        (list(&instances, "Reservations"), "instances"),
        (list(&requests, "SpotInstanceRequests"), "spot requests"),
        (list(&key_pairs, "KeyPairs"), "a key pair"),
        (usize::from(user.has_private_key()?), "a private key on disk"),
        (usize::from(user.key_name().is_ok()), "the key-name in provisioner.toml"),
    ] {
        if count > 0 {
            left.push(what);
        }
    }
    Ok(left.join(", "))
}

fn ensure(holds: bool, else_say: &str) -> Done {
    if holds { Ok(()) } else { Err(else_say.into()) }
}

// --- around it ---------------------------------------------------------------------------------

/// Adds rounds of a second, the queue and a worker type to what `setup-aws` saved.
fn configure(config: &Path, queue_url: &str) -> Done {
    let saved = fs::read_to_string(config)?;
    let mut text = saved.replacen("[provisioner]\n", "[provisioner]\ninterval = \"1s\"\n", 1);
    ensure(text != saved, "setup-aws saved no [provisioner] in provisioner.toml")?;
    text.push_str(&WORKER_TYPE.replace("QUEUE_URL", queue_url));
    Ok(fs::write(config, text)?)
}

/// Where cargo puts things.
struct Places {
    target: PathBuf,
    programs: PathBuf,
    examples: PathBuf,
    profile: String,
}

/// Finds out from where this program is: `TARGET/PROFILE/examples/quickstart`.
fn places() -> Done<Places> {
    let this = std::env::current_exe()?;
    let mut up = this.ancestors().skip(1).map(Path::to_owned);
    let (Some(examples), Some(programs), Some(target)) = (up.next(), up.next(), up.next()) else {
        return Err("start this with `cargo run --example quickstart`".into());
    };
    let profile = match programs.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
        None => return Err("start this with `cargo run --example quickstart`".into()),
    };
    Ok(Places { target, programs, examples, profile })
}

async fn build(target: &Path, profile: &str) -> Done {
    say("$ cargo build --bins --example job_queue");
    say("  (links three programs: up to a minute)");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--bins", "--example", "job_queue", "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .kill_on_drop(true)
        .status()
        .await?;
    ensure(status.success(), "the programs could not be built")
}

/// A path, from the current directory if it is below that.
fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
