//! A door for the AWS SDK: the transport beneath its clients, without a network.
//!
//! The real adapter talks through it to a [`World`] whose time follows tokio's clock, which a test pauses:
//! hours pass in no time, and the SDK's own timeouts and retries with them. Real sockets must not be used
//! then: the clock would run ahead of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use provisioner::aws::{Client, NoRegion};
use provisioner::daemon::Clock;
use provisioner::domain::demand::Demand;
use provisioner::domain::ids::InstanceId;
use provisioner::engine::Effect;
use provisioner::queue::source::{DemandError, DemandSource};
use provisioner::settings::Settings;

use crate::query_api::{self, Delivery, QueryResponse, REGION};
use crate::world::World;

/// How long a call is on its way to EC2, and its answer on the way back. Whoever gives up in between has
/// been heard or has not.
const WAY: Duration = Duration::from_millis(10);

/// The world, for the SDK. Clones lead to the same one.
#[derive(Clone)]
pub struct SdkTransport(Arc<Inside>);

struct Inside {
    world: Mutex<World>,
    clock: Clock,
    watch: Mutex<Option<Watch>>,
    way: Mutex<Way>,
}

/// Sees every call that is to change something, just before and just after EC2 gets it.
pub type Watch = Box<dyn FnMut(Moment, &Effect, &mut World) + Send>;

/// When a [`Watch`] sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Just before.
    Before,
    /// Just after.
    After,
}

/// How the body of a call gets to EC2, and what comes back.
pub type Way = Box<dyn FnMut(&mut World, &str) -> Delivery + Send>;

impl fmt::Debug for SdkTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkTransport")
    }
}

impl SdkTransport {
    /// A door to `world`, whose time goes on from here as tokio's clock does.
    pub fn new(world: World) -> Self {
        let clock = Clock::showing(world.now);
        let way: Way = Box::new(query_api::deliver);
        Self(Arc::new(Inside {
            world: Mutex::new(world),
            clock,
            watch: Mutex::new(None),
            way: Mutex::new(way),
        }))
    }

    /// Has calls go another way than [`query_api::deliver`]: a bug of whoever sends them, planted.
    pub fn lead(&self, way: Way) {
        *lock(&self.0.way) = way;
    }

    /// Has all changes watched.
    pub fn watch(&self, watch: Watch) {
        *lock(&self.0.watch) = Some(watch);
    }

    /// The clock of the world.
    pub fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// The world, as it is now.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.0.world);
        world.advance(self.0.clock.now());
        world
    }

    /// The real adapter, talking through this door.
    ///
    /// # Errors
    ///
    /// None: a region is given.
    pub fn client(&self) -> Result<Client, NoRegion> {
        adapter(SharedHttpClient::new(self.clone()))
    }

    /// The world's queue, for a daemon under `settings`.
    pub fn queue(&self, settings: Arc<Settings>) -> WorldQueue {
        WorldQueue { door: self.clone(), settings }
    }

    fn deliver(&self, body: &str) -> Delivery {
        let mut world = self.world();
        let (mut watch, mut way) = (lock(&self.0.watch), lock(&self.0.way));
        let watched = watch.as_mut().and_then(|it| Some((it, query_api::effect(&world, body)?)));
        let Some((watch, effect)) = watched else { return way(&mut world, body) };
        watch(Moment::Before, &effect, &mut world);
        let delivery = way(&mut world, body);
        watch(Moment::After, &effect, &mut world);
        delivery
    }
}

/// The real adapter over a transport.
fn adapter(transport: SharedHttpClient) -> Result<Client, NoRegion> {
    let credentials = Credentials::new("AKIDSIMULATED", "simulated", None, None, "simulated");
    let config = SdkConfig::builder()
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(transport)
        .build();
    Client::new(&config)
}

/// The real adapter, talking to whatever answers the bodies of its calls.
///
/// # Errors
///
/// None: a region is given.
pub fn client_answered_by(
    answers: impl Fn(&str) -> QueryResponse + Send + Sync + 'static,
) -> Result<Client, NoRegion> {
    adapter(SharedHttpClient::new(Answers(Arc::new(answers))))
}

/// What answers the body of a call.
#[derive(Clone)]
struct Answers(Arc<dyn Fn(&str) -> QueryResponse + Send + Sync>);

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

impl HttpClient for Answers {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Answers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let answer = self.0(&body(&request));
        HttpConnectorFuture::ready(response(answer))
    }
}

fn body(request: &HttpRequest) -> String {
    String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned()
}

fn response(answer: QueryResponse) -> Result<HttpResponse, ConnectorError> {
    let status = StatusCode::try_from(answer.status)
        .map_err(|error| ConnectorError::other(error.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(answer.body)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpClient for SdkTransport {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SdkTransport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let door = self.clone();
        HttpConnectorFuture::new(async move {
            let body = body(&request);
            tokio::time::sleep(WAY).await;
            match door.deliver(&body) {
                Delivery::Answered(answer, after) => {
                    tokio::time::sleep(after + WAY).await;
                    response(answer)
                }
                Delivery::Broken => {
                    tokio::time::sleep(WAY).await;
                    Err(ConnectorError::io("connection reset by peer".into()))
                }
            }
        })
    }
}

/// The queue of the world behind a door.
#[derive(Clone, Debug)]
pub struct WorldQueue {
    door: SdkTransport,
    settings: Arc<Settings>,
}

impl DemandSource for WorldQueue {
    async fn demand(&mut self, _: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        tokio::time::sleep(2 * WAY).await;
        let configured = |name: &_| self.settings.worker_types.contains_key(name);
        let (demand, slow) = self.door.world().demand(configured);
        tokio::time::sleep(slow).await;
        demand.map_err(DemandError::Other)
    }
}
