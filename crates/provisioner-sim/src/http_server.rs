//! A server of EC2's Query protocol on the loopback interface, for other programs.
//!
//! It does not check credentials. It refuses calls for another host or another region, which came here by
//! mistake.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use provisioner::internal::domain::loopback;
use tokio::net::TcpListener;

use crate::query_api::{QueryResponse, REGION, wrong_place};

/// A server on a port of 127.0.0.1.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

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
        let answers: Answers = Arc::new(answers);
        let router = Router::new().route("/", post(call)).with_state(answers);
        axum::serve(self.listener, router).with_graceful_shutdown(stop).await
    }
}

async fn call(State(answers): State<Answers>, headers: HeaderMap, body: String) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let QueryResponse { status, body } = if !names_this_machine(header(HOST)) {
        wrong_place("This is a simulated EC2, which answers to loopback addresses only.")
    } else if let Some(region) = region(header(AUTHORIZATION)).filter(|region| *region != REGION) {
        wrong_place(&format!("This is a simulated EC2 in {REGION}, and the call is for {region}."))
    } else {
        answers(&body)
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, "text/xml;charset=UTF-8")], body).into_response()
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
