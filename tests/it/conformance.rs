//! The simulated EC2 beside moto: the same calls to both, and every answer compared in its element names,
//! its nesting and the types of its values. The differences are in one list, `differences`.

mod differences;
mod named;
mod parsed;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner_sim::deployment::{self, settings, worker_type};
use provisioner_sim::query_api;
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;
use serde_json::json;

use crate::harness::{Account, IMAGE, REGION};
use crate::iam_calls::in_the_source;
use differences::{DIFFERENCES, Difference, REFERENCE, Right, Side};
use shape::{Kind, Shape};

const TYPE: &str = "m5.large";

/// Calls of `cleanup-aws` about resources that cannot be created there.
const NOT_SIMULATED: [&str; 2] = ["DeleteFleets", "DeleteLaunchTemplate"];

/// A public key, as the Query protocol has it (in base64 once more).
const PUBLIC_KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUc2ZzRIWkU1MzRCNUpmWEJYYUFEU3lXK3FlZTA2WFhPYzBxZkRwVTdVNHAgdGVzdHM=";

/// Both worlds, and the ids in them.
struct Pair {
    account: Account,
    world: World,
    /// The id in moto and the one in the simulation, by placeholder.
    names: BTreeMap<&'static str, [String; 2]>,
    /// The differences so far: the call, the path and the side that has it.
    found: BTreeSet<(String, String, Side)>,
    /// The actions that were compared.
    actions: BTreeSet<String>,
}

impl Pair {
    fn new() -> Self {
        let linux = worker_type(&[TYPE], 10);
        let settings = settings([("linux", linux)]);
        let now = Timestamp::now();
        let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, now);
        for zone in ["a", "b", "c", "d"] {
            let price = UsdPerHour::from_micros(31_200);
            world.set_price(&format!("{TYPE} in {REGION}{zone}"), now, price);
        }
        let account = Account::new();
        let key = deployment::key().to_string();
        let tags = json!([{ "Key": "provisioner:key-name", "Value": key }]);
        account.ec2(
            "create_key_pair",
            json!({
                "KeyName": key, "KeyType": "ed25519",
                "TagSpecifications": [{ "ResourceType": "key-pair", "Tags": tags }],
            }),
        );
        let image = [IMAGE.to_owned(), deployment::IMAGE.to_owned()];
        let names = BTreeMap::from([("{image}", image), ("{key}", [key.clone(), key])]);
        Self { account, world, names, found: BTreeSet::new(), actions: BTreeSet::new() }
    }

    /// Makes a call to both; returns the two answers.
    #[track_caller]
    fn call(&mut self, form: &str) -> [String; 2] {
        let mut forms = [form.to_owned(), form.to_owned()];
        for (placeholder, names) in &self.names {
            for (form, name) in forms.iter_mut().zip(names) {
                *form = form.replace(placeholder, name);
            }
        }
        let moto = self.account.query(&forms[0]);
        let ours = query_api::answer(&mut self.world, &forms[1]);
        assert_eq!(
            (moto.status, &moto.body),
            (ours.status, &moto.body),
            "{form}\n--- ours\n{}",
            ours.body
        );
        let action = form.strip_prefix("Action=").and_then(|rest| rest.split('&').next()).unwrap();
        self.actions.insert(action.to_owned());
        let outcome = if moto.status == 200 { "" } else { " refused" };
        assert_eq!(text(&moto.body, "Code"), text(&ours.body, "Code"), "{form}");
        self.compare(
            &format!("{action}{outcome}"),
            &shape::read(&moto.body),
            &shape::read(&ours.body),
        );
        [moto.body, ours.body]
    }

    /// The same, and remembers the first text of `element` as `placeholder`.
    #[track_caller]
    fn learn(&mut self, form: &str, element: &str, placeholder: &'static str) {
        let answers = self.call(form);
        let name = |answer: &String| text(answer, element).expect(element).to_owned();
        self.names.insert(placeholder, [name(&answers[0]), name(&answers[1])]);
    }

    fn compare(&mut self, call: &str, moto: &Shape, ours: &Shape) {
        let mut differs = |path: &str, side: Side| {
            // A namespace is the same for all.
            let call = if path.starts_with("@xmlns") { "*" } else { call };
            self.found.insert((call.to_owned(), path.to_owned(), side));
        };
        for (here, there, side) in [(moto, ours, Side::Moto), (ours, moto, Side::Sim)] {
            for path in here.keys().filter(|path| !there.contains_key(*path)) {
                // An element below one that differs is not a difference by itself.
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                if parent.is_empty() || there.contains_key(parent) {
                    differs(path, side);
                }
            }
        }
        for (path, kinds) in moto {
            let theirs: &BTreeSet<Kind> = kinds;
            let ours = ours.get(path).filter(|ours| !ours.is_empty() && !theirs.is_empty());
            if ours.is_some_and(|ours| ours != theirs) {
                differs(path, Side::Type);
            }
        }
    }

    fn advance(&mut self, time: Duration) {
        self.world.advance(provisioner::internal::domain::clock::after(self.world.now, time));
    }
}

