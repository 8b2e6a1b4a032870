//! `DescribeInstances` and `TerminateInstances`.

use provisioner::internal::domain::ids::InstanceId;
use provisioner::internal::domain::observed::{Instance, InstanceState};
use provisioner::internal::domain::refusal::Refusal;
use provisioner::internal::engine::{Effect, Outcome};

use super::accounts::ACCOUNT;
use super::filters::{Filters, Held};
use super::form::Form;
use super::hardware::Hardware;
use super::pages::{Asked, Book};
use super::places::{self, DEFAULT_GROUP, VPC};
use super::xml::{self, Node, set, text, time, tree};
use super::{only_tried, tags};
use crate::deployment::IMAGE;
use crate::world::{Machine, World, refusal};

/// The maximum number of records per page (Amazon EC2 API Reference, `DescribeInstances`).
const PAGE: usize = 1000;

/// `DescribeInstances`.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let asked = Asked::read(&mut form, PAGE)?;
    let ids: Vec<InstanceId> = form.list("InstanceId").into_iter().map(InstanceId::new).collect();
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let as_of = world.shown_as_of();
    if asked.is_first() {
        world.observed = as_of;
    }
    let shown = world.machines.numbered().filter_map(|(number, machine)| {
        machine.record.seen(as_of).map(|instance| (number, (number, instance, machine)))
    });
    let all: Vec<_> = if ids.is_empty() {
        shown.collect()
    } else {
        let named: Vec<_> =
            shown.filter(|(_, (_, instance, _))| ids.contains(&instance.id)).collect();
        let absent =
            ids.iter().filter(|id| named.iter().all(|(_, (_, instance, _))| instance.id != **id));
        not_found(absent)?;
        named
    };
    let mut book =
        Book { page: world.page, shifted: world.faults.shifted, network: &mut world.network };
    let admits = |(_, instance, machine): &(usize, &Instance, &Machine)| {
        filters.admit(|name| held(instance, machine, name))
    };
    let page = asked.of(&mut book, all, admits)?;
    let written = &mut world.written_instances;
    let shown = page.records.iter().map(|&(number, instance, machine)| {
        // The key pair and the call of an instance never change.
        let is_current = |(shown, tags): &(Instance, _)| shown == instance && *tags == machine.tags;
        let from = || (instance.clone(), machine.tags.clone());
        let write = || (from(), xml::record(reservation(instance, machine)));
        Node::Record(written.get_or_write(number, is_current, write))
    });
    let mut inside = vec![tree("reservationSet", shown)];
    inside.extend(page.token());
    Ok(inside)
}

