//! The adapter over both: what the SDK parses comes to the same values of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::aws::{Call, Client};
use provisioner::domain::clock;
use provisioner::domain::ids::{ClientToken, InstanceId, InstanceType, SpotRequestId, Zone};
use provisioner::domain::launch::{
    LaunchCall, LaunchSpecification, Pool, TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE,
};
use provisioner::domain::money::UsdPerHour;
use provisioner::domain::observed::{InstanceState, Observation, SpotRequest, SpotRequestState};
use provisioner::domain::refusal::Refusal;
use provisioner::engine::Outcome;
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

/// What a look comes to, whatever the ids are: what they are called by is their place.
type Shown = Vec<String>;

impl Both {
    pub(super) fn new() -> Self {
        let Pair { account, world, names, .. } = Pair::new();
        let groups = account.ec2("describe_security_groups", json!({}));
        let group = groups["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned();
        let world = Arc::new(Mutex::new(world));
        let (asked, simulated) = (account.clone(), Arc::clone(&world));
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
        let (key, now) = (deployment::key(), Timestamp::now());
        let moto = self.moto.observe(&key, &tracked[0], true, now).await.unwrap();
        let sim = self.sim.observe(&key, &tracked[1], true, now).await.unwrap();
        assert_eq!((moto.warnings.as_slice(), sim.warnings.as_slice()), (&[][..], &[][..]));
        let looks = [moto.observation, sim.observation];
        let shown = looks.each_ref().map(shown);
        assert_eq!(shown[0], shown[1]);
        looks
    }
}

/// Who grants how much in which state, or the class and code of a refusal.
fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Requested(granted) => {
            let states: Vec<_> = granted.iter().map(|it| format!("{:?}", it.state)).collect();
            states.join(" ")
        }
        Outcome::Refused(Refusal { class, code, .. }) => format!("{class:?} {code}"),
        other => format!("{other:?}"),
    }
}

fn shown(look: &Observation) -> Shown {
    let instances: BTreeMap<&InstanceId, usize> =
        look.instances.iter().enumerate().map(|(n, it)| (&it.id, n)).collect();
    let requests: BTreeMap<&SpotRequestId, usize> =
        look.spot_requests.iter().enumerate().map(|(n, it)| (&it.id, n)).collect();
    let mut shown = vec![format!("{:?}", look.key_pair)];
    shown.extend(look.instances.iter().map(|it| {
        let place = (&it.instance_type, &it.zone, &it.other_platform);
        let request = it.spot_request.as_ref().map(|id| requests.contains_key(id));
        let recent = clock::age(it.launch_time, Timestamp::now()) < Duration::from_hours(1);
        format!("{:?} {place:?} of a request {request:?}, {recent}, {:?}", it.state, it.tags)
    }));
    let mut of_requests: Vec<String> = look
        .spot_requests
        .iter()
        .map(|it| {
            let place = (&it.instance_type, &it.zone, it.max_price);
            let instance = it.instance.as_ref().map(|id| instances.contains_key(id));
            let (code, timed) = (it.status_code.as_str(), it.status_time.is_some());
            let tags = &it.tags;
            format!("{:?} {code} {place:?} with {instance:?}, {timed}, {tags:?}", it.state)
        })
        .collect();
    shown.append(&mut of_requests);
    shown.sort();
    shown
}

fn requests(outcome: &Outcome) -> Vec<SpotRequestId> {
    match outcome {
        Outcome::Requested(granted) => granted.iter().map(|it| it.id.clone()).collect(),
        other => panic!("not granted: {other:?}"),
    }
}

