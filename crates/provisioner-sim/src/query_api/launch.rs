//! Parses the form of `RequestSpotInstances` back into the launching call.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{
    ClientToken, InstanceType, KeyName, SubnetId, WorkerTypeName, Zone,
};
use provisioner::internal::domain::launch::{
    BlockDeviceMapping, Ebs, LaunchCall, LaunchSpecification, Monitoring, NetworkInterface,
    Placement, TAG_WORKER_TYPE,
};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::refusal::Refusal;

use super::form::Form;
use super::{places, tags};
use crate::world::{World, refusal};

/// How long a request waits by default (Amazon EC2 API Reference, `RequestSpotInstances`: "The default end
/// date is 7 days from the current date").
const VALID_FOR: Duration = Duration::from_hours(7 * 24);

/// Parses the call. Fields that the protocol lacks are filled in: `decided` is the epoch, and the zone is
/// taken from the subnet.
pub(super) fn read(world: &World, form: &mut Form) -> Result<LaunchCall, Refusal> {
    let token = form.text("ClientToken").filter(|token| !token.is_empty());
    // Two calls without a token are never the same.
    let token = token.unwrap_or_else(|| format!("no-token-{}", world.requests.len()));
    let count = form.parsed::<u32>("InstanceCount")?.unwrap_or(1);
    if count == 0 {
        return Err(refusal("InvalidParameterValue", "Value (0) for instanceCount is invalid"));
    }
    if let Some(kind) = form.text("Type").filter(|kind| kind != "one-time") {
        let message = format!("The simulated EC2 knows one-time requests only, not {kind}");
        return Err(refusal("InvalidParameterValue", message));
    }
    let max_price = form.text("SpotPrice").map(|text| price(&text)).transpose()?;
    let valid_until =
        form.time("ValidUntil")?.unwrap_or_else(|| clock::after(world.now, VALID_FOR));
    let tags = tags::at_creation(form, "spot-instances-request")?;
    let mut specification = form.structure("LaunchSpecification").unwrap_or_default();
    let call = launch_call(&mut specification, tags)?;
    specification.finish()?;
    places::must_exist(world, &call)?;
    Ok(LaunchCall { token: ClientToken::new(token), count, max_price, valid_until, ..call })
}

fn price(text: &str) -> Result<UsdPerHour, Refusal> {
    UsdPerHour::parse(text).map_err(|_| {
        let message = format!("Value ({text}) for parameter price is invalid");
        refusal("InvalidParameterValue", message)
    })
}

fn launch_call(form: &mut Form, tags: BTreeMap<String, String>) -> Result<LaunchCall, Refusal> {
    let mut placement = form.structure("Placement").unwrap_or_default();
    let mut zone = placement.text("AvailabilityZone").map(|zone| Zone::from(zone.as_str()));
    let tenancy = placement.text("Tenancy");
    placement.finish()?;
    let interfaces = form.structures("NetworkInterface");
    let network_interfaces: Vec<_> =
        interfaces.into_iter().map(network_interface).collect::<Result<_, _>>()?;
    let mut subnet = form.text("SubnetId");
    let mut security_group_ids = form.list("SecurityGroupId");
    if let Some(first) = network_interfaces.first() {
        subnet = subnet.or_else(|| first.subnet_id.clone());
        if security_group_ids.is_empty() {
            security_group_ids.clone_from(&first.groups);
        }
    }
    if let Some(id) = &subnet {
        let there = places::zone_of(id).ok_or_else(|| {
            let message = format!("The subnet ID '{id}' does not exist");
            refusal("InvalidSubnetID.NotFound", message)
        })?;
        zone = Some(Zone::from(there));
    }
    let mut profile = form.structure("IamInstanceProfile").unwrap_or_default();
    let iam_instance_profile = profile.text("Arn").or_else(|| profile.text("Name"));
    profile.finish()?;
    let block_device_mappings = form.structures("BlockDeviceMapping");
    let block_device_mappings =
        block_device_mappings.into_iter().map(block_device).collect::<Result<_, _>>()?;
    let monitoring = form.structure("Monitoring").map(|mut monitoring| {
        let enabled = monitoring.parsed("Enabled")?.unwrap_or(false);
        monitoring.finish()?;
        Ok(Monitoring { enabled })
    });
    let worker_type = tags.get(TAG_WORKER_TYPE).map_or("", String::as_str);
    Ok(LaunchCall {
        token: ClientToken::from(""),
        worker_type: WorkerTypeName::from(worker_type),
        decided: Timestamp::UNIX_EPOCH,
        count: 1,
        key_name: KeyName::new(form.text("KeyName").unwrap_or_default()),
        image_id: form.required("ImageId")?,
        instance_type: InstanceType::new(form.required("InstanceType")?),
        zone,
        subnet: subnet.map(SubnetId::new),
        security_group_ids,
        iam_instance_profile,
        user_data: form.text("UserData"),
        max_price: None,
        valid_until: Timestamp::UNIX_EPOCH,
        tags,
        launch_specification: LaunchSpecification {
            block_device_mappings,
            ebs_optimized: form.parsed("EbsOptimized")?,
            monitoring: monitoring.transpose()?,
            placement: tenancy.map(|tenancy| Placement { tenancy }),
            network_interfaces,
        },
    })
}

fn block_device(mut form: Form) -> Result<BlockDeviceMapping, Refusal> {
    let ebs = form.structure("Ebs").map(|mut ebs| {
        let read = Ebs {
            delete_on_termination: ebs.parsed("DeleteOnTermination")?,
            encrypted: ebs.parsed("Encrypted")?,
            iops: ebs.parsed("Iops")?,
            throughput: ebs.parsed("Throughput")?,
            kms_key_id: ebs.text("KmsKeyId"),
            snapshot_id: ebs.text("SnapshotId"),
            volume_size: ebs.parsed("VolumeSize")?,
            volume_type: ebs.text("VolumeType"),
        };
        ebs.finish()?;
        Ok(read)
    });
    let mapping = BlockDeviceMapping {
        device_name: form.text("DeviceName"),
        virtual_name: form.text("VirtualName"),
        no_device: form.text("NoDevice"),
        ebs: ebs.transpose()?,
    };
    form.finish()?;
    Ok(mapping)
}

fn network_interface(mut form: Form) -> Result<NetworkInterface, Refusal> {
    let interface = NetworkInterface {
        device_index: form.parsed("DeviceIndex")?.unwrap_or(0),
        associate_public_ip_address: form.parsed("AssociatePublicIpAddress")?,
        delete_on_termination: form.parsed("DeleteOnTermination")?,
        description: form.text("Description"),
        groups: form.list("SecurityGroupId"),
        ipv6_address_count: form.parsed("Ipv6AddressCount")?,
        subnet_id: form.text("SubnetId"),
        interface_type: form.text("InterfaceType"),
    };
    form.finish()?;
    Ok(interface)
}
