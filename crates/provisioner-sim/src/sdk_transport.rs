//! A transport for the AWS SDK's clients that leads to the simulated world, without a network.
//!
//! The time of the [`World`] follows tokio's clock, which a test pauses. Hours then pass at once, together
//! with the SDK's own timeouts and retries. Real sockets must not be used in such a test, because the clock
//! would run ahead of them.

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
use provisioner::internal::aws::{Client, NoRegion, client_from_sdk_config};
use provisioner::internal::daemon::Clock;
use provisioner::internal::domain::demand::Demand;
use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::engine::Effect;
use provisioner::internal::queue::source::{DemandError, DemandSource};
use provisioner::internal::settings::Settings;

use crate::query_api::{self, Delivery, QueryResponse, REGION};
use crate::world::World;

/// How long a call is on its way to EC2, and an answer on its way back. A client that gives up in between
/// cannot know whether EC2 got the call.
const ONE_WAY: Duration = Duration::from_millis(10);

/// The transport. Its clones lead to the same world.
#[derive(Clone)]
pub struct SdkTransport(Arc<Inside>);

struct Inside {
    world: Mutex<World>,
    clock: Clock,
    watch: Mutex<Option<Watch>>,
    deliver: Mutex<Deliver>,
}

/// Sees every call that may change something, just before and just after EC2 carries it out.
pub type Watch = Box<dyn FnMut(CallPhase, &Effect, &mut World) + Send>;

/// When a [`Watch`] sees a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPhase {
    /// Just before EC2 carries it out.
    Before,
    /// Just after EC2 has carried it out.
    After,
}

/// Delivers the body of a call to EC2, and returns the result.
pub type Deliver = Box<dyn FnMut(&mut World, &str) -> Delivery + Send>;

impl fmt::Debug for SdkTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SdkTransport")
    }
}

impl SdkTransport {
    /// Creates a transport to `world`, whose time follows tokio's clock from now on.
    pub fn new(world: World) -> Self {
        let clock = Clock::showing(world.now);
        let deliver: Deliver = Box::new(query_api::deliver);
        Self(Arc::new(Inside {
            world: Mutex::new(world),
            clock,
            watch: Mutex::new(None),
            deliver: Mutex::new(deliver),
        }))
    }

    /// Delivers calls by `deliver` in place of [`query_api::deliver`], to plant a bug.
    pub fn deliver_by(&self, deliver: Deliver) {
        *lock(&self.0.deliver) = deliver;
    }

    /// Sets the function that sees every change.
    pub fn watch(&self, watch: Watch) {
        *lock(&self.0.watch) = Some(watch);
    }

    /// Returns the clock of the world.
    pub fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    /// Returns the world in its present state.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = lock(&self.0.world);
        world.advance(self.0.clock.now());
        world
    }

    /// Returns the real adapter on this transport.
    ///
    /// # Errors
    ///
    /// Never, since there is a region.
    pub fn client(&self) -> Result<Client, NoRegion> {
        adapter(SharedHttpClient::new(self.clone()))
    }

    /// Returns the world's queue, for a daemon with `settings`.
    pub fn queue(&self, settings: Arc<Settings>) -> WorldQueue {
        WorldQueue { transport: self.clone(), settings }
    }

    fn deliver(&self, body: &str) -> Delivery {
        let mut world = self.world();
        let mut watch = lock(&self.0.watch);
        let mut deliver = lock(&self.0.deliver);
        let watched =
            watch.as_mut().and_then(|watch| Some((watch, query_api::effect(&world, body)?)));
        let Some((watch, effect)) = watched else { return deliver(&mut world, body) };
        watch(CallPhase::Before, &effect, &mut world);
        let delivery = deliver(&mut world, body);
        watch(CallPhase::After, &effect, &mut world);
        delivery
    }
}

/// Creates the real adapter on a transport.
fn adapter(transport: SharedHttpClient) -> Result<Client, NoRegion> {
    let credentials = Credentials::new("AKIDSIMULATED", "simulated", None, None, "simulated");
    let config = SdkConfig::builder()
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(transport)
        .build();
    client_from_sdk_config(&config)
}

/// Creates the real adapter, whose calls `answers` answers by their bodies.
///
/// # Errors
///
/// Never, since there is a region.
pub fn client_answered_by(
    answers: impl Fn(&str) -> QueryResponse + Send + Sync + 'static,
) -> Result<Client, NoRegion> {
    adapter(SharedHttpClient::new(Answers(Arc::new(answers))))
}

/// A transport that answers calls by their bodies.
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
        let transport = self.clone();
        HttpConnectorFuture::new(async move {
            let body = body(&request);
            tokio::time::sleep(ONE_WAY).await;
            match transport.deliver(&body) {
                Delivery::Answered(answer, after) => {
                    tokio::time::sleep(after + ONE_WAY).await;
                    response(answer)
                }
                Delivery::Broken => {
                    tokio::time::sleep(ONE_WAY).await;
                    Err(ConnectorError::io("connection reset by peer".into()))
                }
            }
        })
    }
}

/// The queue of the world behind a transport.
#[derive(Clone, Debug)]
pub struct WorldQueue {
    transport: SdkTransport,
    settings: Arc<Settings>,
}

impl DemandSource for WorldQueue {
    async fn demand(&mut self, _: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        tokio::time::sleep(2 * ONE_WAY).await;
        let configured = |name: &_| self.settings.worker_types.contains_key(name);
        let (demand, slow) = self.transport.world().demand(configured);
        tokio::time::sleep(slow).await;
        demand.map_err(DemandError::other)
    }
}
