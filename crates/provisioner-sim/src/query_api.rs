//! The world in EC2's Query protocol: the form of a call in, EC2's XML out.
//!
//! It knows the calls that the provisioner's three programs make, and refuses all others; it also refuses
//! parameters that the simulation does not know. There is no network in here: [`answer`] is EC2 itself, and
//! [`deliver`] adds the faults of the way there and back. `sdk_transport` and `http_server` carry the calls.
//!
//! Nothing of it can be mistaken for AWS, which issues no such account, ids and tokens.

mod accounts;
mod delivery;
mod filters;
mod form;
mod hardware;
mod iam;
mod instances;
mod key_pairs;
mod launch;
mod pages;
mod places;
mod prices;
mod refused;
mod spot_requests;
pub mod ssm;
mod tags;
#[cfg(test)]
mod tests;
mod volumes;
mod xml;

use provisioner::internal::domain::refusal::Refusal;
use provisioner::internal::engine::Effect;

use crate::world::throttle::Call;
use crate::world::{World, refusal};
use form::Form;
use xml::{Node, text};

pub use accounts::ACCOUNT;
pub use delivery::{Delivery, deliver};
pub(crate) use iam::Iam;
pub use places::REGION;

/// The version of EC2's API.
const VERSION: &str = "2016-11-15";

/// The XML namespace of this version.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryResponse {
    /// The HTTP status.
    pub status: u16,
    /// The XML document.
    pub body: String,
}

/// Carries out a call. It must take every parameter of the form, or refuse the call.
type CarryOut = fn(&mut World, Form) -> Result<Vec<Node>, Refusal>;

/// The calls that the simulated EC2 knows, with their functions and the token buckets that throttle them.
const OPERATIONS: [(&str, CarryOut, Call); 25] = [
    ("RequestSpotInstances", spot_requests::request, Call::Request),
    ("CancelSpotInstanceRequests", spot_requests::cancel, Call::Cancel),
    ("TerminateInstances", instances::terminate, Call::Terminate),
    ("CreateTags", tags::create, Call::Tag),
    ("CreateKeyPair", key_pairs::create, Call::KeyPair),
    ("ImportKeyPair", key_pairs::import, Call::KeyPair),
    ("DeleteKeyPair", key_pairs::delete, Call::KeyPair),
    ("DeleteVolume", volumes::delete, Call::Tag),
    ("DescribeAvailabilityZones", places::zones, Call::Describe),
    ("DescribeFleets", accounts::no_fleets, Call::Describe),
    ("DescribeImages", places::images, Call::Describe),
    ("DescribeInstanceTypeOfferings", places::offerings, Call::Describe),
    ("DescribeInstanceTypes", places::instance_types, Call::Describe),
    ("DescribeInstances", instances::describe, Call::Describe),
    ("DescribeKeyPairs", key_pairs::describe, Call::Describe),
    ("DescribeLaunchTemplates", accounts::no_launch_templates, Call::Describe),
    ("DescribeSecurityGroups", places::security_groups, Call::Describe),
    ("DescribeSpotInstanceRequests", spot_requests::describe, Call::Describe),
    ("DescribeSpotPriceHistory", prices::describe, Call::Describe),
    ("DescribeSubnets", places::subnets, Call::Describe),
    ("DescribeVolumes", volumes::describe, Call::Describe),
    ("DescribeVpcs", places::vpcs, Call::Describe),
    ("GetAllowedImagesSettings", accounts::allowed_images, Call::Describe),
    ("GetDefaultCreditSpecification", accounts::default_credits, Call::Describe),
    ("GetInstanceMetadataDefaults", accounts::metadata_defaults, Call::Describe),
];

/// The only call of STS.
const CALLER: &str = "GetCallerIdentity";

/// Returns the actions of all calls that are answered.
pub fn actions() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(action, ..)| *action).chain([CALLER])
}

fn operation(action: &str) -> Option<(CarryOut, Call)> {
    let found = OPERATIONS.iter().find(|(name, ..)| *name == action);
    found.map(|(_, carry_out, call)| (*carry_out, *call))
}

