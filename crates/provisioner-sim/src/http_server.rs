//! A server of the world on the loopback interface, for other programs: the AWS APIs at `/`, and a queue at
//! `/VERSION/jobs`.
//!
//! It does not check credentials. It refuses calls for another host or another region, which came here by
//! mistake.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use provisioner::internal::domain::loopback;
use tokio::net::TcpListener;

use crate::query_api::{self, QueryResponse, REGION, ssm, wrong_place};
use crate::visitors_queue::{self, Asked};
use crate::world::World;

/// A server on a port of 127.0.0.1.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

/// The media type of EC2's, IAM's and STS's answers.
const XML: &str = "text/xml;charset=UTF-8";

/// The media type of SSM's answers.
const JSON: &str = "application/x-amz-json-1.1";

/// Answers the body of a call, like [`query_api::answer`](crate::query_api::answer).
type Answers = Arc<dyn Fn(&str) -> QueryResponse + Send + Sync>;

impl HttpServer {
    /// Listens on a port, or on any free port if `port` is 0.
    ///
    /// # Errors
    ///
    /// The port is in use or not allowed.
    pub async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Returns the endpoint for the AWS CLI and SDKs.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers calls until `stop` ends.
    ///
    /// # Errors
    ///
    /// Listening fails.
    pub async fn serve(
        self,
        answers: impl Fn(&str) -> QueryResponse + Send + Sync + 'static,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        axum::serve(self.listener, aws(Arc::new(answers))).with_graceful_shutdown(stop).await
    }

    /// Answers calls of the AWS APIs and of the visitors' queue in a world until `stop` ends.
    ///
    /// # Errors
    ///
    /// Listening fails.
    pub async fn serve_world<D: Doors>(
        self,
        world: D,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let of_aws = world.clone();
        let answers = move |body: &str| of_aws.enter(|world| query_api::answer(world, body));
        let queue = Router::new()
            .route("/{version}/jobs", get(jobs::<D>).post(add_jobs::<D>))
            .with_state(world)
            .layer(middleware::from_fn(only_this_machine));
        let router = aws(Arc::new(answers)).merge(queue);
        axum::serve(self.listener, router).with_graceful_shutdown(stop).await
    }
}

/// Access to a world that is served while it runs.
pub trait Doors: Clone + Send + Sync + 'static {
    /// Lets time pass until now, and does something in the world.
    fn enter<T>(&self, what: impl FnOnce(&mut World) -> T) -> T;
}

fn aws(answers: Answers) -> Router {
    Router::new().route("/", post(call)).with_state(answers)
}

async fn only_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    if names_this_machine(host.unwrap_or_default()) {
        next.run(request).await
    } else {
        (StatusCode::MISDIRECTED_REQUEST, "Only loopback addresses are answered.\n").into_response()
    }
}

async fn jobs<D: Doors>(State(world): State<D>, RawQuery(query): RawQuery) -> Response {
    match Asked::read(&query.unwrap_or_default()) {
        Ok(asked) => Json(world.enter(|world| visitors_queue::tasks(world, asked))).into_response(),
        Err(problem) => (StatusCode::BAD_REQUEST, problem).into_response(),
    }
}

async fn add_jobs<D: Doors>(State(world): State<D>, body: String) -> Response {
    match world.enter(|world| visitors_queue::add(world, &body)) {
        Ok(added) => added.into_response(),
        Err(problem) => (StatusCode::BAD_REQUEST, problem).into_response(),
    }
}

async fn call(State(answers): State<Answers>, headers: HeaderMap, body: String) -> Response {
    let header = |name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let target = header(HeaderName::from_static(ssm::TARGET));
    let media_type = if target.is_empty() { XML } else { JSON };
    let QueryResponse { status, body } = if !names_this_machine(header(HOST)) {
        wrong_place("This is a simulated EC2, which answers to loopback addresses only.")
    } else if let Some(region) = region(header(AUTHORIZATION)).filter(|region| *region != REGION) {
        wrong_place(&format!("This is a simulated EC2 in {REGION}, and the call is for {region}."))
    } else if target.is_empty() {
        answers(&body)
    } else {
        ssm::answer(target, &body)
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, media_type)], body).into_response()
}

/// Returns whether a `Host` header names this machine. A web page in a browser can send forms here too, with
/// the name of its own server.
fn names_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    loopback::is_loopback(name)
}

/// Returns the region that a call was signed for (AWS General Reference, "Signature Version 4": the credential
/// scope is `KEY/DATE/REGION/SERVICE/aws4_request`).
fn region(authorization: &str) -> Option<&str> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_tells_where_it_is_meant_for() {
        for host in ["127.0.0.1:8315", "localhost:1", "localhost"] {
            assert!(names_this_machine(host), "{host}");
        }
        for host in ["", "ec2.us-west-2.amazonaws.com", "127.0.0.1.example.com:80", "10.0.0.1:8315"]
        {
            assert!(!names_this_machine(host), "{host}");
        }
        let signed =
            "AWS4-HMAC-SHA256 Credential=AKID/20261123/eu-west-1/ec2/aws4_request, SignedHeaders=a";
        assert_eq!(region(signed), Some("eu-west-1"));
        assert_eq!(region(""), None);
    }
}