/// Refuses unknown ids, all of them at once as EC2 does.
fn not_found<'a>(ids: impl IntoIterator<Item = &'a InstanceId>) -> Result<(), Refusal> {
    let ids: Vec<&str> = ids.into_iter().map(InstanceId::as_str).collect();
    if let Some(id) = ids.iter().find(|id| !id.starts_with("i-")) {
        return Err(refusal("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    let message = match ids[..] {
        [] => return Ok(()),
        [id] => format!("The instance ID '{id}' does not exist"),
        _ => format!("The instance IDs '{}' do not exist", ids.join(", ")),
    };
    Err(refusal("InvalidInstanceID.NotFound", message))
}

/// `TerminateInstances`.
pub(super) fn terminate(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let ids = to_terminate(world, form)?;
    let state = |world: &World, id: &InstanceId| world.state(id);
    let before: Vec<_> = ids.iter().map(|id| state(world, id)).collect();
    if let Outcome::Refused(refusal) = world.obey(&Effect::Terminate(ids.clone())) {
        return Err(refusal);
    }
    let changes = ids.iter().zip(before).map(|(id, before)| {
        let mut change = vec![text("instanceId", id)];
        change.extend(state(world, id).map(|now| shown_state("currentState", &now)));
        change.extend(before.map(|before| shown_state("previousState", &before)));
        change
    });
    Ok(vec![set("instancesSet", changes)])
}

/// Takes the instances that `TerminateInstances` names.
pub(super) fn to_terminate(world: &World, mut form: Form) -> Result<Vec<InstanceId>, Refusal> {
    let dry_run = form.dry_run()?;
    let ids: Vec<InstanceId> = form.list("InstanceId").into_iter().map(InstanceId::new).collect();
    form.finish()?;
    if ids.is_empty() {
        return Err(refusal(
            "MissingParameter",
            "The request must contain the parameter InstanceId",
        ));
    }
    only_tried(dry_run)?;
    not_found(ids.iter().filter(|id| world.machines.known(id, world.now).is_none()))?;
    Ok(ids)
}

/// Code and name of a state (Amazon EC2 API Reference, `InstanceState`).
fn code_and_name(state: &InstanceState) -> (u32, &str) {
    match state {
        InstanceState::Pending => (0, "pending"),
        InstanceState::Running => (16, "running"),
        InstanceState::ShuttingDown => (32, "shutting-down"),
        InstanceState::Terminated => (48, "terminated"),
        InstanceState::Stopping => (64, "stopping"),
        InstanceState::Stopped => (80, "stopped"),
        InstanceState::Unrecognised(name) => (255, name),
    }
}

fn shown_state(name: &'static str, state: &InstanceState) -> Node {
    let (code, state) = code_and_name(state);
    tree(name, [text("code", code), text("name", state)])
}

fn held(instance: &Instance, machine: &Machine, filter: &str) -> Held {
    let (code, state) = code_and_name(&instance.state);
    match filter {
        "instance-id" => Held::text(&instance.id),
        "key-name" => Held::text(&machine.key),
        "instance-state-name" => Held::text(state),
        "instance-state-code" => Held::text(code),
        "instance-type" => Held::text(&instance.instance_type),
        "availability-zone" => Held::maybe(instance.zone.as_ref()),
        "image-id" => Held::text(image(machine)),
        "instance-lifecycle" => Held::maybe(instance.spot_request.as_ref().map(|_| "spot")),
        "spot-instance-request-id" => Held::maybe(instance.spot_request.as_ref()),
        _ => tags::held(tags::of_machine(machine, &instance.tags), filter)
            .unwrap_or(Held::NoSuchFilter),
    }
}

fn image(machine: &Machine) -> &str {
    machine.call.as_ref().map_or(IMAGE, |call| &call.image_id)
}

/// EC2 creates a reservation for each spot instance.
fn reservation(instance: &Instance, machine: &Machine) -> Vec<Node> {
    vec![
        text("reservationId", format_args!("r-{}", instance.id)),
        text("ownerId", ACCOUNT),
        set("groupSet", []),
        set("instancesSet", [shown(instance, machine)]),
    ]
}

fn shown(instance: &Instance, machine: &Machine) -> Vec<Node> {
    let zone = instance.zone.as_ref();
    let subnet = zone.and_then(places::subnet_in);
    let is_live = instance.state.is_live();
    let hardware = Hardware::of(instance.id.as_str(), subnet, instance.launch_time, is_live);
    let mut placement: Vec<Node> =
        zone.map(|zone| text("availabilityZone", zone)).into_iter().collect();
    placement.extend([text("groupName", ""), text("tenancy", "default")]);
    let groups = machine.call.as_ref().map_or(&[][..], |call| &call.security_group_ids);
    let groups = set(
        "groupSet",
        groups.iter().map(|id| vec![text("groupId", id), text("groupName", DEFAULT_GROUP)]),
    );
    let platform = instance.other_platform.as_deref().unwrap_or("Linux/UNIX");
    let optimized = machine.call.as_ref().and_then(|call| call.launch_specification.ebs_optimized);
    let mut inside = vec![
        text("instanceId", &instance.id),
        text("imageId", image(machine)),
        shown_state("instanceState", &instance.state),
        text("reason", ""),
        text("keyName", &machine.key),
        text("amiLaunchIndex", 0),
        set("productCodes", []),
        text("instanceType", &instance.instance_type),
        time("launchTime", instance.launch_time),
        tree("placement", placement),
        tree("monitoring", [text("state", "disabled")]),
        text("architecture", places::architecture(&instance.instance_type)),
        text("virtualizationType", "hvm"),
        text("hypervisor", "xen"),
        text("platformDetails", platform),
        text("ebsOptimized", optimized.unwrap_or(false)),
        hardware.network_interfaces(&groups),
        groups,
    ];
    inside.extend(instance.state_reason.as_ref().map(|reason| {
        tree("stateReason", [text("code", &reason.code), text("message", &reason.message)])
    }));
    inside.extend(hardware.addresses());
    inside.extend(hardware.volumes(machine.deletes_volume));
    inside.extend(hardware.options());
    let tags = tags::of_machine(machine, &instance.tags);
    if !tags.is_empty() {
        inside.push(tags::show(tags));
    }
    if let Some(subnet) = subnet {
        inside.extend([text("subnetId", subnet), text("vpcId", VPC)]);
    }
    if let Some(request) = &instance.spot_request {
        inside.extend([text("instanceLifecycle", "spot"), text("spotInstanceRequestId", request)]);
    }
    inside
}