/// Returns whether a call changes something, unless it is a dry run.
fn changes(action: &str) -> bool {
    operation(action).is_some_and(|(_, call)| call != Call::Describe)
}

/// Returns the effect that the body of a call requests; `None` if it changes nothing, or is invalid.
pub fn effect(world: &World, body: &str) -> Option<Effect> {
    let (action, _, form) = read(body);
    match action.as_str() {
        "RequestSpotInstances" => {
            spot_requests::to_request(world, form).map(|call| Effect::Request(Box::new(call)))
        }
        "CancelSpotInstanceRequests" => spot_requests::to_cancel(world, form).map(Effect::Cancel),
        "TerminateInstances" => instances::to_terminate(world, form).map(Effect::Terminate),
        "CreateTags" => tags::asked(world, form),
        _ => return None,
    }
    .ok()
}

/// Reads the action of a call, the API version that it is for, and its parameters.
fn read(body: &str) -> (String, Option<String>, Form) {
    let mut form = Form::read(body);
    let action = form.text("Action").unwrap_or_default();
    let version = form.text("Version");
    (action, version, form)
}

/// Returns the answer of EC2 (or of STS and IAM, for their calls) to the body of a call.
pub fn answer(world: &mut World, body: &str) -> QueryResponse {
    let (action, version, form) = read(body);
    let request_id = world.next_request_id();
    if action == CALLER {
        return QueryResponse { status: 200, body: accounts::caller_identity(&request_id) };
    }
    // Only the version shows for which service a call is.
    if version.as_deref() == Some(iam::VERSION) {
        return of_iam(world, &action, form, &request_id);
    }
    if version.is_some_and(|version| version != VERSION) {
        let message = format!("The simulated EC2 is no other service, and has no {action}.");
        let (status, body) = refused::elsewhere(&refusal("InvalidAction", message), &request_id);
        return QueryResponse { status, body };
    }
    match carry_out(world, &action, form) {
        Ok(mut inside) => {
            inside.insert(0, text("requestId", &request_id));
            let body = xml::indented(&format!("{action}Response"), NAMESPACE, &inside);
            QueryResponse { status: 200, body }
        }
        Err(refusal) => refused(&refusal, &request_id),
    }
}

fn of_iam(world: &mut World, action: &str, form: Form, request_id: &str) -> QueryResponse {
    match iam::carry_out(world, action, form) {
        Ok(result) => {
            let inside = [
                Node::Named(format!("{action}Result"), result),
                xml::tree("ResponseMetadata", [text("RequestId", request_id)]),
            ];
            let outermost = format!("{action}Response");
            QueryResponse {
                status: 200,
                body: xml::document(&outermost, Some(iam::NAMESPACE), &inside),
            }
        }
        Err(refusal) => {
            let (status, body) = refused::elsewhere(&refusal, request_id);
            QueryResponse { status, body }
        }
    }
}

fn carry_out(world: &mut World, action: &str, form: Form) -> Result<Vec<Node>, Refusal> {
    let Some((carry_out, call)) = operation(action) else {
        let message = format!("The action {action} is not one the simulated EC2 knows.");
        return Err(refusal("InvalidAction", message));
    };
    let now = world.now;
    if world.throttle.as_mut().is_some_and(|throttle| !throttle.admits(call, now)) {
        return Err(throttled());
    }
    carry_out(world, form)
}

/// Returns the response to a call that was meant for somewhere else.
#[cfg(feature = "aws")]
pub(crate) fn wrong_place(message: &str) -> QueryResponse {
    refused(&refusal("AuthFailure", message), "00000000-0000-4000-8000-000000000000")
}

fn throttled() -> Refusal {
    refusal("RequestLimitExceeded", "Request limit exceeded.")
}

fn refused(refusal: &Refusal, request_id: &str) -> QueryResponse {
    let (status, body) = refused::answer(refusal, request_id);
    QueryResponse { status, body }
}

/// Ends a dry run. EC2 reports success by an error (Amazon EC2 API Reference, `DryRun`).
fn only_tried(dry_run: bool) -> Result<(), Refusal> {
    if dry_run {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(refusal("DryRunOperation", message));
    }
    Ok(())
}
