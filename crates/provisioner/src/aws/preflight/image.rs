//! Checks the image of a worker type.

use jiff::Timestamp;

use super::facts::{AllowedImages, ImageFacts, PreflightFacts, WorkerTypeFacts};
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
use crate::domain::observed::KeyPairType;
use crate::settings::WorkerType;

/// Returns the image for the checks that depend on it.
pub(super) fn assess<'f>(
    worker_type: &WorkerType,
    found: &WorkerTypeFacts,
    facts: &'f PreflightFacts,
    now: Timestamp,
    about: &mut FindingWriter<'_>,
) -> Option<&'f ImageFacts> {
    let configured = &worker_type.image_id;
    let id = match &found.image_id {
        Ok(id) => id,
        Err(refusal) => {
            let fix = "check the parameter's name and the region (aws ssm get-parameter --name …)";
            about.unknown(
                FindingKind::Image,
                configured,
                "ssm:GetParameter",
                CallNeed::Run,
                refusal,
                fix,
            );
            return None;
        }
    };
    let subject = if id == configured { id.clone() } else { format!("{id} (from {configured})") };
    let images = match &facts.images {
        Ok(images) => images,
        Err(refusal) => {
            let fix = "check `image-id`";
            let needed = CallNeed::ValidateOnly;
            about.unknown(FindingKind::Image, subject, "DescribeImages", needed, refusal, fix);
            return None;
        }
    };
    let Some(image) = images.get(id) else {
        let text =
            format!("does not exist in {}, or is not shared with this account", facts.region);
        let fix = "image ids differ from region to region: check `image-id` and the region";
        if facts.allowed_images == Ok(AllowedImages::Listed) {
            // EC2 does not show images that the account does not allow.
            let text = format!("{text}, or the account's allowed-images settings exclude it");
            let fix = format!("{fix}; {}", allow_it(facts));
            about.error(FindingKind::Image, subject, text, fix);
        } else {
            about.error(FindingKind::Image, subject, text, fix);
        }
        return None;
    };
    windows_key(image, facts, about);
    if image.allowed == Some(false) && not_allowed(&subject, facts, about) {
        return Some(image);
    }
    if let Some(state) = image.state.as_deref().filter(|state| *state != "available") {
        let text = format!("is {state}, not available");
        about.error(
            FindingKind::Image,
            subject,
            text,
            "wait until it is available, or use another",
        );
        return Some(image);
    }
    if let Some(since) = image.deprecated.filter(|since| *since <= now) {
        let text = format!("is deprecated since {since}");
        about.find(Severity::Warning, FindingKind::Image, subject, text, "use a newer image");
        return Some(image);
    }
    let architecture = image.architecture.as_deref();
    let text =
        architecture.map_or_else(|| "exists".to_owned(), |name| format!("available, {name}"));
    about.good(FindingKind::Image, subject, text);
    Some(image)
}

/// Reports an image that the account's settings do not allow. Returns whether a finding says so.
fn not_allowed(subject: &str, facts: &PreflightFacts, about: &mut FindingWriter<'_>) -> bool {
    match &facts.allowed_images {
        Ok(AllowedImages::All) => return false,
        Ok(AllowedImages::Listed) => about.error(
            FindingKind::Image,
            subject,
            "is not allowed by the account's allowed-images settings: every launch fails",
            allow_it(facts),
        ),
        Ok(AllowedImages::Audited) => about.find(
            Severity::Warning,
            FindingKind::Image,
            subject,
            "is not among the account's allowed images; that is only audited now, and its launches fail once \
             it is enforced",
            allow_it(facts),
        ),
        Err(_) => about.find(
            Severity::NotCheckable,
            FindingKind::Image,
            subject,
            "is not among the account's allowed images; whether that is enforced is not known",
            allow_it(facts),
        ),
    }
    true
}

fn allow_it(facts: &PreflightFacts) -> String {
    format!(
        "use an image that `aws ec2 get-allowed-images-settings --region {}` allows, or have its criteria \
         extended",
        facts.region
    )
}

/// Reports a Windows image whose launches EC2 refuses because of the key pair (EC2 User Guide, "Create a key
/// pair for your Amazon EC2 instance").
fn windows_key(image: &ImageFacts, facts: &PreflightFacts, about: &mut FindingWriter<'_>) {
    if image.is_windows() && facts.key_type == Some(KeyPairType::Ed25519) {
        about.error(
            FindingKind::KeyPair,
            "",
            "is of type ED25519, with which EC2 launches no Windows image",
            "make a deployment with an RSA key pair: `cleanup-aws`, then `setup-aws --key-type rsa`",
        );
    }
}
