//! The constant part of the world: zones, networks, images, instance types and their offerings.

use std::collections::{BTreeMap, BTreeSet};

use provisioner::internal::domain::ids::{InstanceType, SubnetId, Zone};
use provisioner::internal::domain::launch::LaunchCall;
use provisioner::internal::domain::refusal::Refusal;

use super::accounts::ACCOUNT;
use super::filters::{Filters, Held};
use super::form::Form;
use super::only_tried;
use super::pages::{Asked, Book};
use super::xml::{Node, set, text, texts, tree};
use crate::deployment::{GROUP, IMAGE};
use crate::world::{ROOT_DEVICE, World, refusal};

/// The simulated region, which exists in AWS, like the instance types.
pub const REGION: &str = "us-west-2";

/// The zones with their subnets.
const ZONES: [(&str, &str); 4] = [
    ("us-west-2a", "subnet-sim0a"),
    ("us-west-2b", "subnet-sim0b"),
    ("us-west-2c", "subnet-sim0c"),
    ("us-west-2d", "subnet-sim0d"),
];

/// The default VPC.
pub(super) const VPC: &str = "vpc-sim0";

/// The name of the only security group.
pub(super) const DEFAULT_GROUP: &str = "default";

/// Returns the subnet in a zone.
pub(super) fn subnet_in(zone: &Zone) -> Option<&'static str> {
    ZONES.iter().find(|(name, _)| *name == zone.as_str()).map(|(_, subnet)| *subnet)
}

/// Returns the zone of a subnet.
pub(super) fn zone_of(subnet: &str) -> Option<&'static str> {
    ZONES.iter().find(|(_, id)| *id == subnet).map(|(zone, _)| *zone)
}

/// Returns the processor architecture: families with a `g` after their generation have Arm processors (Amazon
/// EC2 instance types guide, "Instance type naming conventions").
pub(super) fn architecture(instance_type: &InstanceType) -> &'static str {
    let family = instance_type.as_str().split('.').next().unwrap_or_default();
    let options = family.trim_start_matches(|c: char| !c.is_ascii_digit());
    let options = options.trim_start_matches(|c: char| c.is_ascii_digit());
    if options.starts_with('g') { "arm64" } else { "x86_64" }
}

/// Returns the number of virtual processors of a size (Amazon EC2 instance types guide): `large` has two,
/// `xlarge` four, and `2xlarge` twice as many.
fn vcpus(instance_type: &InstanceType) -> u64 {
    let size = instance_type.as_str().split('.').nth(1).unwrap_or_default();
    match size.strip_suffix("xlarge") {
        Some("") => 4,
        Some(times) => times.parse::<u64>().map_or(4, |times| 4 * times),
        None if size == "medium" => 1,
        None => 2,
    }
}