/// The text of the first element of this name.
fn text<'a>(answer: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = answer.split_once(&format!("<{element}>"))?;
    rest.split('<').next()
}

/// A call for two instances.
fn request(token: &str) -> String {
    let valid_until =
        provisioner::internal::domain::clock::after(Timestamp::now(), Duration::from_hours(1));
    format!(
        "Action=RequestSpotInstances&Version=2016-11-15&ClientToken={token}&InstanceCount=2\
         &SpotPrice=0.100000&Type=one-time&ValidUntil={}\
         &TagSpecification.1.ResourceType=spot-instances-request\
         &TagSpecification.1.Tag.1.Key=provisioner%3Akey-name&TagSpecification.1.Tag.1.Value={{key}}\
         &TagSpecification.1.Tag.2.Key=provisioner%3Aworker-type\
         &TagSpecification.1.Tag.2.Value=linux&LaunchSpecification.ImageId={{image}}\
         &LaunchSpecification.InstanceType={TYPE}&LaunchSpecification.KeyName={{key}}\
         &LaunchSpecification.SecurityGroupId.1={{group}}\
         &LaunchSpecification.Placement.AvailabilityZone={REGION}a",
        valid_until.strftime("%Y-%m-%dT%H%%3A%M%%3A%SZ"),
    )
}

/// Key pairs, made, given and deleted, each also where that cannot be.
fn play_key_pairs(pair: &mut Pair) {
    let call = |action: &str, name: &str, more: &str| {
        format!("Action={action}&Version=2016-11-15&KeyName={name}{more}")
    };
    let tagged = |name: &str| {
        format!(
            "&TagSpecification.1.ResourceType=key-pair\
             &TagSpecification.1.Tag.1.Key=provisioner%3Akey-name&TagSpecification.1.Tag.1.Value={name}"
        )
    };
    let create = call("CreateKeyPair", "made", &format!("&KeyType=ed25519{}", tagged("made")));
    pair.call(&create);
    pair.call(&create);
    let given = PUBLIC_KEY.replace('=', "%3D").replace('+', "%2B");
    let given = format!("&PublicKeyMaterial={given}{}", tagged("given"));
    pair.call(&call("ImportKeyPair", "given", &given));
    pair.call("Action=DescribeKeyPairs&Version=2016-11-15&KeyName.1=given");
    for _ in 0..2 {
        pair.call(&call("DeleteKeyPair", "given", ""));
    }
}

fn ec2(action: &str, more: &str) -> String {
    format!("Action={action}&Version=2016-11-15{more}")
}

