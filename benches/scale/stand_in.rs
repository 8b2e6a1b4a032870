//! EC2, STS and the queue on loopback: as much of them as the daemon asks.
//!
//! It counts the calls, and notes when a launching call arrives.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use jiff::Timestamp;
use reqwest::Url;

use super::fleet::{ACCOUNT, Fleet};
use super::xml;

/// How often each operation was called.
pub(crate) type Calls = BTreeMap<String, usize>;

/// A running stand-in. It ends with the process.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

#[derive(Debug)]
struct World {
    fleet: Fleet,
    /// Calls to AWS of the round under way.
    calls: Calls,
    /// Calls to AWS of the rounds that are over.
    rounds: Vec<Calls>,
    /// Hears of launching calls.
    launched: Option<mpsc::Sender<Instant>>,
}

impl StandIn {
    /// Serves `fleet` on a thread of its own.
    pub(crate) fn start(fleet: Fleet) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let world = World { fleet, calls: Calls::new(), rounds: Vec::new(), launched: None };
        let world = Arc::new(Mutex::new(world));
        let router = Router::new()
            .route("/", post(aws))
            .route("/0.1.0/jobs", get(jobs))
            .with_state(Arc::clone(&world));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, router).await.expect("a server without end");
            });
        });
        Self { address, world }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The calls to AWS per complete round so far.
    pub(crate) fn rounds(&self) -> Vec<Calls> {
        self.world().rounds.clone()
    }

    /// A task of `worker_type` comes in.
    pub(crate) fn task(&self, worker_type: &str) {
        self.world().fleet.task(worker_type);
    }

    /// How many machines there are.
    pub(crate) fn machines(&self) -> usize {
        self.world().fleet.machines()
    }

    /// How many pages the machines fill, and their spot requests as well.
    pub(crate) fn n_pages(&self) -> usize {
        self.world().fleet.shown.instances.len()
    }

    /// When launching calls arrive, from now on.
    pub(crate) fn launches(&self) -> mpsc::Receiver<Instant> {
        let (sender, receiver) = mpsc::channel();
        self.world().launched = Some(sender);
        receiver
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queue. PENDING is asked first in every round.
async fn jobs(State(world): State<Arc<Mutex<World>>>, uri: Uri) -> String {
    let mut world = lock(&world);
    if uri.query() == Some("state=RUNNING") {
        return world.fleet.shown.running.clone();
    }
    let calls = std::mem::take(&mut world.calls);
    world.rounds.push(calls);
    world.fleet.shown.pending.clone()
}

/// The query protocol: `Action` and what belongs to it, in a form.
async fn aws(State(world): State<Arc<Mutex<World>>>, body: String) -> (StatusCode, String) {
    let arrived = Instant::now();
    let form = Url::parse(&format!("http://form/?{body}")).expect("a form");
    let form: BTreeMap<String, String> = form.query_pairs().into_owned().collect();
    let value = |key: &str| form.get(key).map(String::as_str);
    let operation = value("Action").unwrap_or_default();
    let mut world = lock(&world);
    *world.calls.entry(operation.to_owned()).or_default() += 1;
    let World { fleet, launched, .. } = &mut *world;
    let at: usize = value("NextToken").map_or(0, |token| token.parse().expect("a token of ours"));
    let answer = match operation {
        "GetCallerIdentity" => xml::caller_identity(ACCOUNT),
        "DescribeKeyPairs" => xml::page(operation, "keySet", &xml::key_pair(), None),
        "DescribeInstances" => fleet.shown.instances[at].clone(),
        "DescribeSpotInstanceRequests" => {
            if value("Filter.1.Name") == Some("spot-instance-request-id") {
                let ids = form.iter().filter(|(key, _)| key.starts_with("Filter.1.Value."));
                let found: String = ids.filter_map(|(_, id)| fleet.request(id)).collect();
                xml::page(operation, "spotInstanceRequestSet", &found, None)
            } else {
                fleet.shown.spot_requests[at].clone()
            }
        }
        "DescribeSpotPriceHistory" => {
            let listed = |prefix: &'static str| {
                form.iter().filter(move |(key, _)| key.starts_with(prefix)).map(|(_, value)| value)
            };
            let now = Timestamp::now().to_string();
            let prices: String = listed("InstanceType.")
                .flat_map(|instance_type| {
                    listed("Filter.1.Value.").map(move |zone| (instance_type, zone))
                })
                .map(|(instance_type, zone)| xml::spot_price(instance_type, zone, &now))
                .collect();
            xml::page(operation, "spotPriceHistorySet", &prices, None)
        }
        "RequestSpotInstances" => {
            if let Some(launched) = launched {
                // Nobody may be waiting for it.
                let _ = launched.send(arrived);
            }
            let tag = form.iter().find(|(_, text)| text.as_str() == "provisioner:worker-type");
            let (key, _) = tag.expect("our tags are in the call");
            let worker_type = value(&key.replace(".Key", ".Value")).unwrap_or_default().to_owned();
            xml::page(operation, "spotInstanceRequestSet", &fleet.grant(&worker_type), None)
        }
        "CreateTags" => {
            let ids = form.iter().filter(|(key, _)| key.starts_with("ResourceId."));
            fleet.tag(&ids.map(|(_, id)| id.clone()).collect::<Vec<_>>());
            xml::answer(operation, "    <return>true</return>\n")
        }
        other => return (StatusCode::BAD_REQUEST, format!("the stand-in does not know `{other}`")),
    };
    (StatusCode::OK, answer)
}