/// A record of a listing, and its values for filters.
struct Shown {
    inside: Vec<Node>,
    held: Vec<(&'static str, String)>,
}

/// A listing, which all describe calls in this file handle alike.
struct Listing {
    /// The element around the records.
    name: &'static str,
    /// The parameter that selects records by id, the filter for ids, and the error for an unknown id.
    ids: (&'static str, &'static str, &'static str),
    /// The maximum number of records per page; 0 if the call has no pages.
    page: usize,
}

impl Listing {
    fn describe(
        &self,
        world: &mut World,
        mut form: Form,
        all: Vec<Shown>,
    ) -> Result<Vec<Node>, Refusal> {
        let (parameter, filter, error) = self.ids;
        let filters = Filters::read(&mut form)?;
        let asked =
            if self.page > 0 { Asked::read(&mut form, self.page)? } else { Asked::default() };
        let ids = form.list(parameter);
        let dry_run = form.dry_run()?;
        form.finish()?;
        only_tried(dry_run)?;
        let id = |shown: &Shown| {
            shown.held.iter().find(|(name, _)| *name == filter).map(|(_, id)| id.clone())
        };
        let known: BTreeSet<_> = all.iter().filter_map(id).collect();
        if let Some(unknown) = ids.iter().find(|id| !known.contains(*id)) {
            return Err(refusal(error, format!("The ID '{unknown}' does not exist")));
        }
        let all = all
            .into_iter()
            .filter(|it| ids.is_empty() || id(it).is_some_and(|id| ids.contains(&id)));
        let all: Vec<_> = all.collect();
        let admits = |shown: &&Shown| {
            filters.admit(|name| {
                let mut held = shown.held.iter().filter(|(filter, _)| *filter == name).peekable();
                match held.peek() {
                    None => Held::NoSuchFilter,
                    Some(_) => Held::Texts(held.map(|(_, text)| text.clone()).collect()),
                }
            })
        };
        let mut book =
            Book { page: world.page, shifted: world.faults.shifted, network: &mut world.network };
        let page = asked.of(&mut book, all.iter().enumerate(), admits)?;
        let mut inside =
            vec![set(self.name, page.records.iter().map(|shown| shown.inside.clone()))];
        inside.extend(page.token());
        Ok(inside)
    }
}

/// `DescribeAvailabilityZones`.
pub(super) fn zones(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    form.parsed::<bool>("AllAvailabilityZones")?;
    let listing = Listing {
        name: "availabilityZoneInfo",
        ids: ("ZoneName", "zone-name", "InvalidParameterValue"),
        page: 0,
    };
    let all = ZONES.iter().zip(1..).map(|((zone, _), n)| Shown {
        inside: vec![
            text("zoneName", zone),
            text("zoneId", format_args!("sim-az{n}")),
            text("zoneType", "availability-zone"),
            text("zoneState", "available"),
            text("regionName", REGION),
            set("messageSet", []),
        ],
        held: vec![
            ("zone-name", (*zone).to_owned()),
            ("state", "available".to_owned()),
            ("region-name", REGION.to_owned()),
        ],
    });
    listing.describe(world, form, all.collect())
}

/// `DescribeSubnets`.
pub(super) fn subnets(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let listing = Listing {
        name: "subnetSet",
        ids: ("SubnetId", "subnet-id", "InvalidSubnetID.NotFound"),
        page: 1000,
    };
    let free = |subnet: &str| {
        let limited = world.subnets.get(&SubnetId::from(subnet));
        limited.map_or(4091, |subnet| subnet.free)
    };
    let all = ZONES.iter().zip(0..).map(|((zone, subnet), n)| Shown {
        inside: vec![
            text("subnetId", subnet),
            text("state", "available"),
            text("vpcId", VPC),
            text("cidrBlock", format_args!("172.31.{}.0/20", n * 16)),
            text("availableIpAddressCount", free(subnet)),
            text("availabilityZone", zone),
            text("defaultForAz", true),
            text("ownerId", ACCOUNT),
        ],
        held: vec![
            ("subnet-id", (*subnet).to_owned()),
            ("availability-zone", (*zone).to_owned()),
            ("vpc-id", VPC.to_owned()),
            ("default-for-az", "true".to_owned()),
        ],
    });
    let all = all.collect();
    listing.describe(world, form, all)
}

/// `DescribeVpcs`.
pub(super) fn vpcs(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let listing =
        Listing { name: "vpcSet", ids: ("VpcId", "vpc-id", "InvalidVpcID.NotFound"), page: 1000 };
    let default = Shown {
        inside: vec![
            text("vpcId", VPC),
            text("state", "available"),
            text("cidrBlock", "172.31.0.0/16"),
            text("isDefault", true),
            text("ownerId", ACCOUNT),
        ],
        held: vec![("vpc-id", VPC.to_owned()), ("is-default", "true".to_owned())],
    };
    listing.describe(world, form, vec![default])
}

/// `DescribeSecurityGroups`.
pub(super) fn security_groups(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let listing = Listing {
        name: "securityGroupInfo",
        ids: ("GroupId", "group-id", "InvalidGroup.NotFound"),
        page: 1000,
    };
    let default = Shown {
        inside: vec![
            text("ownerId", ACCOUNT),
            text("groupId", GROUP),
            text("groupName", DEFAULT_GROUP),
            text("groupDescription", "default VPC security group"),
            text("vpcId", VPC),
        ],
        held: vec![
            ("group-id", GROUP.to_owned()),
            ("group-name", DEFAULT_GROUP.to_owned()),
            ("vpc-id", VPC.to_owned()),
        ],
    };
    listing.describe(world, form, vec![default])
}

/// Returns the images that the deployment uses, which are all that the simulation has. An image has the
/// architecture of the instance types that are launched with it.
fn image_architectures(world: &World) -> BTreeMap<&str, &'static str> {
    let mut ids = BTreeMap::from([(IMAGE, "arm64")]);
    for worker_type in world.settings.worker_types.values() {
        for instance_type in &worker_type.instance_types {
            let needed = architecture(instance_type);
            let shown = ids.entry(&worker_type.image_id).or_insert(needed);
            // An image of worker types with both architectures must be wrong for one of them.
            if needed == "x86_64" {
                *shown = needed;
            }
        }
    }
    ids
}

/// `DescribeImages`.
pub(super) fn images(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    form.parsed::<bool>("IncludeDeprecated")?;
    let listing = Listing {
        name: "imagesSet",
        ids: ("ImageId", "image-id", "InvalidAMIID.NotFound"),
        page: 1000,
    };
    let ends_with_instance = !world.lasting_volumes;
    let root = || {
        let ebs = [text("deleteOnTermination", ends_with_instance), text("volumeSize", 8)];
        vec![text("deviceName", ROOT_DEVICE), tree("ebs", ebs)]
    };
    let images = image_architectures(world);
    let all = images.into_iter().map(|(id, architecture)| Shown {
        inside: vec![
            text("imageId", id),
            text("imageState", "available"),
            text("imageOwnerId", ACCOUNT),
            text("isPublic", false),
            text("architecture", architecture),
            text("imageType", "machine"),
            text("name", "simulated"),
            text("rootDeviceType", "ebs"),
            text("rootDeviceName", ROOT_DEVICE),
            set("blockDeviceMapping", [root()]),
            text("virtualizationType", "hvm"),
            text("enaSupport", true),
        ],
        held: vec![("image-id", id.to_owned())],
    });
    let all = all.collect();
    listing.describe(world, form, all)
}

/// Returns the instance types that the deployment uses, which are all that the simulation has.
fn types(world: &World) -> BTreeSet<InstanceType> {
    let of_all = world.settings.worker_types.values().flat_map(|it| it.instance_types.clone());
    of_all.collect()
}

/// Refuses an image or an instance type that the simulation does not have.
pub(super) fn must_exist(world: &World, call: &LaunchCall) -> Result<(), Refusal> {
    let image = &call.image_id;
    if !image_architectures(world).contains_key(image.as_str()) {
        let message = format!("The image id '[{image}]' does not exist");
        return Err(refusal("InvalidAMIID.NotFound", message));
    }
    let instance_type = &call.instance_type;
    if !types(world).contains(instance_type) {
        let message = format!("Invalid value '{instance_type}' for InstanceType.");
        return Err(refusal("InvalidParameterValue", message));
    }
    Ok(())
}

/// `DescribeInstanceTypes`.
pub(super) fn instance_types(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let listing = Listing {
        name: "instanceTypeSet",
        ids: ("InstanceType", "instance-type", "InvalidInstanceType"),
        page: 100,
    };
    let all = types(world).into_iter().map(|it| Shown {
        inside: vec![
            text("instanceType", &it),
            text("currentGeneration", true),
            texts("supportedUsageClasses", ["on-demand", "spot"]),
            texts("supportedVirtualizationTypes", ["hvm"]),
            tree("vCpuInfo", [text("defaultVCpus", vcpus(&it))]),
            tree("processorInfo", [texts("supportedArchitectures", [architecture(&it)])]),
            tree("networkInfo", [text("enaSupport", "required")]),
        ],
        held: vec![("instance-type", it.to_string())],
    });
    let all = all.collect();
    listing.describe(world, form, all)
}

/// `DescribeInstanceTypeOfferings`. A type is offered also where its pool has no capacity.
pub(super) fn offerings(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let location = form.text("LocationType").unwrap_or_else(|| "region".to_owned());
    let locations: Vec<&str> = match location.as_str() {
        "region" => vec![REGION],
        "availability-zone" => ZONES.iter().map(|(zone, _)| *zone).collect(),
        other => {
            let message = format!("Value ({other}) for parameter LocationType is invalid");
            return Err(refusal("InvalidParameterValue", message));
        }
    };
    let listing = Listing {
        name: "instanceTypeOfferingSet",
        ids: ("", "instance-type", "InvalidParameterValue"),
        page: 1000,
    };
    let mut all = Vec::new();
    for it in types(world) {
        for place in &locations {
            if world.pools.not_offered.contains(&format!("{it} in {place}")) {
                continue;
            }
            all.push(Shown {
                inside: vec![
                    text("instanceType", &it),
                    text("locationType", &location),
                    text("location", place),
                ],
                held: vec![("instance-type", it.to_string()), ("location", (*place).to_owned())],
            });
        }
    }
    listing.describe(world, form, all)
}
