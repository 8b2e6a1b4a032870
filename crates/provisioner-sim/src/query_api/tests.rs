use std::collections::BTreeSet;
use std::sync::Arc;

use provisioner::internal::domain::ids::{InstanceType, KeyName};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::{KeyPair, OwnTags, SpotRequestState};

use super::*;
use crate::deployment::{IMAGE, at, key, secs, settings, start, worker_type};
use crate::queue::Knowledge;

fn world() -> World {
    let settings = settings([("linux", worker_type(&["c7g.large", "c7a.large"], 100))]);
    World::new(Arc::new(settings), Knowledge::ByInstance, 1, start())
}

/// Returns the texts of all elements called `name`.
fn texts<'a>(body: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let rest = |part: &'a str| part.split_once(&close).map(|(text, _)| text);
    body.split(&open).skip(1).filter_map(rest).collect()
}

/// Returns the answer on one line, but for the line of the XML declaration.
fn without_indentation(body: &str) -> String {
    let (declaration, rest) = body.split_once('\n').unwrap();
    format!("{declaration}\n{}", rest.lines().map(str::trim_start).collect::<String>())
}

#[track_caller]
fn ok(world: &mut World, body: &str) -> String {
    let answer = answer(world, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    without_indentation(&answer.body)
}

/// Returns status, code and message of a refusal.
#[track_caller]
fn refused(world: &mut World, body: &str) -> (u16, String, String) {
    let answer = answer(world, body);
    let text = |name| texts(&answer.body, name).first().copied().unwrap_or_default().to_owned();
    assert!(answer.body.contains("<Response><Errors><Error>"), "{body}: {}", answer.body);
    (answer.status, text("Code"), text("Message"))
}

fn request(count: u32, more: &str) -> String {
    format!(
        "Action=RequestSpotInstances&Version=2016-11-15&InstanceCount={count}&SpotPrice=0.100000\
         &Type=one-time&ValidUntil=2026-11-23T09%3A00%3A00Z\
         &TagSpecification.1.ResourceType=spot-instances-request\
         &TagSpecification.1.Tag.1.Key=provisioner%3Akey-name\
         &TagSpecification.1.Tag.1.Value=provisioner-test-sim\
         &TagSpecification.1.Tag.2.Key=provisioner%3Aworker-type\
         &TagSpecification.1.Tag.2.Value=linux&TagSpecification.1.Tag.3.Key=team\
         &TagSpecification.1.Tag.3.Value=%3Cci%3E&LaunchSpecification.ImageId=ami-1\
         &LaunchSpecification.InstanceType=c7g.large&LaunchSpecification.KeyName=provisioner-test-sim\
         &LaunchSpecification.SecurityGroupId.1=sg-1\
         &LaunchSpecification.Placement.AvailabilityZone=us-west-2a{more}"
    )
}

const DESCRIBE: &str = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=key-name\
                        &Filter.1.Value.1=provisioner-test-sim";

#[test]
fn a_whole_life() {
    let mut world = world();
    let asked = ok(&mut world, &request(2, "&ClientToken=t"));
    assert!(
        asked.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<RequestSpotInstancesResponse"
        )
    );
    let requests = texts(&asked, "spotInstanceRequestId");
    assert_eq!(requests.len(), 2);
    assert_eq!(
        texts(&asked, "key"),
        ["provisioner:key-name", "provisioner:worker-type", "team"].repeat(2)
    );
    assert!(texts(&asked, "value").contains(&"&lt;ci&gt;"));

    // The same token again gives the same requests.
    let again = ok(&mut world, &request(2, "&ClientToken=t"));
    assert_eq!(texts(&again, "spotInstanceRequestId"), requests);
    let (status, code, _) = refused(&mut world, &request(3, "&ClientToken=t"));
    assert_eq!((status, code.as_str()), (400, "IdempotentParameterMismatch"));

    world.advance(at(60));
    let shown = ok(&mut world, DESCRIBE);
    assert_eq!(texts(&shown, "instanceId").len(), 2);
    assert_eq!(texts(&shown, "spotInstanceRequestId"), requests);
    let running = "<instanceState><code>16</code><name>running</name></instanceState>";
    assert_eq!(shown.matches(running).count(), 2, "{shown}");
    assert_eq!(texts(&shown, "subnetId"), ["subnet-sim0a"; 4], "also at the network interfaces");
    assert_eq!(texts(&shown, "volumeId").len(), 2);
    assert_eq!(texts(&shown, "architecture"), ["arm64"; 2]);
    assert!(!shown.contains("<tagSet>"), "the request's tags do not reach the instance");

    let ids: Vec<String> = texts(&shown, "instanceId").into_iter().map(str::to_owned).collect();
    let tag = "Action=CreateTags&Tag.1.Key=provisioner%3Aworker-type&Tag.1.Value=linux";
    ok(&mut world, &format!("{tag}&ResourceId.1={}&ResourceId.2={}", ids[0], ids[1]));
    ok(
        &mut world,
        &format!("Action=CreateTags&Tag.1.Key=team&Tag.1.Value=ci&ResourceId.1={}", ids[0]),
    );
    let by_tag = "Action=DescribeInstances&Filter.1.Name=tag%3Ateam&Filter.1.Value.1=c*";
    let shown = ok(&mut world, by_tag);
    assert_eq!(texts(&shown, "instanceId"), [ids[0].as_str()]);
    assert_eq!(texts(&shown, "key"), ["provisioner:worker-type", "team"], "one more, none less");

    let ended = ok(&mut world, &format!("Action=TerminateInstances&InstanceId.1={}", ids[1]));
    assert_eq!(texts(&ended, "name"), ["shutting-down", "running"]);
    world.advance(at(120));
    let shown = ok(&mut world, DESCRIBE);
    assert_eq!(shown.matches("<code>48</code><name>terminated</name>").count(), 1);
    assert_eq!(texts(&shown, "volumeId").len(), 1, "a terminated instance has none");
    let request = world.requests.iter().find(|it| it.truth().id.as_str() == requests[1]).unwrap();
    assert_eq!(request.truth().state, SpotRequestState::Closed);
    world.advance(at(2 * 3600));
    assert_eq!(texts(&ok(&mut world, DESCRIBE), "instanceId").len(), 0, "forgotten, and tired");
}

