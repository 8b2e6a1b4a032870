//! Whose account it is, and what it has none of.

use provisioner::domain::refusal::Refusal;

use super::filters::Filters;
use super::form::Form;
use super::pages::Asked;
use super::xml::{self, Node, set, text, tree};
use crate::world::World;

/// The simulated account. AWS issues none of this number.
pub const ACCOUNT: &str = "000000000000";

/// STS answers in a namespace and a shape of its own (AWS Security Token Service API Reference,
/// `GetCallerIdentity`).
const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Who calls.
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

/// A listing of what nobody can make here. Filters and pages are taken, and there is nothing to choose.
fn none(name: &'static str, ids: &str, mut form: Form) -> Result<Vec<Node>, Refusal> {
    Filters::read(&mut form)?;
    Asked::read(&mut form, 1000)?;
    form.list(ids);
    form.finish()?;
    Ok(vec![set(name, [])])
}

/// No EC2 Fleet.
pub(super) fn no_fleets(_: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    none("fleetSet", "FleetId", form)
}

/// No launch template.
pub(super) fn no_launch_templates(_: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    none("launchTemplates", "LaunchTemplateId", form)
}

/// No volume that outlives its instance.
pub(super) fn no_volumes(_: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    none("volumeSet", "VolumeId", form)
}
