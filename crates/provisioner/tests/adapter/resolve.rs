//! Resolving names: image parameters, security groups, subnets.

use provisioner::internal::aws::{Error, KnownPlaces};
use provisioner::internal::domain::ids::{InstanceType, SubnetId, Zone};
use provisioner::internal::domain::launch::{ResolvedPlacement, ResolvedWorkerType};
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::WorkerType;

use crate::transport::{Ec2, Reply, Sent};
use crate::xml;

fn worker_type() -> WorkerType {
    WorkerType { image_id: "ami-1".to_owned(), policy: Policy::BASIC, ..WorkerType::example() }
}

fn zones(names: &[&str]) -> Vec<Zone> {
    names.iter().copied().map(Zone::from).collect()
}

fn subnets(ids: &[&str]) -> Vec<SubnetId> {
    ids.iter().copied().map(SubnetId::from).collect()
}

fn groups(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn in_subnet(zone: &str, subnet: &str) -> ResolvedPlacement {
    ResolvedPlacement::new(Some(Zone::from(zone)), Some(SubnetId::from(subnet)))
}

/// Two subnets in `vpc-1`, one in `vpc-2`; a default VPC; groups in each.
fn account() -> Ec2 {
    const SUBNETS: [(&str, &str, &str); 3] = [
        ("subnet-a", "us-west-2a", "vpc-1"),
        ("subnet-b", "us-west-2b", "vpc-1"),
        ("subnet-z", "us-west-2a", "vpc-2"),
    ];
    const GROUPS: [(&str, &str, &str); 6] = [
        ("sg-01", "default", "vpc-1"),
        ("sg-02", "ci workers", "vpc-1"),
        ("sg-03", "twin", "vpc-1"),
        ("sg-04", "twin", "vpc-1"),
        ("sg-05", "default", "vpc-default"),
        ("sg-06", "default", "vpc-2"),
    ];
    Ec2::new(|sent| match sent.action.as_str() {
        "DescribeSubnets" => {
            let ids = sent.filter("subnet-id").unwrap();
            let found =
                SUBNETS.iter().filter(|(id, ..)| ids.contains(id)).map(|(id, zone, vpc)| {
                    format!(
                        "<subnetId>{id}</subnetId><vpcId>{vpc}</vpcId>\
                     <availabilityZone>{zone}</availabilityZone>"
                    )
                });
            one_a_page(sent, "subnetSet", &found.collect::<Vec<_>>())
        }
        "DescribeVpcs" => {
            assert_eq!(sent.filter("is-default"), Some(vec!["true"]));
            one_a_page(sent, "vpcSet", &["<vpcId>vpc-default</vpcId>".to_owned()])
        }
        "DescribeSecurityGroups" => {
            let names = sent.filter("group-name").unwrap();
            let vpc = sent.filter("vpc-id").unwrap();
            let found = GROUPS
                .iter()
                .filter(|(_, name, in_vpc)| names.contains(name) && vpc == [*in_vpc])
                .map(|(id, name, vpc)| {
                    format!(
                        "<groupId>{id}</groupId><groupName>{name}</groupName><vpcId>{vpc}</vpcId>"
                    )
                });
            one_a_page(sent, "securityGroupInfo", &found.collect::<Vec<_>>())
        }
        "GetParameter" => Reply::ok(match sent.get("") {
            r#"{"Name":"/aws/service/ami"}"# => r#"{"Parameter":{"Value":"ami-0123\n"}}"#,
            r#"{"Name":"/json"}"# => r#"{"Parameter":{"Value":"{\"image_id\":\"ami-1\"}"}}"#,
            _ => {
                return Reply::Answer {
                    status: 400,
                    body: r#"{"__type":"ParameterNotFound"}"#.to_owned(),
                };
            }
        }),
        other => panic!("{other}"),
    })
}

/// Pages of one item each.
fn one_a_page(sent: &Sent, set: &str, items: &[String]) -> Reply {
    let page: usize = sent.get("NextToken").parse().unwrap_or(0);
    let item = items.get(page).map(|item| format!("<item>{item}</item>")).unwrap_or_default();
    let next = if page + 1 < items.len() {
        format!("<nextToken>{}</nextToken>", page + 1)
    } else {
        String::new()
    };
    Reply::ok(xml::answer(&sent.action, &format!("<{set}>{item}</{set}>{next}")))
}

async fn resolve(worker_type: &WorkerType) -> Result<ResolvedWorkerType, Error> {
    account().client().resolve(worker_type, &KnownPlaces::default()).await
}

async fn error(worker_type: &WorkerType) -> String {
    resolve(worker_type).await.unwrap_err().to_string()
}

#[tokio::test]
async fn without_names_there_is_no_call() {
    let ec2 = Ec2::script([]);
    let plain = WorkerType { security_groups: groups(&["sg-1", "sg-2", "sg-1"]), ..worker_type() };
    let resolved = ec2.client().resolve(&plain, &KnownPlaces::default()).await.unwrap();
    let expected = ResolvedWorkerType {
        image_id: "ami-1".to_owned(),
        security_group_ids: groups(&["sg-1", "sg-2"]),
        user_data: None,
        placements: vec![ResolvedPlacement::default()],
        lasting_devices: Vec::new(),
    };
    assert_eq!(resolved, expected);

    let zoned =
        WorkerType { availability_zones: zones(&["us-west-2b", "us-west-2a"]), ..worker_type() };
    let in_zone = |zone| ResolvedPlacement::new(Some(Zone::from(zone)), None);
    let placements =
        ec2.client().resolve(&zoned, &KnownPlaces::default()).await.unwrap().placements;
    assert_eq!(placements, ["us-west-2b", "us-west-2a"].map(in_zone));
}

#[tokio::test]
async fn an_image_parameter_is_read_from_ssm() {
    let image = |text: &str| WorkerType { image_id: text.to_owned(), ..worker_type() };
    let ec2 = account();
    let resolved = ec2
        .client()
        .resolve(&image("ssm:/aws/service/ami"), &KnownPlaces::default())
        .await
        .unwrap();
    assert_eq!(resolved.image_id, "ami-0123");
    assert_eq!(ec2.actions(), ["GetParameter"]);

    let error = resolve(&image("ssm:/none")).await.unwrap_err();
    assert!(error.to_string().contains("`/none`"), "{error}");
    assert_eq!(error.code(), "ParameterNotFound");
    let error = resolve(&image("ssm:/json")).await.unwrap_err();
    assert!(error.to_string().contains("is not an image id"), "{error}");
}

#[tokio::test]
async fn subnets_bring_their_zones_in_the_order_configured() {
    let both = WorkerType { subnets: subnets(&["subnet-b", "subnet-a"]), ..worker_type() };
    let placements = resolve(&both).await.unwrap().placements;
    let expected = [in_subnet("us-west-2b", "subnet-b"), in_subnet("us-west-2a", "subnet-a")];
    assert_eq!(placements, expected);

    let one = WorkerType { availability_zones: zones(&["us-west-2a"]), ..both.clone() };
    let placements = resolve(&one).await.unwrap().placements;
    assert_eq!(placements, [in_subnet("us-west-2a", "subnet-a")]);

    let none = WorkerType { availability_zones: zones(&["us-west-2c"]), ..both };
    let error = error(&none).await;
    assert!(error.contains("us-west-2c") && error.contains("us-west-2a, us-west-2b"), "{error}");
}

#[tokio::test]
async fn a_subnet_that_does_not_exist_is_named() {
    let none = WorkerType { subnets: subnets(&["subnet-a", "subnet-0"]), ..worker_type() };
    let error = error(&none).await;
    assert!(error.contains("subnet-0") && !error.contains("subnet-a"), "{error}");
    assert!(error.contains("us-west-2"), "{error}");
}

#[tokio::test]
async fn group_names_are_looked_up_in_the_subnets_vpc() {
    let named = WorkerType {
        subnets: subnets(&["subnet-a", "subnet-b"]),
        security_groups: groups(&["ci workers", "sg-9", "default", "sg-02"]),
        ..worker_type()
    };
    let resolved = resolve(&named).await.unwrap();
    assert_eq!(resolved.security_group_ids, ["sg-02", "sg-9", "sg-01"]);
}

#[tokio::test]
async fn without_subnets_group_names_are_looked_up_in_the_default_vpc() {
    let named = WorkerType { security_groups: groups(&["default"]), ..worker_type() };
    let ec2 = account();
    let resolved = ec2.client().resolve(&named, &KnownPlaces::default()).await.unwrap();
    assert_eq!(resolved.security_group_ids, ["sg-05"]);
    assert_eq!(ec2.actions(), ["DescribeVpcs", "DescribeSecurityGroups"]);

    let no_default = Ec2::script([Reply::ok(xml::answer("DescribeVpcs", "<vpcSet/>"))]);
    let error = no_default.client().resolve(&named, &KnownPlaces::default()).await.unwrap_err();
    assert!(error.to_string().contains("no default VPC"), "{error}");
}

#[tokio::test]
async fn an_unknown_or_ambiguous_group_name_is_an_error_that_names_it() {
    let in_vpc_1 = |names: &[&str]| WorkerType {
        subnets: subnets(&["subnet-a"]),
        security_groups: groups(names),
        ..worker_type()
    };
    let error = resolve(&in_vpc_1(&["default", "absent"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "DescribeSecurityGroups for security group `absent` found nothing to use: no \
         security group of that name in vpc-1"
    );
    assert_eq!(error.class(), RefusalClass::NotFound);

    let error = resolve(&in_vpc_1(&["twin"])).await.unwrap_err().to_string();
    assert!(error.contains("`twin`") && error.contains("sg-03, sg-04"), "{error}");
}

#[tokio::test]
async fn group_names_with_subnets_in_several_vpcs_are_ambiguous() {
    let torn = WorkerType {
        subnets: subnets(&["subnet-a", "subnet-z"]),
        security_groups: groups(&["default"]),
        ..worker_type()
    };
    let error = error(&torn).await;
    assert!(error.contains("vpc-1, vpc-2") && error.contains("`default`"), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_resource() {
    let named = WorkerType { security_groups: groups(&["default"]), ..worker_type() };
    let ec2 = Ec2::new(|_| Reply::error(403, "UnauthorizedOperation"));
    let error = ec2.client().resolve(&named, &KnownPlaces::default()).await.unwrap_err();
    assert_eq!(error.class(), RefusalClass::Unauthorized);
    assert!(error.to_string().contains("the default VPC"), "{error}");
}

#[tokio::test]
async fn places_are_the_default_subnets_with_what_their_zones_offer() {
    let subnet = |id: &str, zone: &str, free: u32| {
        format!(
            "<item><subnetId>{id}</subnetId><vpcId>vpc-1</vpcId>\
             <availabilityZone>{zone}</availabilityZone><defaultForAz>true</defaultForAz>\
             <availableIpAddressCount>{free}</availableIpAddressCount></item>"
        )
    };
    let subnets = format!(
        "<subnetSet>{}{}</subnetSet>",
        subnet("subnet-b", "us-west-2b", 60),
        subnet("subnet-a", "us-west-2a", 7)
    );
    let offered = |kind: &str, zone: &str| {
        format!(
            "<item><instanceType>{kind}</instanceType><locationType>availability-zone\
             </locationType><location>{zone}</location></item>"
        )
    };
    let offerings = format!(
        "<instanceTypeOfferingSet>{}{}{}</instanceTypeOfferingSet>",
        offered("c7g.large", "us-west-2b"),
        offered("m7g.large", "us-west-2a"),
        offered("m7g.large", "us-west-2b")
    );
    let ec2 = Ec2::new(move |sent| match sent.action.as_str() {
        "DescribeSubnets" => {
            assert_eq!(sent.filter("default-for-az"), Some(vec!["true"]));
            Reply::ok(xml::answer("DescribeSubnets", &subnets))
        }
        _ => Reply::ok(xml::answer("DescribeInstanceTypeOfferings", &offerings)),
    });
    let types = ["c7g.large", "m7g.large"].map(InstanceType::from);
    let linux = WorkerType { instance_types: types.to_vec(), ..worker_type() };
    let (known, not_read) = ec2.client().known_places(&[&linux]).await;
    assert!(not_read.is_empty(), "{not_read:?}");
    let placements = ec2.client().resolve(&linux, &known).await.unwrap().placements;
    let of_a = ResolvedPlacement {
        free_addresses: Some(7),
        not_offered: [InstanceType::from("c7g.large")].into(),
        ..in_subnet("us-west-2a", "subnet-a")
    };
    let of_b =
        ResolvedPlacement { free_addresses: Some(60), ..in_subnet("us-west-2b", "subnet-b") };
    assert_eq!(placements, [of_a, of_b]);
}

#[tokio::test]
async fn places_that_cannot_be_read_hold_up_no_launch() {
    let ec2 = Ec2::new(|_| Reply::error(403, "UnauthorizedOperation"));
    let (known, not_read) = ec2.client().known_places(&[&worker_type()]).await;
    assert_eq!(known, KnownPlaces::default());
    assert_eq!(not_read.len(), 2, "{not_read:?}");
    let resolved = ec2.client().resolve(&worker_type(), &known).await.unwrap();
    assert_eq!(resolved.placements, [ResolvedPlacement::default()]);
}

#[tokio::test]
async fn places_are_used_on_while_ec2_does_not_answer_and_forgotten_when_denied() {
    let subnets = "<subnetSet><item><subnetId>subnet-a</subnetId><vpcId>vpc-1</vpcId>\
                   <availabilityZone>us-west-2a</availabilityZone>\
                   <availableIpAddressCount>7</availableIpAddressCount></item></subnetSet>";
    let offerings = "<instanceTypeOfferingSet/>";
    let ec2 = Ec2::new(move |sent| match sent.action.as_str() {
        "DescribeSubnets" => Reply::ok(xml::answer("DescribeSubnets", subnets)),
        other => Reply::ok(xml::answer(other, offerings)),
    });
    let (earlier, _) = ec2.client().known_places(&[&worker_type()]).await;
    for (code, kept) in [("RequestLimitExceeded", true), ("UnauthorizedOperation", false)] {
        let failing = Ec2::new(move |_| Reply::error(400, code));
        let (none, not_read) = failing.client().known_places(&[&worker_type()]).await;
        let known = none.or_earlier(&earlier, &not_read);
        let resolved = failing.client().resolve(&worker_type(), &known).await.unwrap();
        // The number of free addresses is of an earlier time, so it counts as unknown.
        let expected =
            if kept { in_subnet("us-west-2a", "subnet-a") } else { ResolvedPlacement::default() };
        assert_eq!(resolved.placements, [expected], "{code}");
    }
}

#[tokio::test]
async fn volumes_that_outlive_their_instance_are_found_in_the_image() {
    let device =
        |name: &str, ebs: &str| format!("<item><deviceName>{name}</deviceName>{ebs}</item>");
    let images = format!(
        "<imagesSet><item><imageId>ami-1</imageId><blockDeviceMapping>{}{}{}{}</blockDeviceMapping>\
         </item></imagesSet>",
        device("/dev/xvda", "<ebs><deleteOnTermination>true</deleteOnTermination></ebs>"),
        device("/dev/sdb", "<ebs><deleteOnTermination>false</deleteOnTermination></ebs>"),
        device("/dev/sdc", "<ebs/>"),
        device("/dev/sdd", "<virtualName>ephemeral0</virtualName>")
    );
    let ec2 = Ec2::new(move |sent| {
        assert_eq!(sent.filter("image-id"), Some(vec!["ami-1", "ami-2"]));
        Reply::ok(xml::answer("DescribeImages", &images))
    });
    let wanted = ["ami-1", "ami-2"].map(str::to_owned);
    let found = ec2.client().lasting_devices(&wanted).await.unwrap();
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        [("ami-1".to_owned(), vec!["/dev/sdb".to_owned()])]
    );
    assert_eq!(ec2.actions(), ["DescribeImages"]);
}