#[test]
fn requests_wait_are_shown_by_state_and_cancelled() {
    let mut world = world();
    world.pools.free.insert("c7g.large in us-west-2a".to_owned(), 0);
    let ids = ok(&mut world, &request(2, ""));
    let ids = texts(&ids, "spotInstanceRequestId");
    let describe = "Action=DescribeSpotInstanceRequests&Filter.1.Name=launch.key-name\
                    &Filter.1.Value.1=provisioner-test-*&Filter.2.Name=state";
    let open = ok(&mut world, &format!("{describe}&Filter.2.Value.1=open"));
    assert_eq!(texts(&open, "spotInstanceRequestId"), ids);
    assert_eq!(texts(&open, "validUntil"), ["2026-11-23T09:00:00.000Z"; 2]);
    assert!(open.contains("<status><code>capacity-not-available</code><updateTime>"), "{open}");

    let cancel = format!("Action=CancelSpotInstanceRequests&SpotInstanceRequestId.1={}", ids[0]);
    let (status, code, _) = refused(&mut world, &format!("{cancel}&DryRun=true"));
    assert_eq!((status, code.as_str()), (412, "DryRunOperation"));
    assert_eq!(world.open().count(), 2);
    assert_eq!(texts(&ok(&mut world, &cancel), "state"), ["cancelled"]);
    assert_eq!(world.open().count(), 1);
    let open = ok(&mut world, &format!("{describe}&Filter.2.Value.1=open&Filter.2.Value.2=active"));
    assert_eq!(texts(&open, "spotInstanceRequestId"), [ids[1]]);
    let by_id = format!("Action=DescribeSpotInstanceRequests&SpotInstanceRequestId.1={}", ids[0]);
    assert_eq!(texts(&ok(&mut world, &by_id), "state"), ["cancelled"]);
    let (_, code, _) = refused(&mut world, &format!("{cancel}&SpotInstanceRequestId.2=sir-sim99"));
    assert_eq!(code, "InvalidSpotInstanceRequestID.NotFound");
}

