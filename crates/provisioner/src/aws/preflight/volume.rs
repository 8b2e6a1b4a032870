//! Names the volumes that would outlive their machines, and go on costing money.

use super::facts::ImageFacts;
use super::report::{FindingKind, FindingWriter, Severity};
use crate::settings::WorkerType;

pub(super) fn assess(
    worker_type: &WorkerType,
    image: Option<&ImageFacts>,
    about: &mut FindingWriter<'_>,
) {
    let mappings = &worker_type.launch_specification.block_device_mappings;
    for mapping in mappings {
        let deletes = mapping.ebs.as_ref().and_then(|ebs| ebs.delete_on_termination);
        if deletes == Some(false) {
            about.find(
                Severity::Warning,
                FindingKind::Volume,
                mapping.device_name.as_deref().unwrap_or_default(),
                "outlives its machine as the configuration says, and goes on costing money; nothing but \
                 `cleanup-aws` removes it",
                "set `DeleteOnTermination = true` in `launch-specification`, or leave it out",
            );
        }
    }
    let Some(image) = image else { return };
    for device in &image.lasting_devices {
        if !mappings.iter().any(|mapping| mapping.device_name.as_ref() == Some(device)) {
            about.find(
                Severity::Note,
                FindingKind::Volume,
                device,
                "would outlive its machine by the image's mapping; launches say that it does not",
                "nothing to fix; to keep it, give the device in `launch-specification` with \
                 `DeleteOnTermination = false`",
            );
        }
    }
}
