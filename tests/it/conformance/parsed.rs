//! The adapter over both worlds returns the same values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::aws::{Call, Client, KnownPlaces};
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, InstanceType, SpotRequestId, Zone,
};
use provisioner::internal::domain::launch::{
    LaunchCall, LaunchSpecification, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{
    InstanceState, Observation, SpotRequest, SpotRequestState,
};
use provisioner::internal::domain::refusal::Refusal;
use provisioner::internal::engine::Outcome;
use provisioner_sim::deployment::{self, name, worker_type};
use provisioner_sim::query_api::{self, QueryResponse};
use provisioner_sim::sdk_transport::client_answered_by;
use provisioner_sim::world::World;
use serde_json::json;

use super::{Pair, TYPE};
use crate::harness::{Account, REGION};

/// A way of asking both.
pub(super) struct Both {
    account: Account,
    world: Arc<Mutex<World>>,
    pub(super) moto: Client,
    pub(super) sim: Client,
    group: String,
    /// moto's, where the simulation has [`deployment::IMAGE`].
    pub(super) image: String,
}

/// An observation in which ids are replaced by their positions.
type Shown = Vec<String>;

impl Both {
    pub(super) fn new() -> Self {
        let Pair { account, world, names, .. } = Pair::new();
        let groups = account.ec2("describe_security_groups", json!({}));
        let group = groups["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned();
        let world = Arc::new(Mutex::new(world));
        let asked = account.clone();
        let simulated = Arc::clone(&world);
        let moto = client_answered_by(move |body| {
            let answer = asked.query(body);
            QueryResponse { status: answer.status, body: answer.body }
        });
        let sim =
            client_answered_by(move |body| query_api::answer(&mut simulated.lock().unwrap(), body));
        let image = names["{image}"][0].clone();
        Self { account, world, moto: moto.unwrap(), sim: sim.unwrap(), group, image }
    }

    fn advance(&self, time: Duration) {
        let mut world = self.world.lock().unwrap();
        let to = clock::after(world.now, time);
        world.advance(to);
    }

    fn launch(&self, token: &str, count: u32) -> [LaunchCall; 2] {
        let call = LaunchCall {
            token: ClientToken::from(token),
            worker_type: name("linux"),
            decided: Timestamp::now(),
            count,
            key_name: deployment::key(),
            image_id: self.image.clone(),
            instance_type: InstanceType::from(TYPE),
            zone: Some(Zone::from(format!("{REGION}a").as_str())),
            subnet: None,
            security_group_ids: vec![self.group.clone()],
            iam_instance_profile: None,
            user_data: Some("IyEvYmluL3NoCg==".to_owned()),
            max_price: Some(UsdPerHour::from_micros(100_000)),
            valid_until: clock::after(Timestamp::now(), Duration::from_hours(1)),
            tags: BTreeMap::from([
                (TAG_KEY_NAME.to_owned(), deployment::key().to_string()),
                (TAG_WORKER_TYPE.to_owned(), "linux".to_owned()),
                (TAG_INTENT.to_owned(), token.to_owned()),
            ]),
            launch_specification: LaunchSpecification::default(),
        };
        let ours = LaunchCall {
            image_id: deployment::IMAGE.to_owned(),
            security_group_ids: vec![deployment::GROUP.to_owned()],
            ..call.clone()
        };
        [call, ours]
    }

    /// Both must answer alike.
    async fn execute(&self, calls: [Call<'_>; 2]) -> [Outcome; 2] {
        let [moto, sim] = calls;
        let what = format!("{moto:?}");
        let outcomes = [self.moto.execute(moto).await, self.sim.execute(sim).await];
        let said = outcomes.each_ref().map(said);
        assert_eq!(said[0], said[1], "{what}");
        outcomes
    }

    async fn observe(&self, tracked: [BTreeSet<SpotRequestId>; 2]) -> [Observation; 2] {
        let key = deployment::key();
        let now = Timestamp::now();
        let moto = self.moto.observe(&key, &tracked[0], true, now).await.unwrap();
        let sim = self.sim.observe(&key, &tracked[1], true, now).await.unwrap();
        assert_eq!((moto.warnings.as_slice(), sim.warnings.as_slice()), (&[][..], &[][..]));
        let observed = [moto.observation, sim.observation];
        let shown = observed.each_ref().map(shown);
        assert_eq!(shown[0], shown[1]);
        observed
    }
}

/// Shows the granted requests with their states, or the class and code of a refusal.
fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Requested(granted) => {
            let states: Vec<_> =
                granted.iter().map(|request| format!("{:?}", request.state)).collect();
            states.join(" ")
        }
        Outcome::Refused(Refusal { class, code, .. }) => format!("{class:?} {code}"),
        other => format!("{other:?}"),
    }
}

fn shown(observation: &Observation) -> Shown {
    let instances: BTreeMap<&InstanceId, usize> =
        observation.instances.iter().enumerate().map(|(n, instance)| (&instance.id, n)).collect();
    let requests: BTreeMap<&SpotRequestId, usize> =
        observation.spot_requests.iter().enumerate().map(|(n, request)| (&request.id, n)).collect();
    let mut shown = vec![format!("{:?}", observation.key_pair)];
    shown.extend(observation.instances.iter().map(|instance| {
        let place = (&instance.instance_type, &instance.zone, &instance.other_platform);
        let request = instance.spot_request.as_ref().map(|id| requests.contains_key(id));
        let recent = clock::age(instance.launch_time, Timestamp::now()) < Duration::from_hours(1);
        format!(
            "{:?} {place:?} of a request {request:?}, {recent}, {:?}",
            instance.state, instance.tags
        )
    }));
    let mut of_requests: Vec<String> = observation
        .spot_requests
        .iter()
        .map(|request| {
            let place = (&request.instance_type, &request.zone, request.max_price);
            let instance = request.instance.as_ref().map(|id| instances.contains_key(id));
            let code = request.status_code.as_str();
            let timed = request.status_time.is_some();
            let tags = &request.tags;
            format!("{:?} {code} {place:?} with {instance:?}, {timed}, {tags:?}", request.state)
        })
        .collect();
    shown.append(&mut of_requests);
    shown.sort();
    shown
}

fn requests(outcome: &Outcome) -> Vec<SpotRequestId> {
    match outcome {
        Outcome::Requested(granted) => granted.iter().map(|request| request.id.clone()).collect(),
        other => panic!("not granted: {other:?}"),
    }
}

#[tokio::test]
async fn the_sdk_parses_both_to_the_same_values() {
    let both = Both::new();
    let none = || [BTreeSet::new(), BTreeSet::new()];
    both.observe(none()).await;
    accounts_and_zones_are_the_same(&both).await;
    let [theirs, ours] = both.launch("first", 2);
    both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let more = [&theirs, &ours].map(|call| LaunchCall { count: 1, ..call.clone() });
    both.execute([Call::Request(&more[0]), Call::Request(&more[1])]).await;
    both.advance(Duration::from_mins(1));
    let observed = both.observe(none()).await;
    assert_eq!(observed.each_ref().map(|observation| observation.instances.len()), [2, 2]);
    assert!(observed[1].instances.iter().all(|instance| instance.state == InstanceState::Running));

    let ids = observed.each_ref().map(|observation| -> Vec<InstanceId> {
        observation.instances.iter().map(|instance| instance.id.clone()).collect()
    });
    let tags = &ours.tags;
    both.execute([0, 1].map(|n| Call::Tag { instances: &ids[n], volumes: &[], tags })).await;
    let observed = both.observe(none()).await;
    assert!(
        observed[1].instances.iter().all(|instance| instance.tags.worker_type.is_some()),
        "{observed:?}"
    );

    // One that waits, is cancelled, and is looked up by its id.
    both.account.rules(&json!({ "spot": "held", "held_code": "capacity-not-available" }));
    both.world.lock().unwrap().pools.free.insert(format!("{TYPE} in {REGION}a"), 0);
    let [theirs, ours] = both.launch("second", 1);
    let outcomes = both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let open = outcomes.each_ref().map(requests);
    let observed = both.observe(none()).await;
    let waits = |observation: &Observation| {
        observation
            .spot_requests
            .iter()
            .filter(|request| request.state == SpotRequestState::Open)
            .count()
    };
    assert_eq!(observed.each_ref().map(waits), [1, 1]);
    both.execute([Call::Cancel(&open[0]), Call::Cancel(&open[1])]).await;
    let tracked = open.map(|ids| ids.into_iter().collect());
    let observed = both.observe(tracked).await;
    let cancelled = observed[1]
        .spot_requests
        .iter()
        .any(|request| request.state == SpotRequestState::Cancelled);
    assert!(cancelled, "{observed:?}");

    // One that fails, and an instance that EC2 takes back.
    both.world.lock().unwrap().bad.insert(name("linux"));
    let [theirs, ours] = both.launch("third", 1);
    let outcomes = both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let [theirs, ours] = outcomes.each_ref().map(requests);
    both.account.to_requests(&json!({ "ids": [theirs[0].as_str()], "do": "fail" }));
    both.account.to_instances(&json!({ "ids": [ids[0][1].as_str()], "do": "interrupt" }));
    both.world.lock().unwrap().interrupt(&ids[1][1]);
    both.advance(Duration::from_mins(3));
    let lost = |observation: &Observation| {
        let taken =
            observation.instances.iter().filter_map(|instance| instance.spot_request.clone());
        taken.collect::<Vec<_>>()
    };
    let mut tracked = [theirs, ours];
    for (ids, observation) in tracked.iter_mut().zip(&observed) {
        ids.extend(lost(observation));
    }
    let observed = both.observe(tracked.map(|ids| ids.into_iter().collect())).await;
    let codes: BTreeSet<_> =
        observed[1].spot_requests.iter().map(|request| request.status_code.as_str()).collect();
    for code in ["bad-parameters", "instance-terminated-no-capacity"] {
        assert!(codes.contains(code), "{codes:?}");
    }
    both.world.lock().unwrap().bad.clear();

    a_request_expires(&both).await;
    both.execute([Call::Terminate(&ids[0][..1]), Call::Terminate(&ids[1][..1])]).await;
    both.advance(Duration::from_mins(1));
    strangers_are_refused_alike(&both).await;
    prices_have_the_same_pools(&both).await;
}

async fn accounts_and_zones_are_the_same(both: &Both) {
    for client in [&both.moto, &both.sim] {
        let account = client.account_id().await.unwrap();
        assert!(account.len() == 12 && account.chars().all(|c| c.is_ascii_digit()), "{account}");
    }

    // A type resolves to the same in both, because its zones are the same.
    let mut linux = worker_type(&[TYPE], 10);
    linux.availability_zones = vec![Zone::from(format!("{REGION}a").as_str())];
    let ours = both.sim.resolve(&linux, &KnownPlaces::default()).await.unwrap();
    linux.image_id.clone_from(&both.image);
    let theirs = both.moto.resolve(&linux, &KnownPlaces::default()).await.unwrap();
    let zones =
        |placements: &[provisioner::internal::domain::launch::ResolvedPlacement]| -> Vec<_> {
            placements.iter().map(|placement| placement.zone.clone()).collect()
        };
    assert_eq!(zones(&theirs.placements), zones(&ours.placements));
}

async fn a_request_expires(both: &Both) {
    both.world.lock().unwrap().faults.never_filled = 100;
    let [theirs, ours] = both.launch("fourth", 1);
    let valid_until = clock::after(both.world.lock().unwrap().now, Duration::from_mins(1));
    let ours = LaunchCall { valid_until, ..ours };
    let outcomes = both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let late = outcomes.each_ref().map(requests);
    both.account.to_requests(&json!({
        "ids": [late[0][0].as_str()], "do": "state", "state": "cancelled", "code": "schedule-expired",
    }));
    both.advance(Duration::from_mins(2));
    let observed = both.observe(late.map(|ids| ids.into_iter().collect())).await;
    let expired = |request: &SpotRequest| {
        request.state == SpotRequestState::Cancelled
            && request.status_code.as_str() == "schedule-expired"
    };
    assert!(observed[1].spot_requests.iter().any(expired), "{observed:?}");
}

async fn strangers_are_refused_alike(both: &Both) {
    let strangers = ["i-00000000000000000"].map(InstanceId::from);
    both.execute([Call::Terminate(&strangers), Call::Terminate(&strangers)]).await;
    let strangers = ["sir-00000000"].map(SpotRequestId::from);
    both.execute([Call::Cancel(&strangers), Call::Cancel(&strangers)]).await;
}

async fn prices_have_the_same_pools(both: &Both) {
    let zone = Some(Zone::from(format!("{REGION}a").as_str()));
    let pools = BTreeSet::from([Pool { instance_type: InstanceType::from(TYPE), zone }]);
    let mut priced = Vec::new();
    // Each by its own clock.
    let simulated = both.world.lock().unwrap().now;
    for (client, now) in [(&both.moto, Timestamp::now()), (&both.sim, simulated)] {
        let prices = client.spot_prices(&pools, now).await.unwrap();
        assert!(prices.values().all(|price| price.micros() > 0), "{prices:?}");
        priced.push(prices.into_keys().collect::<Vec<_>>());
    }
    assert_eq!(priced[0], priced[1]);
    assert_eq!(priced[0].len(), 1);
}
