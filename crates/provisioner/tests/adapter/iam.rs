//! IAM's lag, and EC2's answer about a profile that it does not know.

use std::path::PathBuf;
use std::time::Duration;

use provisioner::internal::aws::Call;
use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::domain::refusal::RefusalClass;
use provisioner::internal::engine::Outcome;
use provisioner::internal::setup::{self, SetupReport, SpotRoleState};
use tokio::time::Instant;

use crate::request::call;
use crate::transport::{Ec2, Reply};
use crate::xml;

fn report() -> SetupReport {
    SetupReport {
        version: 1,
        dry_run: false,
        key_name: KeyName::from("k"),
        region: "us-west-2".to_owned(),
        account_id: "1".to_owned(),
        config_file: PathBuf::from("provisioner.toml"),
        private_key: None,
        public_key: None,
        iam_instance_profile: Some(KeyName::from("k")),
        spot_role: SpotRoleState::Unknown,
        state_dir: PathBuf::from("state"),
        replaced: None,
        retired: None,
        warnings: Vec::new(),
    }
}

const ROLE: &str = "<Path>/</Path><RoleName>k</RoleName><RoleId>AROA1</RoleId>\
                    <Arn>arn:aws:iam::1:role/k</Arn><CreateDate>2026-11-23T11:00:00Z</CreateDate>";

fn profile(roles: &str) -> Reply {
    Reply::ok(format!(
        "<GetInstanceProfileResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
         <GetInstanceProfileResult><InstanceProfile><Path>/</Path>\
         <InstanceProfileName>k</InstanceProfileName><InstanceProfileId>AIPA1</InstanceProfileId>\
         <Arn>arn:aws:iam::1:instance-profile/k</Arn><CreateDate>2026-11-23T11:00:00Z</CreateDate>\
         <Roles>{roles}</Roles></InstanceProfile></GetInstanceProfileResult>\
         </GetInstanceProfileResponse>"
    ))
}

fn spot_role() -> Reply {
    Reply::ok(format!(
        "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role>{ROLE}\
         </Role></GetRoleResult></GetRoleResponse>"
    ))
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    Reply::Answer { status, body }
}

fn absent() -> Reply {
    refused(404, "NoSuchEntity", "it cannot be found")
}

#[tokio::test(start_paused = true)]
async fn a_profile_is_waited_for_until_its_role_shows() {
    let role = format!("<member>{ROLE}</member>");
    let ec2 = Ec2::script([spot_role(), absent(), profile(""), profile(&role)]);
    let mut report = report();
    let mut progress_lines = 0;
    setup::finish(&ec2.client(), &mut report, &mut |_| progress_lines += 1).await;
    assert_eq!(report.spot_role, SpotRoleState::Exists);
    assert_eq!((report.warnings.as_slice(), progress_lines), (&[][..], 2));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_profile_ends() {
    let ec2 = Ec2::new(|sent| match sent.action.as_str() {
        "GetRole" => spot_role(),
        _ => absent(),
    });
    let start = Instant::now();
    let mut report = report();
    setup::finish(&ec2.client(), &mut report, &mut |_| {}).await;
    assert!(start.elapsed() < Duration::from_mins(1), "{:?}", start.elapsed());
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].message.contains("`k`"), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_spot_role_made_by_somebody_else_meanwhile_is_there() {
    let taken = "Service role name AWSServiceRoleForEC2Spot has been taken in this account, please try a \
                 different suffix.";
    let ec2 = Ec2::script([absent(), refused(400, "InvalidInput", taken)]);
    let mut report = SetupReport { iam_instance_profile: None, ..report() };
    setup::finish(&ec2.client(), &mut report, &mut |_| {}).await;
    assert_eq!((report.spot_role, report.warnings.len()), (SpotRoleState::Exists, 0));
    assert_eq!(ec2.sent()[1].get("AWSServiceName"), "spot.amazonaws.com");

    // Any other refusal remains an error.
    let ec2 = Ec2::script([absent(), refused(400, "InvalidInput", "the suffix is too long")]);
    setup::finish(&ec2.client(), &mut report, &mut |_| {}).await;
    assert_eq!(report.warnings.len(), 1);
}

#[tokio::test]
async fn an_unknown_profile_has_a_class_of_its_own() {
    let message = "Value (k) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile \
                   name";
    let body = xml::error("InvalidParameterValue", message);
    let ec2 = Ec2::script([Reply::Answer { status: 400, body }]);
    let client = ec2.client();
    let Outcome::Refused(refusal) = client.execute(Call::Request(&call())).await else {
        panic!("it was refused");
    };
    assert_eq!(refusal.class, RefusalClass::UnknownProfile);
    assert_eq!(refusal.message, message);
    let counted = ("RequestSpotInstances".to_owned(), Some(RefusalClass::UnknownProfile));
    assert_eq!(client.call_counter().counts().get(&counted), Some(&1));
}
