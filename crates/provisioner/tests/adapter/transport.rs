//! An HTTP transport for the SDK without a network: a function from call to reply.
//!
//! Under paused time a slow or missing reply costs no time. Real sockets cannot be used then, since the clock
//! would run ahead of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
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
use aws_smithy_types::body::SdkBody;
use provisioner::internal::aws::{Client, client_from_sdk_config};

/// The request id that every answer bears.
pub(crate) const REQUEST_ID: &str = "8f1c0000-0000-4000-8000-000000000001";

/// A call that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// `DescribeInstances`.
    pub(crate) action: String,
    /// The other fields of the form. A JSON body stands under `""`.
    pub(crate) params: BTreeMap<String, String>,
}

impl Sent {
    /// A parameter, or `""`.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The values of the filter called `name`, if it was sent.
    pub(crate) fn filter(&self, name: &str) -> Option<Vec<&str>> {
        let (n, _) = (1..)
            .map_while(|n| Some((n, self.params.get(&format!("Filter.{n}.Name"))?)))
            .find(|(_, key)| *key == name)?;
        Some(self.list(&format!("Filter.{n}.Value")))
    }

    /// `Name.1`, `Name.2`, ….
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|n| self.params.get(&format!("{name}.{n}"))).map(String::as_str).collect()
    }
}

/// The reply to a call.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// An HTTP answer.
    Answer { status: u16, body: String },
    /// The connection breaks. The call may have been carried out.
    Reset,
    /// No reply ever comes.
    Hang,
    /// A reply after some time.
    After(Duration, Box<Reply>),
}

impl Reply {
    /// 200 with this body.
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Answer { status: 200, body: body.into() }
    }

    /// An error as EC2 writes it.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::Answer { status, body: crate::xml::error(code, "because") }
    }
}

type Answers = Box<dyn Fn(&Sent) -> Reply + Send + Sync>;

/// The other end of the connection: answers calls and records them.
#[derive(Clone)]
pub(crate) struct Ec2 {
    answers: Arc<Answers>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl fmt::Debug for Ec2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ec2")
    }
}

impl Ec2 {
    /// Answers every call by `answers`.
    pub(crate) fn new(answers: impl Fn(&Sent) -> Reply + Send + Sync + 'static) -> Self {
        Self { answers: Arc::new(Box::new(answers)), sent: Arc::default() }
    }

    /// Answers the n-th call with the n-th reply, and panics at one too many.
    pub(crate) fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<Vec<_>>().into_iter());
        Self::new(move |sent| {
            let reply = replies.lock().unwrap().next();
            reply.unwrap_or_else(|| panic!("no reply left for {sent:?}"))
        })
    }

    /// Returns its reply to a call without recording the call.
    pub(crate) fn answer(&self, sent: &Sent) -> Reply {
        (self.answers)(sent)
    }

    /// Returns a client whose calls go here.
    pub(crate) fn client(&self) -> Client {
        let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .region(Region::new("us-west-2"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(SharedHttpClient::new(self.clone()))
            .build();
        client_from_sdk_config(&config).unwrap()
    }

    /// Returns all calls so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Returns the actions of all calls so far.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.action).collect()
    }

    /// Returns the only call so far.
    pub(crate) fn only(&self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }
}

impl HttpClient for Ec2 {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Ec2 {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sent = read(&request);
        let reply = (self.answers)(&sent);
        self.sent.lock().unwrap().push(sent);
        HttpConnectorFuture::new(play(reply))
    }
}

async fn play(mut reply: Reply) -> Result<HttpResponse, ConnectorError> {
    loop {
        match reply {
            Reply::Answer { status, body } => {
                let status = status.try_into().unwrap();
                let mut response = HttpResponse::new(status, SdkBody::from(body));
                response.headers_mut().insert("x-amzn-requestid", REQUEST_ID);
                return Ok(response);
            }
            Reply::Reset => return Err(ConnectorError::io("connection reset by peer".into())),
            Reply::Hang => std::future::pending().await,
            Reply::After(time, then) => {
                tokio::time::sleep(time).await;
                reply = *then;
            }
        }
    }
}

fn read(request: &HttpRequest) -> Sent {
    let body = std::str::from_utf8(request.body().bytes().expect("a body in memory")).unwrap();
    // EC2 takes forms; SSM takes JSON with the action in a header.
    if let Some(target) = request.headers().get("x-amz-target") {
        let action = target.rsplit('.').next().unwrap().to_owned();
        return Sent { action, params: BTreeMap::from([(String::new(), body.to_owned())]) };
    }
    let mut params: BTreeMap<String, String> = body
        .split('&')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (decode(key), decode(value)))
        .collect();
    params.remove("Version");
    let action = params.remove("Action").unwrap();
    Sent { action, params }
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).unwrap()
}
