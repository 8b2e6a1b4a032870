//! Checks what concerns all worker types: the key pair, the spot role, capacity.

use super::facts::{AllowedImages, PreflightFacts};
use super::report::{CallNeed, FindingKind, FindingWriter, PreflightReport, Severity};
use crate::domain::launch::SPOT_ROLE;
use crate::domain::observed::KeyPair;
use crate::settings::Settings;

pub(super) fn assess(settings: &Settings, facts: &PreflightFacts, report: &mut PreflightReport) {
    let key_name = settings.provisioner.key_name.as_ref().map(ToString::to_string);
    let key_name = key_name.unwrap_or_default();
    let mut about = report.about_all_worker_types();
    match &facts.key_pair {
        Ok(KeyPair::Ours) => about.good(FindingKind::KeyPair, key_name, "exists and is ours"),
        Ok(KeyPair::Foreign) if settings.provisioner.adopt_key_name => {
            about.good(FindingKind::KeyPair, key_name, "exists and is adopted");
        }
        Ok(KeyPair::Foreign) => about.find(
            Severity::Warning,
            FindingKind::KeyPair,
            key_name,
            "exists without our tag: it may be somebody else's, so strays under it are kept",
            "let `setup-aws` make one, or set `provisioner.adopt-key-name = true` if it is ours alone",
        ),
        Ok(KeyPair::Absent | KeyPair::Unknown) => about.error(
            FindingKind::KeyPair,
            key_name,
            format!("does not exist in {}: every launch fails", facts.region),
            "`setup-aws` makes a key pair and saves its name",
        ),
        Err(refusal) => about.unknown(
            FindingKind::KeyPair,
            key_name,
            "DescribeKeyPairs",
            CallNeed::Run,
            refusal,
            "check the key-name",
        ),
    }
    if let Err(refusal) = &facts.default_subnets {
        about.unknown(
            FindingKind::Subnet,
            "default subnets",
            "DescribeSubnets",
            CallNeed::ValidateOnly,
            refusal,
            "name `subnets`",
        );
    }
    metadata_defaults(facts, &mut about);
    allowed_images(facts, &mut about);
    match &facts.spot_role {
        Ok(true) => about.good(FindingKind::SpotRole, SPOT_ROLE, "exists"),
        Ok(false) => about.find(
            Severity::Warning,
            FindingKind::SpotRole,
            SPOT_ROLE,
            "does not exist yet: the first spot request makes it, if its caller may",
            "`setup-aws` makes it; or an administrator runs once: aws iam create-service-linked-role \
             --aws-service-name spot.amazonaws.com",
        ),
        Err(refusal) => {
            about.unknown(FindingKind::SpotRole, SPOT_ROLE, "iam:GetRole", CallNeed::Optional, refusal, "");
        }
    }
    about.find(
        Severity::NotCheckable,
        FindingKind::Capacity,
        "",
        "whether EC2 has spot capacity: only a request shows it",
        "name several instance types and zones, in case one of them has no capacity",
    );
}

fn metadata_defaults(facts: &PreflightFacts, about: &mut FindingWriter<'_>) {
    match &facts.metadata_defaults {
        Ok(_) => about.good(FindingKind::Metadata, "", "the account's defaults are known"),
        Err(refusal) => about.unknown(
            FindingKind::Metadata,
            "",
            "GetInstanceMetadataDefaults",
            CallNeed::AccountSetting,
            refusal,
            "see the data protection settings of the region in the EC2 console",
        ),
    }
}

fn allowed_images(facts: &PreflightFacts, about: &mut FindingWriter<'_>) {
    const SUBJECT: &str = "allowed images";
    match &facts.allowed_images {
        Ok(AllowedImages::All) => about.good(FindingKind::Image, SUBJECT, "are not limited"),
        Ok(AllowedImages::Audited) => about.good(FindingKind::Image, SUBJECT, "are only audited"),
        Ok(AllowedImages::Listed) => {
            about.good(FindingKind::Image, SUBJECT, "are limited by the account's criteria");
        }
        Err(refusal) => about.unknown(
            FindingKind::Image,
            SUBJECT,
            "GetAllowedImagesSettings",
            CallNeed::AccountSetting,
            refusal,
            "see the data protection settings of the region in the EC2 console",
        ),
    }
}
