//! Checks the account's defaults for the instance metadata service, which a spot request cannot override
//! (Amazon EC2 API Reference, `RequestSpotLaunchSpecification`).

use super::facts::{ImageFacts, MetadataDefaults, PreflightFacts};
use super::report::{FindingKind, FindingWriter, Severity};
use crate::settings::WorkerType;

pub(super) fn assess(
    worker_type: &WorkerType,
    facts: &PreflightFacts,
    image: Option<&ImageFacts>,
    about: &mut FindingWriter<'_>,
) {
    // That they could not be read is a finding about the account.
    let Ok(defaults) = &facts.metadata_defaults else { return };
    let MetadataDefaults { tokens_enforced, tokens_required, hop_limit, has_endpoint } = defaults;
    let region = &facts.region;
    // The account's default comes before the image's.
    let image_requires = image.map(|image| image.requires_tokens);
    let requires = tokens_required.or(image_requires);
    if *tokens_enforced {
        let fix = format!(
            "aws ec2 modify-instance-metadata-defaults --region {region} --http-tokens required, so that \
             launches require them by default; or --http-tokens-enforced disabled"
        );
        match requires {
            Some(true) => about.find(
                Severity::Warning,
                FindingKind::Metadata,
                "HttpTokensEnforced",
                "the account refuses launches that do not require session tokens, and a spot request cannot \
                 say so: it depends on the default of the account or the image",
                "keep the account's default at `required`; if launches fail nevertheless, aws ec2 \
                 modify-instance-metadata-defaults --http-tokens-enforced disabled",
            ),
            Some(false) => about.error(
                FindingKind::Metadata,
                "HttpTokensEnforced",
                "the account refuses launches that do not require session tokens (IMDSv2), which a spot \
                 request cannot ask for: every launch fails",
                fix,
            ),
            None => about.find(
                Severity::NotCheckable,
                FindingKind::Metadata,
                "HttpTokensEnforced",
                "the account refuses launches that do not require session tokens (IMDSv2), and the image is \
                 not known",
                fix,
            ),
        }
    }
    if *has_endpoint == Some(false) {
        about.find(
            Severity::Warning,
            FindingKind::Metadata,
            "HttpEndpoint",
            "is disabled by the account: workers see neither their user data nor credentials nor the \
             notice of an interruption",
            format!(
                "aws ec2 modify-instance-metadata-defaults --region {region} --http-endpoint enabled"
            ),
        );
    } else if *hop_limit == Some(1) && worker_type.iam_instance_profile.is_some() {
        about.find(
            Severity::Warning,
            FindingKind::Metadata,
            "HttpPutResponseHopLimit",
            "is 1 by the account's default: containers on a worker get no credentials of its instance \
             profile",
            format!(
                "if tasks run in containers: aws ec2 modify-instance-metadata-defaults --region {region} \
                 --http-put-response-hop-limit 2"
            ),
        );
    }
}
