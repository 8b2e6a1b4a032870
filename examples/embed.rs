//! Runs the provisioner inside another program, with that program's own queue:
//!
//! ```sh
//! setup-aws --region us-west-2                  # once; then add worker types to provisioner.toml
//! cargo run --example embed -- provisioner.toml
//! ```
//!
//! Type the name of a worker type to add a task for it, and Ctrl-C to end. `cleanup-aws` removes
//! everything. Like the programs, the example uses the AWS account that the environment names, and buys
//! instances there.
//!
//! The queue is a few counters in memory. The provisioner needs nothing of a queue but
//! [`DemandSource`]: how many tasks wait, and which run where.

#![expect(clippy::print_stderr, reason = "an example reports what it does")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use provisioner::{
    Client, ConnectOptions, Daemon, Demand, DemandError, DemandSource, InstanceId, MissingLedger,
    Running, Settings, Sources, StateDir, WorkerTypeName, load_config,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Tasks in memory. A clone is another handle to the same tasks.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    pending: BTreeMap<WorkerTypeName, u64>,
    /// One task at a time on each machine. Real workers would fill this in.
    running: BTreeMap<InstanceId, WorkerTypeName>,
}

impl Tasks {
    fn add(&self, worker_type: WorkerTypeName) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.pending.entry(worker_type).or_default() += 1;
    }
}

impl DemandSource for Tasks {
    /// A queue that cannot be read must return a [`DemandError`], because an incomplete demand would end
    /// machines that are needed. This queue can always be read.
    async fn demand(&mut self, _owned: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut demand = Demand::default();
        for (worker_type, count) in &counts.pending {
            demand.pending.entry(worker_type.clone()).or_default().count = *count;
        }
        let mut tasks = BTreeMap::<_, u64>::new();
        for worker_type in counts.running.values() {
            *tasks.entry(worker_type.clone()).or_default() += 1;
        }
        let instances = counts.running.keys().map(|id| (id.clone(), 1)).collect();
        demand.running = Running::ByInstance { tasks, instances };
        Ok(demand)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The daemon logs what it does, and why, through `tracing`.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();

    // The configuration is that of the programs; its `[queue]` is not used.
    let mut sources = Sources::new(std::env::current_dir()?);
    sources.explicit_file = std::env::args_os().nth(1).map(Into::into);
    let settings = Arc::new(load_config(&sources)?.settings);
    let key_name = settings.provisioner.key_name.clone().ok_or("run `setup-aws` first")?;

    // Instances bought in another account would not be found again.
    let client = Client::connect(&ConnectOptions::from(&settings.aws)).await?;
    let account = client.account_id().await?;
    if settings.aws.account_id.as_ref().is_some_and(|saved| *saved != account) {
        return Err(format!("these are credentials of account {account}").into());
    }
    let state_root = settings.provisioner.state_dir.as_deref();
    let state_dir = StateDir::locate(state_root, &account, client.region(), &key_name)?;

    let tasks = Tasks::default();
    let mut daemon = Daemon::open(
        Arc::clone(&settings),
        key_name,
        client,
        tasks.clone(),
        &state_dir,
        MissingLedger::IsLost,
    )?;

    let stop = CancellationToken::new();
    let wake = Arc::new(Notify::new());
    std::thread::spawn({
        let wake = Arc::clone(&wake);
        move || read_tasks(&tasks, &settings, &wake)
    });
    tokio::spawn({
        let stop = stop.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    daemon.run(&stop, &wake, |health| eprintln!("next round in {:?}", health.next)).await?;
    Ok(())
}

/// Adds a task for each line on standard input, and wakes the daemon before its interval has passed.
fn read_tasks(tasks: &Tasks, settings: &Settings, wake: &Notify) {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match WorkerTypeName::parse(line.trim()) {
            Ok(name) if settings.worker_types.contains_key(&name) => {
                tasks.add(name);
                wake.notify_one();
            }
            _ => {
                let known = settings.worker_types.keys();
                let known: Vec<_> = known.map(WorkerTypeName::as_str).collect();
                eprintln!("unknown worker type; the configuration has: {}", known.join(", "));
            }
        }
    }
}