/// Reads all pages and returns the ids on each.
fn pages(world: &mut World, first: &str) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let body = ok(world, &format!("{first}&NextToken={token}"));
        pages.push(texts(&body, "instanceId").into_iter().map(str::to_owned).collect());
        match texts(&body, "nextToken").first() {
            Some(next) => token = (*next).to_owned(),
            None => return pages,
        }
    }
}

#[test]
fn pages_show_everything_also_while_they_shift() {
    let mut world = world();
    for _ in 0..23 {
        world.launch(&key(), None, InstanceType::from("c7g.large"), OwnTags::default(), true);
    }
    let other = KeyName::from("somebody-else");
    world.launch(&other, None, InstanceType::from("c7g.large"), OwnTags::default(), true);

    let sizes = |pages: &[Vec<String>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let read = pages(&mut world, &format!("{DESCRIBE}&MaxResults=7"));
    assert_eq!(sizes(&read), [7, 7, 7, 2]);
    let all: BTreeSet<_> = read.concat().into_iter().collect();
    assert_eq!(all.len(), 23);
    world.page = 10;
    assert_eq!(sizes(&pages(&mut world, &format!("{DESCRIBE}&MaxResults=1000"))), [10, 10, 3]);

    world.faults.shifted = 100;
    let read = pages(&mut world, DESCRIBE);
    assert_eq!(sizes(&read), [11, 11, 4], "one twice on each");
    assert_eq!(read.concat().into_iter().collect::<BTreeSet<_>>(), all);

    for (bad, code) in [
        ("NextToken=nonsense", "InvalidPaginationToken"),
        ("MaxResults=4", "InvalidParameterValue"),
        ("MaxResults=1001", "InvalidParameterValue"),
    ] {
        assert_eq!(refused(&mut world, &format!("{DESCRIBE}&{bad}")).1, code);
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let mut world = world();
    for (body, code, message) in [
        ("Action=RunInstances", "InvalidAction", "RunInstances"),
        ("", "InvalidAction", ""),
        ("Action=DescribeInstances&Colour=red", "UnknownParameter", "Colour"),
        ("Action=DescribeVpcs&Filter.1.Name=x&Filter.1.Value.1=y", "InvalidParameterValue", "'x'"),
        ("Action=TerminateInstances", "MissingParameter", "InstanceId"),
        ("Action=TerminateInstances&InstanceId.1=mine", "InvalidInstanceID.Malformed", "mine"),
        (
            "Action=TerminateInstances&InstanceId.1=i-1&InstanceId.2=i-2",
            "InvalidInstanceID.NotFound",
            "The instance IDs 'i-1, i-2' do not exist",
        ),
        ("Action=CreateTags&ResourceId.1=i-1&Tag.1.Key=a", "InvalidID", "i-1"),
        ("Action=DescribeKeyPairs&KeyName.1=x", "InvalidKeyPair.NotFound", "'x'"),
    ] {
        let (status, said, text) = refused(&mut world, body);
        assert_eq!((status, said.as_str()), (400, code), "{body}");
        assert!(text.contains(message), "{body}: {text}");
    }
    let iam = answer(&mut world, "Action=GetRole&Version=2010-05-08&RoleName=r");
    assert!(
        iam.status == 404 && iam.body.contains("<Code>NoSuchEntity</Code>"),
        "IAM's own form: {iam:?}"
    );
    let (_, code, text) = refused(&mut world, &request(1, "&LaunchSpecification.Hibernate=true"));
    assert_eq!(
        (code.as_str(), text.contains("LaunchSpecification.Hibernate")),
        ("UnknownParameter", true)
    );
    let unknown = request(1, "").replace("ImageId=ami-1", "ImageId=ami-2");
    assert_eq!(refused(&mut world, &unknown).1, "InvalidAMIID.NotFound");
    let unknown = request(1, "").replace("c7g.large", "x9.large");
    assert_eq!(refused(&mut world, &unknown).1, "InvalidParameterValue");
    let elsewhere = request(1, "&LaunchSpecification.SubnetId=subnet-1");
    assert_eq!(refused(&mut world, &elsewhere).1, "InvalidSubnetID.NotFound");
    assert!(world.requests.is_empty());
}

#[test]
fn a_refusal_has_the_status_that_ec2_gives_it() {
    let mut world = world();
    world.refused_types.insert("c7g.large".into(), "InsufficientInstanceCapacity".to_owned());
    let (status, code, _) = refused(&mut world, &request(1, ""));
    assert_eq!((status, code.as_str()), (500, "InsufficientInstanceCapacity"));
    world.throttle = Some(crate::world::throttle::Throttle::default());
    for _ in 0..5 {
        refused(&mut world, &request(1, ""));
    }
    let (status, code, _) = refused(&mut world, &request(1, ""));
    assert_eq!((status, code.as_str()), (503, "RequestLimitExceeded"));
    ok(&mut world, DESCRIBE);
}

#[test]
fn what_gets_lost_on_the_way_is_done_or_not() {
    let mut world = world();
    world.faults.lost_before = 100;
    assert_eq!(deliver(&mut world, &request(1, "")), Delivery::Broken);
    assert!(world.requests.is_empty());
    assert_eq!(deliver(&mut world, DESCRIBE), Delivery::Broken);
    world.faults.lost_before = 0;
    world.faults.lost_after = 100;
    assert_eq!(deliver(&mut world, &request(1, "&ClientToken=t")), Delivery::Broken);
    assert_eq!(world.requests.len(), 1);
    world.faults.lost_after = 0;
    world.faults.duplicated = 100;
    world.faults.slow = secs(5);
    let Delivery::Answered(answer, after) = deliver(&mut world, &request(1, "&ClientToken=t"))
    else {
        panic!("it is answered")
    };
    assert_eq!((answer.status, world.requests.len()), (200, 1), "one token, one request");
    assert!(after <= secs(5));
    let slow = |world: &mut World| match deliver(world, DESCRIBE) {
        Delivery::Answered(answer, after) => (answer.status, after > secs(1)),
        Delivery::Broken => panic!("nothing breaks"),
    };
    assert!((0..20).any(|_| slow(&mut world) == (200, true)), "looks take their time, too");
    world.faults.throttled = 100;
    world.faults.blind = 100;
    for (body, status) in [(request(1, ""), 503), (DESCRIBE.to_owned(), 500)] {
        let Delivery::Answered(answer, _) = deliver(&mut world, &body) else { panic!("{body}") };
        assert_eq!(answer.status, status);
    }
    assert_eq!(world.requests.len(), 1);
}

#[test]
fn who_is_delivered_twice_hears_what_was_said_to_the_first() {
    let mut world = world();
    ok(&mut world, &request(1, ""));
    world.advance(at(60));
    let id = texts(&ok(&mut world, DESCRIBE), "instanceId")[0].to_owned();
    world.faults.duplicated = 100;
    let terminate = format!("Action=TerminateInstances&InstanceId.1={id}");
    let Delivery::Answered(answer, _) = deliver(&mut world, &terminate) else { panic!("broken") };
    assert_eq!(texts(&answer.body, "name"), ["shutting-down", "running"], "it ran before");
}

#[test]
fn prices_are_those_in_force_and_none_to_come() {
    let mut world = world();
    let price = |micros| UsdPerHour::from_micros(micros);
    world.set_price("c7g.large in us-west-2a", at(0), price(31_000));
    world.set_price("c7g.large in us-west-2a", at(600), price(32_000));
    world.set_price("c7g.large in us-west-2a", at(1200), price(33_000));
    world.set_price("c7a.large in us-west-2b", at(0), price(40_000));
    world.advance(at(700));
    let history = "Action=DescribeSpotPriceHistory&ProductDescription.1=Linux%2FUNIX";
    let shown = ok(&mut world, history);
    assert_eq!(texts(&shown, "spotPrice"), ["0.032000", "0.040000", "0.031000"]);
    assert!(shown.contains("<nextToken/>"));
    let now = "StartTime=2026-11-23T08%3A11%3A40Z&EndTime=2026-11-23T08%3A11%3A40Z";
    let shown = ok(&mut world, &format!("{history}&{now}&InstanceType.1=c7g.large"));
    assert_eq!(texts(&shown, "spotPrice"), ["0.032000"]);
    assert_eq!(texts(&shown, "timestamp"), ["2026-11-23T08:10:00.000Z"]);
    let zone = "Filter.1.Name=availability-zone&Filter.1.Value.1=us-west-2b";
    assert_eq!(texts(&ok(&mut world, &format!("{history}&{zone}")), "spotPrice"), ["0.040000"]);
    let to_come = now.replace("08%3A11%3A40", "09%3A00%3A00");
    let shown = ok(&mut world, &format!("{history}&{to_come}&InstanceType.1=c7g.large"));
    assert_eq!(texts(&shown, "spotPrice"), ["0.032000"], "whoever's clock is ahead learns no more");
    let windows = "Action=DescribeSpotPriceHistory&ProductDescription.1=Windows";
    assert!(texts(&ok(&mut world, windows), "spotPrice").is_empty());
}

#[test]
fn the_surroundings_are_told_and_are_not_those_of_aws() {
    let mixed = worker_type(&["c7g.large", "c7a.large"], 100);
    let mut arm = worker_type(&["c7g.large"], 100);
    "ami-2".clone_into(&mut arm.image_id);
    let settings = settings([("mixed", mixed), ("arm", arm)]);
    let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, start());
    let mut told = |body: &str, name: &str| -> Vec<String> {
        texts(&ok(&mut world, body), name).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(told("Action=GetCallerIdentity&Version=2011-06-15", "Account"), ["000000000000"]);
    assert_eq!(told("Action=DescribeAvailabilityZones", "zoneName").len(), 4);
    assert_eq!(
        told("Action=DescribeVpcs&Filter.1.Name=is-default&Filter.1.Value.1=true", "vpcId"),
        ["vpc-sim0"]
    );
    assert_eq!(
        told("Action=DescribeSubnets&SubnetId.1=subnet-sim0b", "availabilityZone"),
        ["us-west-2b"]
    );
    let group = "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=default";
    assert_eq!(told(group, "groupId"), ["sg-1"]);
    let images = "Action=DescribeImages&IncludeDeprecated=true";
    assert_eq!(told(images, "imageId"), ["ami-1", "ami-2"]);
    assert_eq!(told(images, "architecture"), ["x86_64", "arm64"], "as their worker types need");
    let offered = "Action=DescribeInstanceTypeOfferings&LocationType=availability-zone\
                   &Filter.1.Name=instance-type&Filter.1.Value.1=c7g.large";
    assert_eq!(told(offered, "location").len(), 4);
    let types = "Action=DescribeInstanceTypes&InstanceType.1=c7a.large";
    assert_eq!(told(types, "supportedArchitectures"), ["<item>x86_64</item>"]);
    for none in ["DescribeFleets", "DescribeLaunchTemplates", "DescribeVolumes"] {
        assert!(told(&format!("Action={none}"), "item").is_empty());
    }
    let pairs = "Action=DescribeKeyPairs&KeyName.1=provisioner-test-sim";
    assert_eq!(told(pairs, "value"), ["provisioner-test-sim"]);
    world.key_pair = KeyPair::Foreign;
    assert!(texts(&ok(&mut world, pairs), "value").is_empty());
    world.key_pair = KeyPair::Absent;
    assert_eq!(refused(&mut world, pairs).1, "InvalidKeyPair.NotFound");
}

#[test]
fn key_pairs_are_made_shown_and_deleted() {
    let mut world = world();
    let tag = "&TagSpecification.1.ResourceType=key-pair\
               &TagSpecification.1.Tag.1.Key=provisioner%3Akey-name&TagSpecification.1.Tag.1.Value=a";
    let create = format!("Action=CreateKeyPair&KeyName=a&KeyType=ed25519&KeyFormat=pem{tag}");
    let made = ok(&mut world, &create);
    assert!(texts(&made, "keyMaterial")[0].starts_with("-----BEGIN"), "{made}");
    assert_eq!(refused(&mut world, &create).1, "InvalidKeyPair.Duplicate");
    let import = format!("Action=ImportKeyPair&KeyName=b&PublicKeyMaterial=c3No{tag}");
    assert_eq!(texts(&ok(&mut world, &import), "keyName"), ["b"]);
    let all = ok(&mut world, "Action=DescribeKeyPairs");
    assert_eq!(texts(&all, "keyName"), ["a", "b", "provisioner-test-sim"]);
    let one = ok(&mut world, "Action=DescribeKeyPairs&KeyName.1=a");
    assert_eq!(texts(&one, "value"), ["a"]);
    for _ in 0..2 {
        ok(&mut world, "Action=DeleteKeyPair&KeyName=a");
        assert_eq!(
            refused(&mut world, "Action=DescribeKeyPairs&KeyName.1=a").1,
            "InvalidKeyPair.NotFound"
        );
    }
    ok(&mut world, "Action=DeleteKeyPair&KeyName=provisioner-test-sim");
    assert_eq!(world.key_pair, KeyPair::Absent);
}

#[test]
fn a_worker_profile_is_made_and_deleted_as_in_iam() {
    let mut world = world();
    let mut iam = |call: &str| {
        let answer = answer(&mut world, &format!("Action={call}&Version=2010-05-08"));
        (answer.status, answer.body)
    };
    let role = "CreateRole&RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.1.Key=k&Tags.member.1.Value=v";
    assert_eq!(iam(role).0, 200);
    assert_eq!(iam(role).0, 409, "it exists");
    assert!(iam("GetRole&RoleName=r").1.contains("<Key>k</Key><Value>v</Value>"));
    assert_eq!(iam("CreateInstanceProfile&InstanceProfileName=p").0, 200);
    assert_eq!(iam("AddRoleToInstanceProfile&InstanceProfileName=p&RoleName=r").0, 200);
    assert!(iam("GetInstanceProfile&InstanceProfileName=p").1.contains("<RoleName>r</RoleName>"));
    assert!(iam("DeleteRole&RoleName=r").1.contains("DeleteConflict"));
    assert!(iam("DeleteInstanceProfile&InstanceProfileName=p").1.contains("DeleteConflict"));
    assert_eq!(iam("RemoveRoleFromInstanceProfile&InstanceProfileName=p&RoleName=r").0, 200);
    assert_eq!(iam("DeleteInstanceProfile&InstanceProfileName=p").0, 200);
    assert_eq!(iam("DeleteRole&RoleName=r").0, 200);
    assert_eq!(iam("GetInstanceProfile&InstanceProfileName=p").0, 404);
    let spot = iam("CreateServiceLinkedRole&AWSServiceName=spot.amazonaws.com");
    assert!(spot.1.contains("has been taken"), "{spot:?}");
}

#[test]
fn parameters_of_images_name_the_simulated_one() {
    let asked = r#"{"Name":"/aws/service/ami-amazon-linux-latest/al2023"}"#;
    let answer = ssm::answer("AmazonSSM.GetParameter", asked);
    assert!(answer.status == 200 && answer.body.contains(IMAGE), "{answer:?}");
    let answer = ssm::answer("AmazonSSM.GetParameter", r#"{"Name":"mine"}"#);
    assert!(answer.status == 400 && answer.body.contains("ParameterNotFound"), "{answer:?}");
}