#[tokio::test]
async fn the_sdk_parses_both_to_the_same_values() {
    let both = Both::new();
    let none = || [BTreeSet::new(), BTreeSet::new()];
    both.observe(none()).await;
    for client in [&both.moto, &both.sim] {
        let account = client.account_id().await.unwrap();
        assert!(account.len() == 12 && account.chars().all(|c| c.is_ascii_digit()), "{account}");
    }

    // A type resolves to what stands for the same with each: its zones are the same.
    let mut linux = worker_type(&[TYPE], 10);
    linux.availability_zones = vec![Zone::from(format!("{REGION}a").as_str())];
    let ours = both.sim.resolve(&linux).await.unwrap();
    linux.image_id.clone_from(&both.image);
    let theirs = both.moto.resolve(&linux).await.unwrap();
    let zones = |placements: &[provisioner::domain::launch::ResolvedPlacement]| -> Vec<_> {
        placements.iter().map(|it| it.zone.clone()).collect()
    };
    assert_eq!(zones(&theirs.placements), zones(&ours.placements));

    let [theirs, ours] = both.launch("first", 2);
    both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let more = [&theirs, &ours].map(|call| LaunchCall { count: 1, ..call.clone() });
    both.execute([Call::Request(&more[0]), Call::Request(&more[1])]).await;
    both.advance(Duration::from_mins(1));
    let looks = both.observe(none()).await;
    assert_eq!(looks.each_ref().map(|it| it.instances.len()), [2, 2]);
    assert!(looks[1].instances.iter().all(|it| it.state == InstanceState::Running));

    let ids = looks.each_ref().map(|it| -> Vec<InstanceId> {
        it.instances.iter().map(|instance| instance.id.clone()).collect()
    });
    let tags = &ours.tags;
    both.execute([0, 1].map(|n| Call::Tag { instances: &ids[n], tags })).await;
    let looks = both.observe(none()).await;
    assert!(looks[1].instances.iter().all(|it| it.tags.worker_type.is_some()), "{looks:?}");

    // One that waits, is cancelled, and is looked up by its id.
    both.account.rules(&json!({ "spot": "held", "held_code": "capacity-not-available" }));
    both.world.lock().unwrap().pools.free.insert(format!("{TYPE} in {REGION}a"), 0);
    let [theirs, ours] = both.launch("second", 1);
    let outcomes = both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let open = outcomes.each_ref().map(requests);
    let looks = both.observe(none()).await;
    let waits = |it: &Observation| {
        it.spot_requests.iter().filter(|it| it.state == SpotRequestState::Open).count()
    };
    assert_eq!(looks.each_ref().map(waits), [1, 1]);
    both.execute([Call::Cancel(&open[0]), Call::Cancel(&open[1])]).await;
    let tracked = open.map(|ids| ids.into_iter().collect());
    let looks = both.observe(tracked).await;
    let cancelled = looks[1].spot_requests.iter().any(|it| it.state == SpotRequestState::Cancelled);
    assert!(cancelled, "{looks:?}");

    // One that fails, and an instance that EC2 takes back.
    both.world.lock().unwrap().bad.insert(name("linux"));
    let [theirs, ours] = both.launch("third", 1);
    let outcomes = both.execute([Call::Request(&theirs), Call::Request(&ours)]).await;
    let [theirs, ours] = outcomes.each_ref().map(requests);
    both.account.to_requests(&json!({ "ids": [theirs[0].as_str()], "do": "fail" }));
    both.account.to_instances(&json!({ "ids": [ids[0][1].as_str()], "do": "interrupt" }));
    both.world.lock().unwrap().interrupt(&ids[1][1]);
    both.advance(Duration::from_mins(3));
    let lost = |look: &Observation| {
        let taken = look.instances.iter().filter_map(|it| it.spot_request.clone());
        taken.collect::<Vec<_>>()
    };
    let mut tracked = [theirs, ours];
    for (ids, look) in tracked.iter_mut().zip(&looks) {
        ids.extend(lost(look));
    }
    let looks = both.observe(tracked.map(|ids| ids.into_iter().collect())).await;
    let codes: BTreeSet<_> =
        looks[1].spot_requests.iter().map(|it| it.status_code.as_str()).collect();
    for code in ["bad-parameters", "instance-terminated-no-capacity"] {
        assert!(codes.contains(code), "{codes:?}");
    }
    both.world.lock().unwrap().bad.clear();

    // One that waits until it is too late.
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
    let looks = both.observe(late.map(|ids| ids.into_iter().collect())).await;
    let expired = |it: &SpotRequest| {
        it.state == SpotRequestState::Cancelled && it.status_code.as_str() == "schedule-expired"
    };
    assert!(looks[1].spot_requests.iter().any(expired), "{looks:?}");

    both.execute([Call::Terminate(&ids[0][..1]), Call::Terminate(&ids[1][..1])]).await;
    both.advance(Duration::from_mins(1));
    let strangers = ["i-00000000000000000"].map(InstanceId::from);
    both.execute([Call::Terminate(&strangers), Call::Terminate(&strangers)]).await;
    let strangers = ["sir-00000000"].map(SpotRequestId::from);
    both.execute([Call::Cancel(&strangers), Call::Cancel(&strangers)]).await;

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