/// Plays the changes that EC2 makes by itself: a request fails, one loses its instance, and one expires.
fn play_ends(pair: &mut Pair) {
    let look =
        |id: &str| ec2("DescribeSpotInstanceRequests", &format!("&SpotInstanceRequestId.1={id}"));
    pair.world.bad.insert(deployment::name("linux"));
    pair.learn(&request("bad"), "spotInstanceRequestId", "{bad}");
    let id = pair.names["{bad}"][0].clone();
    pair.account.to_requests(&json!({ "ids": [id], "do": "fail", "code": "bad-parameters" }));
    pair.advance(Duration::from_mins(1));
    let shown = pair.call(&look("{bad}"));
    assert!(shown.iter().all(|request| request.contains("<state>failed</state>")), "{shown:?}");
    pair.world.bad.clear();

    pair.account.rules(&json!({ "spot": "at-once" }));
    pair.world.pools.free.clear();
    pair.learn(&request("taken"), "spotInstanceRequestId", "{taken}");
    pair.advance(Duration::from_mins(1));
    pair.learn(&look("{taken}"), "instanceId", "{lost}");
    let [theirs, ours] = pair.names["{lost}"].clone();
    let [asked, _] = pair.names["{taken}"].clone();
    // It is closed with the notice, and the instance runs on.
    let code = "instance-terminated-no-capacity";
    let closed = json!({ "ids": [asked], "do": "state", "state": "closed", "code": code });
    pair.account.to_requests(&closed);
    pair.world.interrupt(&InstanceId::from(ours.as_str()));
    let shown = pair.call(&look("{taken}"));
    let code = format!("<code>{code}</code>");
    let is_closed =
        |request: &String| request.contains(&code) && request.contains("<state>closed</state>");
    assert!(shown.iter().all(is_closed), "{shown:?}");
    pair.call(&ec2("DescribeInstances", "&InstanceId.1={lost}"));
    pair.account.to_instances(&json!({ "ids": [theirs], "do": "interrupt" }));
    pair.advance(Duration::from_mins(3));
    pair.call(&look("{taken}"));
    pair.call(&ec2("DescribeInstances", "&InstanceId.1={lost}"));

    // Last, as hours pass with it.
    pair.account.rules(&json!({ "spot": "held" }));
    pair.world.faults.never_filled = 100;
    pair.learn(&request("late"), "spotInstanceRequestId", "{late}");
    let id = pair.names["{late}"][0].clone();
    let expire =
        json!({ "ids": [id], "do": "state", "state": "cancelled", "code": "schedule-expired" });
    pair.account.to_requests(&expire);
    pair.advance(Duration::from_mins(61));
    let shown = pair.call(&look("{late}"));
    assert!(
        shown.iter().all(|request| request.contains("<code>schedule-expired</code>")),
        "{shown:?}"
    );
}

/// Every call that the programs make, with its errors, in the order of a life.
fn play(pair: &mut Pair) {
    pair.call("Action=GetCallerIdentity&Version=2011-06-15");
    play_key_pairs(pair);
    pair.learn(
        &ec2("DescribeSecurityGroups", "&Filter.1.Name=group-name&Filter.1.Value.1=default"),
        "groupId",
        "{group}",
    );
    for look in [
        ec2("DescribeKeyPairs", "&KeyName.1={key}"),
        ec2("DescribeKeyPairs", "&KeyName.1=nobodys"),
        ec2("DescribeAvailabilityZones", ""),
        ec2("DescribeVpcs", "&Filter.1.Name=is-default&Filter.1.Value.1=true"),
        ec2("GetAllowedImagesSettings", ""),
        ec2("GetDefaultCreditSpecification", "&InstanceFamily=t3"),
        ec2("GetInstanceMetadataDefaults", ""),
        ec2(
            "DescribeSubnets",
            "&Filter.1.Name=availability-zone&Filter.1.Value.1=us-west-2a&MaxResults=1000",
        ),
        ec2(
            "DescribeImages",
            "&Filter.1.Name=image-id&Filter.1.Value.1={image}&IncludeDeprecated=true",
        ),
        ec2(
            "DescribeInstanceTypes",
            "&Filter.1.Name=instance-type&Filter.1.Value.1=m5.large&MaxResults=100",
        ),
        ec2(
            "DescribeInstanceTypeOfferings",
            "&LocationType=availability-zone&Filter.1.Name=instance-type&Filter.1.Value.1=m5.large",
        ),
        ec2(
            "DescribeSpotPriceHistory",
            "&InstanceType.1=m5.large&ProductDescription.1=Linux%2FUNIX&MaxResults=1000",
        ),
        ec2("DescribeFleets", ""),
        ec2("DescribeLaunchTemplates", ""),
        ec2("DescribeVolumes", ""),
        ec2("DeleteVolume", "&VolumeId=vol-00000000000000000"),
        ec2("DescribeInstances", ""),
        ec2("DescribeSpotInstanceRequests", ""),
    ] {
        pair.call(&look);
    }

    let one = request("one");
    pair.call(&format!("{one}&DryRun=true"));
    pair.learn(&one, "spotInstanceRequestId", "{request}");
    pair.call(&one);
    pair.call(&one.replace("InstanceCount=2", "InstanceCount=1"));
    pair.advance(Duration::from_mins(1));
    let by_key = "&Filter.1.Name=key-name&Filter.1.Value.1={key}&MaxResults=1000";
    pair.learn(&ec2("DescribeInstances", by_key), "instanceId", "{instance}");
    let tag = "&ResourceId.1={instance}&Tag.1.Key=provisioner%3Aworker-type&Tag.1.Value=linux";
    pair.call(&ec2("CreateTags", tag));
    pair.call(&ec2("CreateTags", &format!("{tag}&DryRun=true")));
    pair.call(&ec2("DescribeInstances", by_key));
    let standing = "&Filter.1.Name=launch.key-name&Filter.1.Value.1={key}&Filter.2.Name=state\
                    &Filter.2.Value.1=open&Filter.2.Value.2=active&MaxResults=1000";
    pair.call(&ec2("DescribeSpotInstanceRequests", standing));

    pair.account.rules(&json!({ "spot": "held", "held_code": "capacity-not-available" }));
    pair.world.pools.free.insert(format!("{TYPE} in {REGION}a"), 0);
    pair.learn(&request("two"), "spotInstanceRequestId", "{open}");
    pair.call(&ec2("DescribeSpotInstanceRequests", standing));
    pair.call(&ec2("CancelSpotInstanceRequests", "&SpotInstanceRequestId.1={open}"));
    pair.call(&ec2("CancelSpotInstanceRequests", "&SpotInstanceRequestId.1={open}&DryRun=true"));
    pair.call(&ec2("CancelSpotInstanceRequests", "&SpotInstanceRequestId.1=sir-00000000"));
    pair.call(&ec2("DescribeSpotInstanceRequests", "&SpotInstanceRequestId.1={open}"));

    pair.call(&ec2("TerminateInstances", "&InstanceId.1={instance}&DryRun=true"));
    pair.call(&ec2(
        "TerminateInstances",
        "&InstanceId.1={instance}&InstanceId.2=i-00000000000000000",
    ));
    pair.call(&ec2("TerminateInstances", "&InstanceId.1={instance}"));
    pair.advance(Duration::from_mins(1));
    pair.call(&ec2("DescribeInstances", "&InstanceId.1={instance}"));
    pair.call(&ec2("DescribeSpotInstanceRequests", "&SpotInstanceRequestId.1={request}"));
    pair.call(&ec2("DescribeInstances", "&InstanceId.1=i-00000000000000000"));
    play_ends(pair);
}

