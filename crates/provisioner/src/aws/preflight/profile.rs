//! Checks the instance profile and the user data of a worker type.

use super::facts::{InstanceProfileFacts, WorkerTypeFacts};
use super::report::{CallNeed, FindingKind, FindingWriter};
use crate::domain::launch::profile_name;
use crate::settings::WorkerType;

pub(super) fn assess(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    about: &mut FindingWriter<'_>,
) {
    if let (Some(name), Some(profile)) = (&worker_type.iam_instance_profile, &found.profile) {
        match profile {
            Ok(Some(InstanceProfileFacts { has_role: true })) => {
                about.good(FindingKind::InstanceProfile, name, "exists and has a role");
            }
            Ok(Some(InstanceProfileFacts { has_role: false })) => about.error(
                FindingKind::InstanceProfile,
                name,
                "has no role in it: EC2 refuses launches with it",
                format!(
                    "aws iam add-role-to-instance-profile --instance-profile-name {} --role-name …",
                    profile_name(name)
                ),
            ),
            Ok(None) => about.error(
                FindingKind::InstanceProfile,
                name,
                "does not exist in this account",
                "correct `iam-instance-profile` (a profile's name is not always its role's), or make one: \
                 `setup-aws --with-worker-profile`",
            ),
            Err(refusal) => about.unknown(
                FindingKind::InstanceProfile,
                name,
                "iam:GetInstanceProfile",
                CallNeed::Optional,
                refusal,
                "correct `iam-instance-profile`",
            ),
        }
    }
    match &found.user_data {
        Ok(()) if worker_type.user_data.is_some() => {
            about.good(FindingKind::UserData, "", "can be sent");
        }
        Ok(()) => {}
        Err(why) => about.error(FindingKind::UserData, "", why, "correct the user data"),
    }
}
