//! `RequestSpotInstances`, `DescribeSpotInstanceRequests` and `CancelSpotInstanceRequests`.

use jiff::Timestamp;
use provisioner::internal::domain::ids::{SpotRequestId, Zone};
use provisioner::internal::domain::launch::LaunchCall;
use provisioner::internal::domain::observed::{SpotRequest, SpotRequestState};
use provisioner::internal::domain::refusal::Refusal;
use provisioner::internal::engine::{Effect, Outcome};

use super::filters::{Filters, Held};
use super::form::Form;
use super::pages::{Asked, Book};
use super::places::DEFAULT_GROUP;
use super::xml::{self, Node, set, text, time, tree};
use super::{launch, only_tried, tags};
use crate::world::{Request, World, refusal};

/// The maximum number of records per page (Amazon EC2 API Reference, `DescribeSpotInstanceRequests`).
const PAGE: usize = 1000;

/// `RequestSpotInstances`.
pub(super) fn request(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let call = to_request(world, form)?;
    match world.obey(&Effect::Request(Box::new(call))) {
        Outcome::Requested(granted) => {
            let requests = granted.iter().filter_map(|granted| world.requests.get(&granted.id));
            let shown = requests.map(|request| shown(request.truth(), &request.call));
            Ok(vec![set("spotInstanceRequestSet", shown)])
        }
        Outcome::Refused(refusal) => Err(refusal),
        other => Err(refusal("InternalError", format!("{other:?}"))),
    }
}

/// Parses the launching call of `RequestSpotInstances`.
pub(super) fn to_request(world: &World, mut form: Form) -> Result<LaunchCall, Refusal> {
    let dry_run = form.dry_run()?;
    let call = launch::read(world, &mut form)?;
    form.finish()?;
    only_tried(dry_run)?;
    Ok(call)
}

/// `DescribeSpotInstanceRequests`.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let asked = Asked::read(&mut form, PAGE)?;
    let ids = form.list("SpotInstanceRequestId");
    let ids: Vec<SpotRequestId> = ids.into_iter().map(SpotRequestId::new).collect();
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    if asked.is_first() {
        world.tidy_requests();
    }
    let as_of = world.shown_as_of();
    let shown = |found| seen(found, as_of);
    let all: Vec<_> = if !ids.is_empty() {
        let mut named = Vec::new();
        for id in &ids {
            let found = world.requests.numbered(id).and_then(shown);
            named.push(found.ok_or_else(|| not_found(id))?);
        }
        named.sort_by_key(|(number, _)| *number);
        named
    } else if filters.ask_only_for("state", &["open", "active"]) {
        // Only a few of all requests are open or active.
        world.requests.standing().filter_map(shown).collect()
    } else {
        world.requests.iter().enumerate().filter_map(shown).collect()
    };
    let mut book =
        Book { page: world.page, shifted: world.faults.shifted, network: &mut world.network };
    let admits =
        |(_, seen, request): &Numbered<'_>| filters.admit(|name| held(seen, request, name));
    let page = asked.of(&mut book, all, admits)?;
    let written = &mut world.written_requests;
    let shown = page.records.iter().map(|&(number, seen, request)| {
        // The call that made a request never changes.
        let write = || (seen.clone(), xml::record(self::shown(seen, &request.call)));
        Node::Record(written.get_or_write(number, |shown| shown == seen, write))
    });
    let mut inside = vec![tree("spotInstanceRequestSet", shown)];
    inside.extend(page.token());
    Ok(inside)
}

/// `CancelSpotInstanceRequests`.
pub(super) fn cancel(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let ids = to_cancel(world, form)?;
    if let Outcome::Refused(refusal) = world.obey(&Effect::Cancel(ids.clone())) {
        return Err(refusal);
    }
    let cancelled = ids.iter().map(|id| {
        let state = world.requests.get(id).map(|request| name(&request.truth().state));
        let mut inside = vec![text("spotInstanceRequestId", id)];
        inside.extend(state.map(|state| text("state", state)));
        inside
    });
    Ok(vec![set("spotInstanceRequestSet", cancelled)])
}

/// Takes the requests that `CancelSpotInstanceRequests` names.
pub(super) fn to_cancel(world: &World, mut form: Form) -> Result<Vec<SpotRequestId>, Refusal> {
    let dry_run = form.dry_run()?;
    let ids = form.list("SpotInstanceRequestId");
    let ids: Vec<SpotRequestId> = ids.into_iter().map(SpotRequestId::new).collect();
    form.finish()?;
    if ids.is_empty() {
        let message = "The request must contain the parameter SpotInstanceRequestId";
        return Err(refusal("MissingParameter", message));
    }
    only_tried(dry_run)?;
    if let Some(id) = ids.iter().find(|id| world.requests.get(id).is_none()) {
        return Err(not_found(id));
    }
    Ok(ids)
}

