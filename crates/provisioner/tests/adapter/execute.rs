//! Cancelling, terminating and tagging, in bulk and with repetitions.

use std::collections::BTreeMap;

use provisioner::internal::aws::Call;
use provisioner::internal::domain::ids::{InstanceId, SpotRequestId};
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner::internal::engine::Outcome;

use crate::transport::{Ec2, Reply};
use crate::xml;

fn instances(n: usize) -> Vec<InstanceId> {
    (0..n).map(|n| InstanceId::new(format!("i-{n:017x}"))).collect()
}

fn spot_requests(n: usize) -> Vec<SpotRequestId> {
    (0..n).map(|n| SpotRequestId::new(format!("sir-{n:08x}"))).collect()
}

fn tags() -> BTreeMap<String, String> {
    [("Name", "linux"), ("provisioner:worker-type", "linux")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// An answer of success that lists no ids.
fn done(action: &str) -> Reply {
    Reply::ok(xml::answer(action, "<return>true</return>"))
}

#[tokio::test]
async fn a_thousand_are_cancelled_in_one_call() {
    let ids = spot_requests(1000);
    let ec2 = Ec2::script([done("CancelSpotInstanceRequests")]);
    assert_eq!(ec2.client().execute(Call::Cancel(&ids)).await, Outcome::Done);
    let sent = ec2.only();
    assert_eq!(sent.action, "CancelSpotInstanceRequests");
    let asked: Vec<_> = ids.iter().map(SpotRequestId::as_str).collect();
    assert_eq!(sent.list("SpotInstanceRequestId"), asked);
    assert_eq!(sent.params.len(), 1000);
}

#[tokio::test]
async fn a_thousand_are_terminated_in_one_call() {
    let ids = instances(1000);
    let ec2 = Ec2::script([done("TerminateInstances")]);
    assert_eq!(ec2.client().execute(Call::Terminate(&ids)).await, Outcome::Done);
    let sent = ec2.only();
    assert_eq!(sent.action, "TerminateInstances");
    let asked: Vec<_> = ids.iter().map(InstanceId::as_str).collect();
    assert_eq!(sent.list("InstanceId"), asked);
    assert_eq!(sent.params.len(), 1000);
}

#[tokio::test]
async fn a_thousand_are_tagged_in_one_call() {
    let ids = instances(1000);
    let tags = tags();
    let ec2 = Ec2::script([done("CreateTags")]);
    let call = Call::Tag { instances: &ids, volumes: &[], tags: &tags };
    assert_eq!(ec2.client().execute(call).await, Outcome::Done);
    let sent = ec2.only();
    assert_eq!(sent.action, "CreateTags");
    assert_eq!(sent.list("ResourceId").len(), 1000);
    assert_eq!((sent.get("Tag.1.Key"), sent.get("Tag.1.Value")), ("Name", "linux"));
    assert_eq!(sent.get("Tag.2.Key"), "provisioner:worker-type");
    assert_eq!(sent.params.len(), 1004);
}

#[tokio::test]
async fn nothing_to_do_is_done_without_a_call() {
    let ec2 = Ec2::script([]);
    let client = ec2.client();
    let tags = tags();
    for call in [
        Call::Cancel(&[]),
        Call::Terminate(&[]),
        Call::Tag { instances: &[], volumes: &[], tags: &tags },
    ] {
        assert_eq!(client.execute(call).await, Outcome::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn they_are_repeated_when_throttled_or_lost() {
    let requests = spot_requests(2);
    let instances = instances(2);
    let tags = tags();
    for (call, action) in [
        (Call::Cancel(&requests), "CancelSpotInstanceRequests"),
        (Call::Terminate(&instances), "TerminateInstances"),
        (Call::Tag { instances: &instances, volumes: &[], tags: &tags }, "CreateTags"),
    ] {
        let ec2 =
            Ec2::script([Reply::error(503, "RequestLimitExceeded"), Reply::Reset, done(action)]);
        assert_eq!(ec2.client().execute(call).await, Outcome::Done);
        assert_eq!(ec2.actions(), [action; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_which_ids() {
    let message = "The instance IDs 'i-1, i-2' do not exist";
    let ec2 = Ec2::new(move |_| Reply::Answer {
        status: 400,
        body: xml::error("InvalidInstanceID.NotFound", message),
    });
    let ids = ["i-1", "i-2", "i-3"].map(InstanceId::from);
    let Outcome::Refused(refusal) = ec2.client().execute(Call::Terminate(&ids)).await else {
        panic!("not refused")
    };
    assert_eq!(refusal.class, RefusalClass::NotFound);
    assert_eq!(refusal.message, message);
    assert_eq!(ec2.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn they_end_when_ec2_is_silent() {
    let ec2 = Ec2::new(|_| Reply::Hang);
    let ids = instances(1);
    let start = tokio::time::Instant::now();
    let Outcome::Refused(refusal) = ec2.client().execute(Call::Terminate(&ids)).await else {
        panic!("not refused")
    };
    assert_eq!((refusal.class, refusal.code.as_str()), (RefusalClass::Transient, "timeout"));
    assert!(start.elapsed() <= std::time::Duration::from_mins(1));
}
