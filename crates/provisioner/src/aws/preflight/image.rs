//! Checks the image of a worker type.

use jiff::Timestamp;

use super::facts::{ImageFacts, PreflightFacts, WorkerTypeFacts};
use super::report::{CallNeed, FindingKind, FindingWriter, Severity};
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
        about.error(
            FindingKind::Image,
            subject,
            format!("does not exist in {}, or is not shared with this account", facts.region),
            "image ids differ from region to region: check `image-id` and the region",
        );
        return None;
    };
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