/// A request with its number and what describe calls show of it.
type Numbered<'a> = (usize, &'a SpotRequest, &'a Request);

/// Returns what describe calls show of a request now, if they show it, with its number as its place.
fn seen((number, request): (usize, &Request), now: Timestamp) -> Option<(usize, Numbered<'_>)> {
    Some((number, (number, request.record.seen(now)?, request)))
}

fn not_found(id: &SpotRequestId) -> Refusal {
    let message = format!("The spot instance request ID '{id}' does not exist");
    refusal("InvalidSpotInstanceRequestID.NotFound", message)
}

/// Returns EC2's name of a state.
fn name(state: &SpotRequestState) -> &str {
    match state {
        SpotRequestState::Open => "open",
        SpotRequestState::Active => "active",
        SpotRequestState::Disabled => "disabled",
        SpotRequestState::Closed => "closed",
        SpotRequestState::Cancelled => "cancelled",
        SpotRequestState::Failed => "failed",
        SpotRequestState::Unrecognised(name) => name,
    }
}

fn held(seen: &SpotRequest, request: &Request, filter: &str) -> Held {
    match filter {
        "spot-instance-request-id" => Held::text(&seen.id),
        "launch.key-name" => Held::text(&request.key),
        "launch.image-id" => Held::text(&request.call.image_id),
        "launch.instance-type" => Held::text(&seen.instance_type),
        "launched-availability-zone" => Held::maybe(launched_in(seen)),
        "state" => Held::text(name(&seen.state)),
        "status-code" => Held::text(&seen.status_code),
        "instance-id" => Held::maybe(seen.instance.as_ref()),
        "type" => Held::text("one-time"),
        _ => tags::held(tags::all(&request.call.tags), filter).unwrap_or(Held::NoSuchFilter),
    }
}

fn launched_in(seen: &SpotRequest) -> Option<&str> {
    seen.instance.as_ref().and(seen.zone.as_ref()).map(Zone::as_str)
}

fn shown(seen: &SpotRequest, call: &LaunchCall) -> Vec<Node> {
    let mut status = vec![text("code", &seen.status_code)];
    status.extend(seen.status_time.map(|at| time("updateTime", at)));
    status.push(text("message", &seen.status_message));
    let mut inside = vec![text("spotInstanceRequestId", &seen.id)];
    inside.extend(seen.max_price.map(|price| xml::price("spotPrice", price)));
    inside.extend([
        text("type", "one-time"),
        text("state", name(&seen.state)),
        tree("status", status),
        tree("launchSpecification", specification(call)),
    ]);
    if seen.state == SpotRequestState::Failed {
        let said = [text("code", &seen.status_code), text("message", &seen.status_message)];
        inside.push(tree("fault", said));
    }
    inside.extend(seen.instance.as_ref().map(|id| text("instanceId", id)));
    inside.extend([
        time("createTime", seen.created),
        text("productDescription", "Linux/UNIX"),
        time("validUntil", call.valid_until),
        tags::show(tags::all(&call.tags)),
    ]);
    inside.extend(launched_in(seen).map(|zone| text("launchedAvailabilityZone", zone)));
    inside.push(text("instanceInterruptionBehavior", "terminate"));
    inside
}

fn specification(call: &LaunchCall) -> Vec<Node> {
    let further = &call.launch_specification;
    let groups = call.security_group_ids.iter();
    let groups = groups.map(|id| vec![text("groupId", id), text("groupName", DEFAULT_GROUP)]);
    let mut inside = vec![
        text("imageId", &call.image_id),
        text("keyName", &call.key_name),
        set("groupSet", groups),
        text("instanceType", &call.instance_type),
    ];
    let zone = call.zone.as_ref().map(|zone| text("availabilityZone", zone));
    let tenancy = further.placement.as_ref().map(|placement| text("tenancy", &placement.tenancy));
    if zone.is_some() || tenancy.is_some() {
        inside.push(tree("placement", zone.into_iter().chain(tenancy)));
    }
    inside.extend(call.subnet.as_ref().map(|id| text("subnetId", id)));
    inside.extend(call.iam_instance_profile.as_ref().map(|profile| {
        let name = if profile.starts_with("arn:") { "arn" } else { "name" };
        tree("iamInstanceProfile", [text(name, profile)])
    }));
    inside.extend(further.ebs_optimized.map(|optimized| text("ebsOptimized", optimized)));
    let monitored = further.monitoring.as_ref().is_some_and(|monitoring| monitoring.enabled);
    inside.push(tree("monitoring", [text("enabled", monitored)]));
    inside
}
