//! Volumes under our tag: how `cleanup-aws` finds and deletes them.

use std::sync::Mutex;
use std::time::Duration;

use provisioner::internal::cleanup::{self, CleanupOptions, CleanupOutcome, CleanupPlan};
use provisioner::internal::config::edit::ConfigFile;
use provisioner::internal::domain::ids::KeyName;

use crate::transport::{Ec2, Reply, Sent};
use crate::xml;

/// A volume of ours, with its state and whether its machine takes it along, if it has one.
fn volume(id: &str, state: &str, ends_with_machine: Option<bool>) -> String {
    let attached = ends_with_machine.map_or_else(String::new, |ends| {
        format!("<item><deleteOnTermination>{ends}</deleteOnTermination></item>")
    });
    format!(
        "<item><volumeId>{id}</volumeId><status>{state}</status>{}<attachmentSet>{attached}\
         </attachmentSet></item>",
        xml::tags(&[("provisioner:key-name", "k")])
    )
}

/// An account with nothing else.
fn answer(sent: &Sent, volumes: &[String]) -> Reply {
    let inside = match sent.action.as_str() {
        "GetCallerIdentity" => {
            return Reply::ok(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>",
            );
        }
        "DescribeKeyPairs" => return Reply::error(400, "InvalidKeyPair.NotFound"),
        "DescribeVolumes" => {
            assert_eq!(sent.filter("tag:provisioner:key-name"), Some(vec!["k"]));
            format!("<volumeSet>{}</volumeSet>", volumes.concat())
        }
        "GetRole" | "GetInstanceProfile" => {
            let body = "<ErrorResponse><Error><Code>NoSuchEntity</Code></Error></ErrorResponse>";
            return Reply::Answer { status: 404, body: body.to_owned() };
        }
        "DescribeInstances" => return Reply::ok(xml::no_instances()),
        "DescribeSpotInstanceRequests" => return Reply::ok(xml::spot_requests(&[], "")),
        _ => String::new(),
    };
    Reply::ok(xml::answer(&sent.action, &inside))
}

/// Cleans up, and returns the outcome and what is left with the reason.
async fn clean_up(ec2: &Ec2, listed: &[&str]) -> (CleanupOutcome, Vec<(String, String)>) {
    let dir = tempfile::tempdir().unwrap();
    let file = ConfigFile::open(&dir.path().join("provisioner.toml")).unwrap();
    let client = ec2.client();
    let names = [KeyName::from("k")];
    let targets = cleanup::targets(&file.saved().unwrap(), &names, client.region()).unwrap();
    let plan = CleanupPlan::make(&client, targets).await.unwrap();
    assert_eq!(plan.key_names[0].volumes, listed);
    let options = CleanupOptions {
        yes: true,
        timeout: Duration::from_mins(2),
        state_dir: Some(dir.path().join("state")),
        ..CleanupOptions::default()
    };
    let report = cleanup::execute(&client, plan, file, &options, &mut |_| {}).await.unwrap();
    let left = report.key_names[0].left.iter();
    (report.outcome, left.map(|left| (left.what.clone(), left.why.clone())).collect())
}

fn deleted(ec2: &Ec2) -> Vec<String> {
    let sent = ec2.sent().into_iter().filter(|sent| sent.action == "DeleteVolume");
    sent.map(|sent| sent.get("VolumeId").to_owned()).collect()
}

/// Returns a counter of the listings of volumes, this one included.
fn listings() -> impl Fn(&Sent) -> usize + Send + Sync {
    let n = Mutex::new(0);
    move |sent| {
        let mut n = n.lock().unwrap();
        *n += usize::from(sent.action == "DescribeVolumes");
        *n
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_is_deleted_once_it_is_free() {
    let listing = listings();
    let ec2 = Ec2::new(move |sent| {
        let state = if listing(sent) < 4 { "in-use" } else { "available" };
        // It is shown on after it was deleted.
        answer(sent, &[volume("vol-1", state, None)])
    });
    assert_eq!(clean_up(&ec2, &["vol-1"]).await, (CleanupOutcome::Done, Vec::new()));
    assert_eq!(deleted(&ec2), ["vol-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_ends_with_its_machine_is_not_listed() {
    let listing = listings();
    let ec2 = Ec2::new(move |sent| {
        let volumes = [volume("vol-1", "in-use", Some(true)), volume("vol-2", "deleting", None)];
        answer(sent, if listing(sent) < 3 { &volumes } else { &volumes[1..] })
    });
    assert_eq!(clean_up(&ec2, &[]).await, (CleanupOutcome::Done, Vec::new()));
    assert!(deleted(&ec2).is_empty());
}

#[tokio::test(start_paused = true)]
async fn volumes_that_stay_are_named_with_the_reason() {
    let volumes = [
        volume("vol-1", "available", None),
        volume("vol-2", "in-use", Some(false)),
        volume("vol-3", "available", None),
    ];
    let ec2 = Ec2::new(move |sent| match sent.get("VolumeId") {
        "vol-3" => Reply::error(403, "UnauthorizedOperation"),
        _ => answer(sent, &volumes),
    });
    let (outcome, left) = clean_up(&ec2, &["vol-1", "vol-2", "vol-3"]).await;
    assert_eq!(outcome, CleanupOutcome::Partly);
    let [(two, attached), (three, denied)] = left.as_slice() else { panic!("{left:?}") };
    assert!(two == "volume vol-2" && attached.contains("attached"), "{two}: {attached}");
    assert!(three == "volume vol-3" && denied.contains("UnauthorizedOperation"), "{denied}");
    assert_eq!(deleted(&ec2), ["vol-1", "vol-3"], "each is tried once");
}