#[test]
fn the_simulated_ec2_answers_as_moto_does_but_for_the_differences_listed() {
    let mut pair = Pair::new();
    play(&mut pair);
    let listed: Vec<_> = DIFFERENCES.iter().flat_map(Difference::each).collect();
    let known: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(known.len(), listed.len(), "none is listed twice");
    let new: Vec<_> = pair.found.difference(&known).collect();
    assert!(new.is_empty(), "not listed: {new:#?}");
    let gone: Vec<_> = known.difference(&pair.found).collect();
    assert!(gone.is_empty(), "listed, and they are no more: {gone:#?}");
    for difference in DIFFERENCES {
        // Neither of them makes elements up.
        let has_it = match difference.right {
            Right::Moto | Right::SimWithout => Side::Moto,
            Right::Sim => Side::Sim,
        };
        assert!(difference.side == Side::Type || difference.side == has_it, "{difference:?}");
        assert!(difference.names.split(' ').is_sorted(), "{difference:?}");
        let page =
            difference.page.strip_prefix(REFERENCE).and_then(|rest| rest.strip_suffix(".html"));
        let name = |page: &str| !page.is_empty() && page.chars().all(char::is_alphanumeric);
        assert!(page.is_some_and(name), "{difference:?}: a page of the reference");
    }

    let simulated: BTreeSet<_> = query_api::actions().map(str::to_owned).collect();
    assert_eq!(pair.actions, simulated, "all of them, and each was compared");
    let called = in_the_source().into_iter();
    let called = called.filter_map(|call| match call.split_once(':')? {
        ("ec2" | "sts", action) => Some(action.to_owned()),
        _ => None,
    });
    let missing: Vec<_> = called.filter(|action| !simulated.contains(action)).collect();
    assert_eq!(
        missing, NOT_SIMULATED,
        "what the programs call and the simulated EC2 does not know"
    );
}
