//! The simulated EC2 behind its loopback door, and the queue, on a thread of their own.
//!
//! The time of the simulation is that of the clock. The calls are counted per round, and launching calls are
//! reported when they arrive.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use jiff::Timestamp;
use provisioner_sim::http_server::HttpServer;
use provisioner_sim::query_api::{self, QueryResponse};
use provisioner_sim::world::World;

use super::tasks::Tasks;

/// How often each operation was called.
pub(crate) type Calls = BTreeMap<String, usize>;

/// A running stand-in. It ends with the process.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    ec2: String,
    queue: SocketAddr,
    stage: Arc<Mutex<Stage>>,
}

#[derive(Debug)]
struct Stage {
    world: World,
    tasks: Tasks,
    /// Calls to AWS of the round under way.
    calls: Calls,
    /// Calls to AWS of the rounds that are over.
    rounds: Vec<Calls>,
    /// Hears of launching calls.
    launched: Option<mpsc::Sender<Instant>>,
}

impl StandIn {
    /// Serves `world` and `tasks`.
    pub(crate) fn start(world: World, tasks: Tasks) -> Self {
        let stage = Stage { world, tasks, calls: Calls::new(), rounds: Vec::new(), launched: None };
        let stage = Arc::new(Mutex::new(stage));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (door, listener) = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            (HttpServer::bind(0).await.expect("a free port"), listener.expect("a free port"))
        });
        let ec2 = door.endpoint();
        let queue = listener.local_addr().expect("its address");
        let router = Router::new().route("/0.1.0/jobs", get(jobs)).with_state(Arc::clone(&stage));
        let asked = Arc::clone(&stage);
        thread::spawn(move || {
            runtime.block_on(async {
                let answers = move |body: &str| lock(&asked).answer(body);
                tokio::spawn(door.serve(answers, std::future::pending()));
                axum::serve(listener, router).await.expect("a server without end");
            });
        });
        Self { ec2, queue, stage }
    }

    /// The endpoint of the simulated EC2.
    pub(crate) fn ec2(&self) -> &str {
        &self.ec2
    }

    /// Where the queue listens.
    pub(crate) fn queue(&self) -> SocketAddr {
        self.queue
    }

    /// The calls to AWS per complete round so far.
    pub(crate) fn rounds(&self) -> Vec<Calls> {
        lock(&self.stage).rounds.clone()
    }

    /// A task of `worker_type` comes in.
    pub(crate) fn task(&self, worker_type: &str) {
        lock(&self.stage).tasks.add(worker_type);
    }

    /// How many machines there are.
    pub(crate) fn machines(&self) -> usize {
        lock(&self.stage).world.live().count()
    }

    /// When launching calls arrive, from now on.
    pub(crate) fn launches(&self) -> mpsc::Receiver<Instant> {
        let (sender, receiver) = mpsc::channel();
        lock(&self.stage).launched = Some(sender);
        receiver
    }
}

fn lock(stage: &Mutex<Stage>) -> MutexGuard<'_, Stage> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    /// The answer of the simulated EC2 to the body of a call.
    fn answer(&mut self, body: &str) -> QueryResponse {
        let arrived = Instant::now();
        let action = body.split('&').find_map(|field| field.strip_prefix("Action="));
        *self.calls.entry(action.unwrap_or_default().to_owned()).or_default() += 1;
        self.world.advance(Timestamp::now());
        let launches = self.world.calls.len();
        let answer = query_api::answer(&mut self.world, body);
        if let Some(launch) = self.world.calls.get(launches) {
            self.tasks.launched(&self.world, launch.worker_type.as_str());
            if let Some(launched) = &self.launched {
                // Nobody may be waiting for it.
                let _ = launched.send(arrived);
            }
        }
        answer
    }
}

/// The queue. PENDING is asked first in every round.
async fn jobs(State(stage): State<Arc<Mutex<Stage>>>, uri: Uri) -> String {
    let mut stage = lock(&stage);
    if uri.query() == Some("state=RUNNING") {
        return stage.tasks.running.clone();
    }
    let calls = std::mem::take(&mut stage.calls);
    stage.rounds.push(calls);
    stage.tasks.pending.clone()
}
