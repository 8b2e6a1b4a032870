//! The loopback server, over real sockets and in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use provisioner::internal::aws::{Client, client_from_sdk_config};
use provisioner::internal::domain::observed::Observation;
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner_sim::deployment::{at, key, mins, name, settings, start, worker_type};
use provisioner_sim::http_server::HttpServer;
use provisioner_sim::query_api;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;
use provisioner_testkit::Driver;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Returns a world that is not empty, and the address at which it is served.
async fn served() -> (Arc<Mutex<World>>, String) {
    let settings = settings([("linux", worker_type(&["c7g.large"], 10))]);
    let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, start());
    world.add_tasks(&name("linux"), 7, mins(60));
    world.page = 5;
    let mut driver = Driver::new(world, &["us-west-2a"]);
    driver.run(at(60));
    let world = Arc::new(Mutex::new(driver.world));
    let loopback = HttpServer::bind(0).await.unwrap();
    let endpoint = loopback.endpoint();
    let answering = Arc::clone(&world);
    let answers = move |body: &str| query_api::answer(&mut answering.lock().unwrap(), body);
    tokio::spawn(loopback.serve(answers, std::future::pending()));
    (world, endpoint)
}

fn client(endpoint: &str, region: &'static str) -> Client {
    let credentials = Credentials::new("AKIDTEST", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    client_from_sdk_config(&config).unwrap()
}

#[tokio::test]
async fn the_adapter_sees_the_world_through_a_socket() {
    let (world, endpoint) = served().await;
    assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
    let client = client(&endpoint, "us-west-2");
    let observed = client.observe(&key(), &BTreeSet::new(), true, at(60)).await.unwrap();
    let there = world.lock().unwrap().observe(&BTreeSet::new());
    let states = |observation: &Observation| -> BTreeMap<_, _> {
        let instances = observation.instances.iter();
        instances.map(|instance| (instance.id.clone(), instance.state.clone())).collect()
    };
    let seen = states(&observed.observation);
    assert_eq!((&seen, seen.len()), (&states(&there), 7));
    assert_eq!(observed.observation.key_pair, there.key_pair);
    assert_eq!(client.account_id().await.unwrap(), "000000000000");
}

#[tokio::test]
async fn requests_with_another_region_host_method_or_path_are_refused() {
    let (_, endpoint) = served().await;
    let elsewhere = client(&endpoint, "eu-west-1");
    let error = elsewhere.observe(&key(), &BTreeSet::new(), false, at(60)).await.unwrap_err();
    assert_eq!(error.class(), RefusalClass::Unauthorized, "{error}");
    assert!(error.to_string().contains("in us-west-2, and the call is for eu-west-1"), "{error}");

    let body = "Action=DescribeVpcs";
    for (request, status) in [
        ("POST / HTTP/1.1\r\nHost: example.com\r\n", "401"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n", "405"),
        ("POST /other HTTP/1.1\r\nHost: localhost\r\n", "404"),
    ] {
        let mut stream =
            TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).await.unwrap();
        let length = body.len();
        let rest = format!("Connection: close\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(format!("{request}{rest}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
}
