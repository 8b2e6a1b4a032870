//! Launching calls: what they contain, and that each is sent once.

use std::collections::BTreeMap;
use std::time::Duration;

use provisioner::internal::aws::Call;
use provisioner::internal::domain::ids::{
    ClientToken, InstanceType, KeyName, SpotRequestId, SubnetId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::launch::{
    BlockDeviceMapping, Ebs, LaunchCall, LaunchSpecification, Monitoring, NetworkInterface,
    Placement,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::observed::SpotRequestState;
use provisioner::internal::domain::refusal::{Refusal, RefusalClass};
use provisioner::internal::engine::{GrantedRequest, Outcome};

use crate::transport::{Ec2, REQUEST_ID, Reply};
use crate::xml;

fn tags() -> BTreeMap<String, String> {
    let tags = [
        ("Name", "linux"),
        ("provisioner:intent", "t-1"),
        ("provisioner:key-name", "k"),
        ("provisioner:worker-type", "linux"),
        ("team", "c&i = ü"),
    ];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

pub(crate) fn call() -> LaunchCall {
    LaunchCall {
        token: ClientToken::from("t-1"),
        worker_type: WorkerTypeName::from("linux"),
        decided: "2026-11-23T12:00:00Z".parse().unwrap(),
        count: 7,
        key_name: KeyName::from("k"),
        image_id: "ami-1".to_owned(),
        instance_type: InstanceType::from("c7g.large"),
        zone: Some(Zone::from("us-west-2a")),
        subnet: None,
        security_group_ids: vec!["sg-1".to_owned(), "sg-2".to_owned()],
        iam_instance_profile: Some("worker".to_owned()),
        user_data: Some("IyEvYmluL3NoCg==".to_owned()),
        max_price: Some(UsdPerHour::from_micros(31_200)),
        valid_until: "2026-11-23T12:12:00.5Z".parse().unwrap(),
        tags: tags(),
        launch_specification: LaunchSpecification::default(),
    }
}

fn granted(ids: &[&str]) -> Reply {
    let requests: Vec<String> = ids
        .iter()
        .map(|id| format!("<item>{}</item>", xml::spot_request(id, "open", "")))
        .collect();
    let set = format!("<spotInstanceRequestSet>{}</spotInstanceRequestSet>", requests.concat());
    Reply::ok(xml::answer("RequestSpotInstances", &set))
}

async fn sent(call: &LaunchCall) -> BTreeMap<String, String> {
    let ec2 = Ec2::script([granted(&["sir-1"])]);
    let outcome = ec2.client().execute(Call::Request(call)).await;
    let open = SpotRequestState::Open;
    let expected = vec![GrantedRequest { id: SpotRequestId::from("sir-1"), state: open }];
    assert_eq!(outcome, Outcome::Requested(expected));
    let sent = ec2.only();
    assert_eq!(sent.action, "RequestSpotInstances");
    sent.params
}

fn params<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn the_call_contains_everything_and_nothing_else() {
    let expected = params([
        ("ClientToken", "t-1"),
        ("InstanceCount", "7"),
        ("SpotPrice", "0.0312"),
        ("Type", "one-time"),
        ("ValidUntil", "2026-11-23T12:12:00Z"),
        ("LaunchSpecification.IamInstanceProfile.Name", "worker"),
        ("LaunchSpecification.ImageId", "ami-1"),
        ("LaunchSpecification.InstanceType", "c7g.large"),
        ("LaunchSpecification.KeyName", "k"),
        ("LaunchSpecification.Placement.AvailabilityZone", "us-west-2a"),
        ("LaunchSpecification.SecurityGroupId.1", "sg-1"),
        ("LaunchSpecification.SecurityGroupId.2", "sg-2"),
        ("LaunchSpecification.UserData", "IyEvYmluL3NoCg=="),
        ("TagSpecification.1.ResourceType", "spot-instances-request"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "linux"),
        ("TagSpecification.1.Tag.2.Key", "provisioner:intent"),
        ("TagSpecification.1.Tag.2.Value", "t-1"),
        ("TagSpecification.1.Tag.3.Key", "provisioner:key-name"),
        ("TagSpecification.1.Tag.3.Value", "k"),
        ("TagSpecification.1.Tag.4.Key", "provisioner:worker-type"),
        ("TagSpecification.1.Tag.4.Value", "linux"),
        ("TagSpecification.1.Tag.5.Key", "team"),
        ("TagSpecification.1.Tag.5.Value", "c&i = ü"),
    ]);
    assert_eq!(sent(&call()).await, expected);
    // Byte for byte the same when it is repeated.
    assert_eq!(sent(&call()).await, expected);
}

#[tokio::test]
async fn what_is_not_set_is_not_sent() {
    let call = LaunchCall {
        zone: None,
        security_group_ids: Vec::new(),
        iam_instance_profile: None,
        user_data: None,
        max_price: None,
        tags: BTreeMap::new(),
        ..call()
    };
    let expected = params([
        ("ClientToken", "t-1"),
        ("InstanceCount", "7"),
        ("Type", "one-time"),
        ("ValidUntil", "2026-11-23T12:12:00Z"),
        ("LaunchSpecification.ImageId", "ami-1"),
        ("LaunchSpecification.InstanceType", "c7g.large"),
        ("LaunchSpecification.KeyName", "k"),
        ("TagSpecification.1.ResourceType", "spot-instances-request"),
    ]);
    assert_eq!(sent(&call).await, expected);
}

#[tokio::test]
async fn a_profile_goes_by_name_or_by_arn() {
    let arn = "arn:aws:iam::123456789012:instance-profile/ci/worker";
    let call = LaunchCall { iam_instance_profile: Some(arn.to_owned()), ..call() };
    let sent = sent(&call).await;
    assert_eq!(sent["LaunchSpecification.IamInstanceProfile.Arn"], arn);
    assert!(!sent.contains_key("LaunchSpecification.IamInstanceProfile.Name"));
}

#[tokio::test]
async fn a_subnet_goes_without_its_zone() {
    let call = LaunchCall { subnet: Some(SubnetId::from("subnet-1")), ..call() };
    let sent = sent(&call).await;
    assert_eq!(sent["LaunchSpecification.SubnetId"], "subnet-1");
    assert!(!sent.contains_key("LaunchSpecification.Placement.AvailabilityZone"));
}

#[tokio::test]
async fn the_launch_specification_goes_as_configured() {
    let call = LaunchCall {
        subnet: Some(SubnetId::from("subnet-1")),
        launch_specification: LaunchSpecification {
            block_device_mappings: vec![
                BlockDeviceMapping {
                    device_name: Some("/dev/xvda".to_owned()),
                    ebs: Some(Ebs {
                        delete_on_termination: Some(true),
                        encrypted: Some(true),
                        iops: Some(4000),
                        throughput: Some(250),
                        kms_key_id: Some("alias/k".to_owned()),
                        snapshot_id: Some("snap-1".to_owned()),
                        volume_size: Some(80),
                        volume_type: Some("gp3".to_owned()),
                    }),
                    ..BlockDeviceMapping::default()
                },
                BlockDeviceMapping {
                    device_name: Some("/dev/sdb".to_owned()),
                    virtual_name: Some("ephemeral0".to_owned()),
                    ..BlockDeviceMapping::default()
                },
            ],
            ebs_optimized: Some(true),
            monitoring: Some(Monitoring { enabled: true }),
            placement: Some(Placement { tenancy: "dedicated".to_owned() }),
            network_interfaces: vec![NetworkInterface {
                associate_public_ip_address: Some(false),
                delete_on_termination: Some(true),
                ..NetworkInterface::default()
            }],
        },
        ..call()
    };
    let sent = sent(&call).await;
    let beside = ["ImageId", "InstanceType", "KeyName", "UserData", "IamInstanceProfile.Name"];
    let specification: BTreeMap<String, String> = sent
        .into_iter()
        .filter_map(|(key, value)| {
            let key = key.strip_prefix("LaunchSpecification.")?;
            (!beside.contains(&key)).then(|| (key.to_owned(), value))
        })
        .collect();
    let expected = params([
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.Iops", "4000"),
        ("BlockDeviceMapping.1.Ebs.KmsKeyId", "alias/k"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", "snap-1"),
        ("BlockDeviceMapping.1.Ebs.Throughput", "250"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "80"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("BlockDeviceMapping.2.DeviceName", "/dev/sdb"),
        ("BlockDeviceMapping.2.VirtualName", "ephemeral0"),
        ("EbsOptimized", "true"),
        ("Monitoring.Enabled", "true"),
        // EC2 takes subnet and groups from the interfaces, if there are any.
        ("NetworkInterface.1.AssociatePublicIpAddress", "false"),
        ("NetworkInterface.1.DeleteOnTermination", "true"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
        ("NetworkInterface.1.SecurityGroupId.2", "sg-2"),
        ("NetworkInterface.1.SubnetId", "subnet-1"),
        ("Placement.Tenancy", "dedicated"),
    ]);
    assert_eq!(specification, expected);
}

async fn refused(reply: Reply) -> (Refusal, Ec2) {
    let ec2 = Ec2::new(move |_| reply.clone());
    match ec2.client().execute(Call::Request(&call())).await {
        Outcome::Refused(refusal) => (refusal, ec2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_classed_and_the_call_sent_once() {
    use RefusalClass as C;
    for (status, code, class) in [
        (500, "InsufficientInstanceCapacity", C::NoCapacity),
        (400, "SpotMaxPriceTooLow", C::NoCapacity),
        (503, "RequestLimitExceeded", C::Throttled),
        (400, "Throttling", C::Throttled),
        (500, "InternalError", C::Transient),
        (503, "Unavailable", C::Transient),
        (400, "MaxSpotInstanceCountExceeded", C::Quota),
        (400, "InvalidAMIID.NotFound", C::NotFound),
        (403, "UnauthorizedOperation", C::Unauthorized),
        (400, "IdempotentParameterMismatch", C::IdempotentMismatch),
        (400, "InvalidParameterCombination", C::Invalid),
        (400, "SomethingNew", C::Invalid),
        (500, "SomethingNew", C::Transient),
    ] {
        let (refusal, ec2) = refused(Reply::error(status, code)).await;
        assert_eq!(refusal.class, class, "{code} {status}");
        assert_eq!(refusal.to_string(), format!("{code}: because (request {REQUEST_ID})"));
        assert_eq!(ec2.sent().len(), 1, "{code} {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_readable_answer_it_may_have_been_done_and_is_sent_once() {
    let cut_off = match granted(&["sir-1", "sir-2"]) {
        Reply::Answer { body, .. } => body[..body.find("sir-2").unwrap()].to_owned(),
        other => panic!("{other:?}"),
    };
    for reply in [
        Reply::Hang,
        Reply::Reset,
        Reply::After(Duration::from_secs(3), Box::new(Reply::Reset)),
        Reply::Answer { status: 500, body: "<html><body>Sorry</body></html>".to_owned() },
        Reply::Answer { status: 503, body: String::new() },
        Reply::ok(""),
        Reply::ok("garbage"),
        Reply::ok(cut_off),
    ] {
        let shown = format!("{reply:?}");
        let start = tokio::time::Instant::now();
        let (refusal, ec2) = refused(reply).await;
        assert_eq!(refusal.class, RefusalClass::Transient, "{shown}: {refusal}");
        assert!(!refusal.class.is_definite());
        assert_eq!(ec2.sent().len(), 1, "{shown}");
        assert!(start.elapsed() <= Duration::from_mins(1), "{shown}");
    }
}

#[tokio::test]
async fn fewer_may_be_granted_than_asked_for() {
    let ec2 = Ec2::script([granted(&["sir-1", "sir-2"]), granted(&[])]);
    let client = ec2.client();
    for expected in [2, 0] {
        match client.execute(Call::Request(&call())).await {
            Outcome::Requested(granted) => assert_eq!(granted.len(), expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_client_stays_willing_after_many_refusals() {
    // The SDK's retry quota must not run dry on errors that it does not repeat anyway.
    let ec2 = Ec2::new(|_| Reply::error(500, "InsufficientInstanceCapacity"));
    let client = ec2.client();
    for n in 1..=300 {
        let outcome = client.execute(Call::Request(&call())).await;
        assert!(matches!(outcome, Outcome::Refused(_)));
        assert_eq!(ec2.sent().len(), n);
    }
}
