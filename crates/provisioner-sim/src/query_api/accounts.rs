//! The account, and the resources that do not exist in it.

use provisioner::internal::domain::refusal::Refusal;

use super::filters::Filters;
use super::form::Form;
use super::only_tried;
use super::pages::Asked;
use super::xml::{self, Node, set, text, tree};
use crate::world::World;

/// The number of the simulated account, which AWS does not issue.
pub const ACCOUNT: &str = "000000000000";

/// The namespace of STS, whose answers have another form than EC2's (AWS Security Token Service API Reference,
/// `GetCallerIdentity`).
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// `GetCallerIdentity`.
pub(super) fn caller_identity(request_id: &str) -> String {
    let identity = [
        text("Arn", format_args!("arn:aws:iam::{ACCOUNT}:user/simulated")),
        text("UserId", "AIDASIMULATED"),
        text("Account", ACCOUNT),
    ];
    let inside = [
        tree("GetCallerIdentityResult", identity),
        tree("ResponseMetadata", [text("RequestId", request_id)]),
    ];
    xml::document("GetCallerIdentityResponse", Some(STS), &inside)
}

/// Lists resources that cannot be created here. It takes filters and pages, and the list is always empty.
fn none(name: &'static str, ids: &str, mut form: Form) -> Result<Vec<Node>, Refusal> {
    Filters::read(&mut form)?;
    Asked::read(&mut form, 1000)?;
    form.list(ids);
    form.finish()?;
    Ok(vec![set(name, [])])
}

/// `DescribeFleets`.
pub(super) fn no_fleets(_: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    none("fleetSet", "FleetId", form)
}

/// `DescribeLaunchTemplates`.
pub(super) fn no_launch_templates(_: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    none("launchTemplates", "LaunchTemplateId", form)
}

/// `GetInstanceMetadataDefaults` of an account that has set none.
pub(super) fn metadata_defaults(_: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    Ok(vec![tree("accountLevel", [])])
}

/// `GetAllowedImagesSettings` of an account that allows all images.
pub(super) fn allowed_images(_: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    Ok(vec![set("imageCriterionSet", []), text("managedBy", "account"), text("state", "disabled")])
}

/// `GetDefaultCreditSpecification` of an account that has set none (Amazon EC2 User Guide, "Unlimited mode": only
/// T2 is `standard` by default).
pub(super) fn default_credits(_: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let family = form.required("InstanceFamily")?;
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let credits = if family == "t2" { "standard" } else { "unlimited" };
    let specification = [text("instanceFamily", family), text("cpuCredits", credits)];
    Ok(vec![tree("instanceFamilyCreditSpecification", specification)])
}
