//! Observations: every page of every call, or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::aws::{Error, Observed};
use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{
    Instance, InstanceState, KeyPair, Observation, OwnTags, SpotRequest, SpotRequestState,
};
use provisioner::internal::domain::refusal::RefusalClass;

use crate::transport::{Ec2, REQUEST_ID, Reply, Sent};
use crate::xml;

fn now() -> Timestamp {
    time("2026-11-23T12:00:00Z")
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ids<const N: usize>(ids: [&str; N]) -> BTreeSet<SpotRequestId> {
    ids.map(SpotRequestId::from).into()
}

async fn observe_tracked(ec2: &Ec2, tracked: &BTreeSet<SpotRequestId>) -> Result<Observed, Error> {
    ec2.client().observe(&KeyName::from("k"), tracked, false, now()).await
}

async fn observe(ec2: &Ec2) -> Result<Observed, Error> {
    observe_tracked(ec2, &BTreeSet::new()).await
}

/// Answers the listings, and look-ups by id with the requests in `by_id`.
fn world(
    spot_requests: impl Fn(&Sent) -> String + Send + Sync + 'static,
    instances: impl Fn(&Sent) -> String + Send + Sync + 'static,
    by_id: BTreeMap<&'static str, String>,
) -> Ec2 {
    Ec2::new(move |sent| {
        let body = match sent.action.as_str() {
            "DescribeInstances" => instances(sent),
            "DescribeSpotInstanceRequests" => {
                if let Some(asked) = sent.filter("spot-instance-request-id") {
                    let found: Vec<String> =
                        asked.iter().filter_map(|id| by_id.get(id).cloned()).collect();
                    xml::spot_requests(&found, "")
                } else {
                    spot_requests(sent)
                }
            }
            other => panic!("{other}"),
        };
        Reply::ok(body)
    })
}

fn empty() -> Ec2 {
    world(|_| xml::spot_requests(&[], ""), |_| xml::no_instances(), BTreeMap::new())
}

fn only_instances(instances: Vec<String>) -> Ec2 {
    world(|_| xml::spot_requests(&[], ""), move |_| xml::instances(&instances, ""), BTreeMap::new())
}

#[tokio::test]
async fn requests_are_listed_before_instances_both_under_the_key_name() {
    let ec2 = empty();
    let seen = observe(&ec2).await.unwrap();
    assert_eq!(seen, Observed { calls: 2, ..Observed::default() });
    let sent = ec2.sent();
    assert_eq!(ec2.actions(), ["DescribeSpotInstanceRequests", "DescribeInstances"]);
    assert_eq!(sent[0].filter("launch.key-name"), Some(vec!["k"]));
    assert_eq!(sent[0].filter("state"), Some(vec!["open", "active"]));
    assert_eq!(sent[1].filter("key-name"), Some(vec!["k"]));
    assert_eq!(sent[1].filter("instance-state-name"), None);
    for sent in sent {
        assert_eq!(sent.get("MaxResults"), "1000");
    }
}

#[tokio::test]
async fn every_used_element_is_read() {
    let tagged = xml::tags(&[
        ("Name", "linux"),
        ("provisioner:key-name", "k"),
        ("provisioner:worker-type", "linux"),
        ("provisioner:intent", "t-1"),
    ]);
    let open = xml::spot_request("sir-1", "open", &tagged);
    let active = xml::spot_request(
        "sir-2",
        "active",
        "<instanceId>i-1</instanceId>\
         <launchedAvailabilityZone>us-west-2b</launchedAvailabilityZone>",
    );
    let more = "<networkInterfaceSet><item><instanceId>none</instanceId><tagSet/></item>\
                </networkInterfaceSet><platformDetails>Windows &amp; more</platformDetails>";
    let more = xml::from_request("sir-2") + &tagged + more;
    let running = xml::instance("i-1", "running", &more);
    let old = xml::instance("i-2", "running", "<platform>windows</platform>");
    let ec2 = world(
        move |_| xml::spot_requests(&[open.clone(), active.clone()], ""),
        move |_| xml::instances(&[running.clone(), old.clone()], ""),
        BTreeMap::new(),
    );
    let tags = OwnTags {
        key_name: Some(KeyName::from("k")),
        worker_type: Some(WorkerTypeName::from("linux")),
        intent: Some(ClientToken::from("t-1")),
    };
    let open = SpotRequest {
        id: SpotRequestId::from("sir-1"),
        state: SpotRequestState::Open,
        status_code: "pending-evaluation".into(),
        status_message: "Being evaluated.".into(),
        status_time: Some(time("2026-11-23T11:30:05Z")),
        created: time("2026-11-23T11:30:00Z"),
        instance: None,
        instance_type: InstanceType::from("c7g.large"),
        zone: Some(Zone::from("us-west-2a")),
        max_price: Some(UsdPerHour::from_micros(31_200)),
        tags: tags.clone(),
    };
    let active = SpotRequest {
        id: SpotRequestId::from("sir-2"),
        state: SpotRequestState::Active,
        instance: Some(InstanceId::from("i-1")),
        zone: Some(Zone::from("us-west-2b")),
        tags: OwnTags::default(),
        ..open.clone()
    };
    let running = Instance {
        id: InstanceId::from("i-1"),
        state: InstanceState::Running,
        instance_type: InstanceType::from("c7g.large"),
        zone: Some(Zone::from("us-west-2a")),
        launch_time: time("2026-11-23T11:00:00Z"),
        spot_request: Some(SpotRequestId::from("sir-2")),
        other_platform: Some("Windows & more".to_owned()),
        state_reason: None,
        addresses: Vec::new(),
        volumes: Vec::new(),
        tags,
    };
    let old = Instance {
        id: InstanceId::from("i-2"),
        spot_request: None,
        other_platform: Some("windows".to_owned()),
        tags: OwnTags::default(),
        ..running.clone()
    };
    let observation = Observation {
        instances: vec![running, old],
        spot_requests: vec![open, active],
        key_pair: KeyPair::Unknown,
    };
    let expected = Observed { observation, warnings: Vec::new(), calls: 2 };
    assert_eq!(observe(&ec2).await.unwrap(), expected);
}

/// Three pages of each listing: three items, two of which move to the next page while it is read.
fn three_pages() -> Ec2 {
    world(
        |sent| {
            let request = |id, state| xml::spot_request(id, state, "");
            match sent.get("NextToken") {
                "" => {
                    let page = [request("sir-1", "open"), request("sir-2", "open")];
                    xml::spot_requests(&page, "s2")
                }
                "s2" => xml::spot_requests(&[request("sir-2", "active")], "s3"),
                "s3" => xml::spot_requests(&[request("sir-3", "open")], ""),
                other => panic!("{other}"),
            }
        },
        |sent| {
            let instance = |id, state| xml::instance(id, state, &own("linux"));
            match sent.get("NextToken") {
                "" => {
                    let page = [instance("i-1", "running"), instance("i-2", "pending")];
                    xml::instances(&page, "i2/+=&")
                }
                "i2/+=&amp;" => panic!("a token must come back as it was"),
                "i2/+=&" => xml::instances(&[instance("i-2", "running")], "i3"),
                "i3" => xml::instances(&[instance("i-3", "running")], ""),
                other => panic!("{other}"),
            }
            .replace("i2/+=&", "i2/+=&amp;")
        },
        BTreeMap::new(),
    )
}

fn own(worker_type: &str) -> String {
    xml::tags(&[("provisioner:worker-type", worker_type)])
}

#[tokio::test]
async fn every_page_is_read_and_repeated_items_count_once() {
    let ec2 = three_pages();
    let seen = observe_tracked(&ec2, &ids(["sir-1", "sir-3"])).await.unwrap();
    let Observation { instances, spot_requests, .. } = seen.observation;
    let shown: Vec<_> =
        instances.iter().map(|instance| (instance.id.as_str(), instance.state.clone())).collect();
    let running = |id| (id, InstanceState::Running);
    assert_eq!(shown, ["i-1", "i-2", "i-3"].map(running));
    let shown: Vec<_> =
        spot_requests.iter().map(|request| (request.id.as_str(), &request.state)).collect();
    let expected = [
        ("sir-1", &SpotRequestState::Open),
        ("sir-2", &SpotRequestState::Active),
        ("sir-3", &SpotRequestState::Open),
    ];
    assert_eq!(shown, expected);
    // A steady round costs its pages and nothing else.
    assert_eq!((seen.calls, ec2.sent().len()), (6, 6));
    // The filters go with every page.
    for sent in ec2.sent() {
        assert!(sent.filter("launch.key-name").or(sent.filter("key-name")).is_some(), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_page_fails_the_observation() {
    for action in ["DescribeInstances", "DescribeSpotInstanceRequests"] {
        for reply in [
            Reply::error(400, "UnauthorizedOperation"),
            Reply::error(503, "RequestLimitExceeded"),
            Reply::error(500, "InternalError"),
            Reply::Answer { status: 500, body: "<html><body>Sorry</body></html>".to_owned() },
            Reply::Answer { status: 502, body: String::new() },
            Reply::ok(""),
            Reply::ok("<html><body>Log in, please</body></html>"),
            Reply::ok("{\"reservations\": []}"),
            Reply::ok("\u{0}\u{1}garbage<"),
            Reply::Reset,
            Reply::Hang,
        ] {
            let pages = three_pages();
            let shown = format!("{action} {reply:?}");
            let ec2 = Ec2::new(move |sent| {
                if sent.action == action && sent.get("NextToken").ends_with('3') {
                    return reply.clone();
                }
                pages.answer(sent)
            });
            let error = observe(&ec2).await.expect_err(&shown);
            assert_eq!(error.operation, action, "{shown}");
            assert!(error.to_string().contains("key-name `k`"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_page_fails_the_observation() {
    let complete = xml::instances(
        &[xml::instance("i-1", "running", ""), xml::instance("i-2", "running", "")],
        "",
    );
    let end = complete.trim_end().len();
    for cut in (0..end).step_by(7).chain([end - 1]) {
        let body = complete[..cut].to_owned();
        let ec2 = world(|_| xml::spot_requests(&[], ""), move |_| body.clone(), BTreeMap::new());
        let error = observe(&ec2).await.expect_err(&complete[..cut]);
        assert_eq!(error.class(), RefusalClass::Transient, "{error}");
    }
}

#[tokio::test]
async fn a_listing_that_turns_in_a_circle_is_an_error() {
    let ec2 = world(
        |_| xml::spot_requests(&[], ""),
        |sent| {
            let next = match sent.get("NextToken") {
                "a" => "b",
                _ => "a",
            };
            xml::instances(&[xml::instance("i-1", "running", "")], next)
        },
        BTreeMap::new(),
    );
    let error = observe(&ec2).await.unwrap_err();
    assert!(error.to_string().contains("NextToken"), "{error}");
    assert_eq!(error.class(), RefusalClass::Transient);
    assert_eq!(ec2.sent().len(), 4);

    let same = world(|_| xml::spot_requests(&[], "a"), |_| panic!(), BTreeMap::new());
    assert!(observe(&same).await.is_err());
    assert_eq!(same.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn endless_pages_with_ever_new_tokens_end_an_observation() {
    let pages = AtomicU32::new(0);
    let ec2 = Ec2::new(move |sent| {
        let body = if sent.action == "DescribeInstances" {
            let page = pages.fetch_add(1, Ordering::Relaxed);
            xml::instances(&[xml::instance(&format!("i-{page}"), "running", "")], &page.to_string())
        } else {
            xml::spot_requests(&[], "")
        };
        // Each page is quick enough for the time limit of a call.
        Reply::After(Duration::from_secs(2), Box::new(Reply::ok(body)))
    });
    let began = tokio::time::Instant::now();
    let error = observe(&ec2).await.unwrap_err();
    assert!(began.elapsed() <= Duration::from_secs(125), "{:?}", began.elapsed());
    assert_eq!(error.class(), RefusalClass::Transient, "{error}");
    assert!(error.to_string().contains("two minutes"), "{error}");
}

#[tokio::test]
async fn requests_not_listed_are_looked_up_by_id() {
    let by_id = BTreeMap::from([
        ("sir-2", xml::spot_request("sir-2", "cancelled", "")),
        ("sir-4", xml::spot_request("sir-4", "closed", "<instanceId>i-4</instanceId>")),
    ]);
    let ec2 = world(
        |_| xml::spot_requests(&[xml::spot_request("sir-1", "active", "")], ""),
        |_| {
            let instances = [
                // Its request is listed.
                xml::instance("i-1", "running", &xml::from_request("sir-1")),
                // Its own tags name the worker type.
                xml::instance("i-3", "running", &(xml::from_request("sir-3") + &own("linux"))),
                xml::instance("i-4", "stopped", &xml::from_request("sir-4")),
                // It is terminated.
                xml::instance("i-5", "terminated", &xml::from_request("sir-5")),
                // It is not a spot instance.
                xml::instance("i-6", "running", ""),
            ];
            xml::instances(&instances, "")
        },
        by_id,
    );
    let seen = observe_tracked(&ec2, &ids(["sir-1", "sir-2", "sir-9"])).await.unwrap();
    let sent = ec2.sent();
    assert_eq!((seen.calls, sent.len()), (3, 3));
    let asked = sent[2].filter("spot-instance-request-id").unwrap();
    assert_eq!(asked, ["sir-2", "sir-4", "sir-9"]);
    // In any state and under any key-name, since the id is enough.
    assert_eq!(sent[2].params.keys().filter(|key| key.ends_with("Name")).count(), 1);
    let found: Vec<_> = seen
        .observation
        .spot_requests
        .iter()
        .map(|request| (request.id.as_str(), &request.state))
        .collect();
    let expected = [
        ("sir-1", &SpotRequestState::Active),
        ("sir-2", &SpotRequestState::Cancelled),
        ("sir-4", &SpotRequestState::Closed),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn look_ups_take_200_ids_a_call() {
    let ec2 = empty();
    let tracked: BTreeSet<_> =
        (0..450).map(|n| SpotRequestId::new(format!("sir-{n:04}"))).collect();
    let seen = observe_tracked(&ec2, &tracked).await.unwrap();
    assert_eq!(seen.calls, 5);
    let asked: Vec<usize> = ec2.sent()[2..]
        .iter()
        .map(|sent| sent.filter("spot-instance-request-id").unwrap().len())
        .collect();
    assert_eq!(asked, [200, 200, 50]);
}

#[tokio::test]
async fn a_failed_look_up_fails_the_observation() {
    let listings = empty();
    let ec2 = Ec2::new(move |sent| {
        if sent.filter("spot-instance-request-id").is_some() {
            return Reply::error(400, "InvalidParameterValue");
        }
        listings.answer(sent)
    });
    let error = observe_tracked(&ec2, &ids(["sir-1"])).await.unwrap_err();
    assert_eq!(error.class(), RefusalClass::Unclear);
}

#[tokio::test]
async fn states_and_types_of_a_later_ec2_are_data() {
    let ec2 = world(
        |_| xml::spot_requests(&[xml::spot_request("sir-1", "paused", "")], ""),
        |_| {
            let instance = xml::instance("i-1", "hibernating", &xml::from_request("sir-1"));
            xml::instances(&[instance.replace("c7g.large", "x99.huge")], "")
        },
        BTreeMap::new(),
    );
    let seen = observe(&ec2).await.unwrap();
    let Observation { instances, spot_requests, .. } = seen.observation;
    assert_eq!(instances[0].state, InstanceState::Unrecognised("hibernating".to_owned()));
    assert!(instances[0].state.is_live());
    assert_eq!(instances[0].instance_type.as_str(), "x99.huge");
    assert_eq!(spot_requests[0].state, SpotRequestState::Unrecognised("paused".to_owned()));
    assert_eq!(seen.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_malformed_item_does_not_hide_the_others() {
    let mut instances = vec![
        String::new(),
        xml::instance("", "running", ""),
        xml::instance("i-1", "running", ""),
        "<instanceId>i-2</instanceId>".to_owned(),
    ];
    let seen = observe(&only_instances(instances.clone())).await.unwrap();
    let shown: Vec<_> = seen
        .observation
        .instances
        .iter()
        .map(|instance| (instance.id.as_str(), instance.launch_time))
        .collect();
    // An old instance would be terminated, so `i-2` counts as new.
    assert_eq!(shown, [("i-1", time("2026-11-23T11:00:00Z")), ("i-2", now())]);
    assert_eq!(seen.warnings.len(), 4, "{:?}", seen.warnings);

    // Thousands of odd items do not make thousands of warnings.
    instances.resize(3000, String::new());
    let seen = observe(&only_instances(instances)).await.unwrap();
    assert_eq!(seen.observation.instances.len(), 2);
    assert_eq!(seen.warnings.len(), 21);
    assert!(seen.warnings[20].starts_with("2980 more"), "{}", seen.warnings[20]);
}

#[tokio::test]
async fn an_invalid_time_fails_the_observation() {
    let instance = xml::instance("i-1", "running", "").replace("2026-11-23T", "yesterday ");
    assert!(observe(&only_instances(vec![instance])).await.is_err());
}

#[tokio::test]
async fn what_has_another_key_name_is_left_out() {
    let other = xml::instance("i-2", "running", "").replace("<keyName>k<", "<keyName>kk<");
    let ec2 = only_instances(vec![xml::instance("i-1", "running", ""), other]);
    let seen = observe(&ec2).await.unwrap();
    assert_eq!(seen.observation.instances.len(), 1);
    assert!(seen.warnings[0].contains("i-2"), "{:?}", seen.warnings);
}

#[tokio::test]
async fn the_key_pair_is_observed_on_request() {
    let listed = |inside: &str| {
        xml::answer("DescribeKeyPairs", &format!("<keySet><item>{inside}</item></keySet>"))
    };
    let mine = xml::tags(&[("provisioner:key-name", "k")]);
    let others = xml::tags(&[("provisioner:key-name", "kk")]);
    for (reply, expected) in [
        (Reply::ok(listed(&format!("<keyName>k</keyName>{mine}"))), KeyPair::Ours),
        (Reply::ok(listed("<keyName>k</keyName>")), KeyPair::Foreign),
        (Reply::ok(listed(&format!("<keyName>k</keyName>{others}"))), KeyPair::Foreign),
        (Reply::ok(xml::answer("DescribeKeyPairs", "<keySet/>")), KeyPair::Absent),
        (Reply::error(400, "InvalidKeyPair.NotFound"), KeyPair::Absent),
    ] {
        let listings = empty();
        let ec2 = Ec2::new(move |sent| match sent.action.as_str() {
            "DescribeKeyPairs" => reply.clone(),
            _ => listings.answer(sent),
        });
        let seen =
            ec2.client().observe(&KeyName::from("k"), &BTreeSet::new(), true, now()).await.unwrap();
        assert_eq!(seen.observation.key_pair, expected);
        assert_eq!(seen.calls, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_are_repeated_when_throttled() {
    let ec2 = Ec2::script([
        Reply::error(503, "RequestLimitExceeded"),
        Reply::Reset,
        Reply::ok(xml::spot_requests(&[], "")),
        Reply::error(500, "InternalError"),
        Reply::ok(xml::no_instances()),
    ]);
    observe(&ec2).await.unwrap();
    assert_eq!(ec2.sent().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn reads_are_bounded_in_time() {
    for reply in [Reply::Hang, Reply::error(503, "RequestLimitExceeded")] {
        let ec2 = Ec2::new(move |_| reply.clone());
        let start = tokio::time::Instant::now();
        let error = observe(&ec2).await.unwrap_err();
        let took = start.elapsed();
        assert!(took <= Duration::from_mins(1), "{took:?}");
        assert!(ec2.sent().len() <= 3);
        assert!(matches!(error.class(), RefusalClass::Transient | RefusalClass::Throttled));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_is_an_answer() {
    let listings = empty();
    let ec2 = Ec2::new(move |sent| {
        Reply::After(Duration::from_secs(20), Box::new(listings.answer(sent)))
    });
    assert_eq!(observe(&ec2).await.unwrap().calls, 2);
}

#[tokio::test]
async fn an_error_shows_ec2s_words_and_request_id() {
    let ec2 = Ec2::new(|_| Reply::error(403, "UnauthorizedOperation"));
    let error = observe(&ec2).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "DescribeSpotInstanceRequests for key-name `k` was refused: UnauthorizedOperation: \
             because (request {REQUEST_ID})"
        )
    );
    assert_eq!(error.class(), RefusalClass::Unauthorized);
}
