//! `launch-specification`: fields of EC2's launch specification, spelled as EC2 does.

use crate::config::section::Section;
use crate::config::setting::Refusal;
use crate::launch::{
    BlockDeviceMapping, Ebs, LaunchSpecification, Monitoring, NetworkInterface, Placement,
};

pub(super) fn read(section: &Section<'_>) -> LaunchSpecification {
    LaunchSpecification {
        block_device_mappings: section.tables("BlockDeviceMappings", block_device_mapping),
        ebs_optimized: section.optional("EbsOptimized"),
        monitoring: section.optional_section("Monitoring", monitoring),
        placement: section.optional_section("Placement", placement),
        network_interfaces: section.tables("NetworkInterfaces", network_interface),
    }
}

fn block_device_mapping(section: &Section<'_>) -> BlockDeviceMapping {
    BlockDeviceMapping {
        device_name: section.optional("DeviceName"),
        virtual_name: section.optional("VirtualName"),
        // Empty means "yes" to EC2, so it is not the same as absent.
        no_device: section.optional("NoDevice"),
        ebs: section.optional_section("Ebs", ebs),
    }
}

fn ebs(section: &Section<'_>) -> Ebs {
    Ebs {
        delete_on_termination: section.optional("DeleteOnTermination"),
        encrypted: section.optional("Encrypted"),
        iops: section.optional("Iops"),
        throughput: section.optional("Throughput"),
        kms_key_id: section.optional("KmsKeyId"),
        snapshot_id: section.optional("SnapshotId"),
        volume_size: section.optional("VolumeSize"),
        volume_type: section.optional("VolumeType"),
    }
}

fn monitoring(section: &Section<'_>) -> Monitoring {
    let enabled = section.optional("Enabled");
    if enabled.is_none() {
        section.required("Enabled", "Monitoring = { Enabled = true }");
    }
    Monitoring { enabled: enabled.unwrap_or_default() }
}

fn placement(section: &Section<'_>) -> Placement {
    let tenancy = section.checked("Tenancy", |text| match text {
        "default" | "dedicated" => Ok(text.to_owned()),
        _ => Err(Refusal::new(
            format!("`{text}` is no tenancy for spot instances"),
            "known: default, dedicated",
        )),
    });
    if tenancy.is_none() {
        section.required("Tenancy", "Placement = { Tenancy = \"dedicated\" }");
    }
    Placement { tenancy: tenancy.unwrap_or_default() }
}

fn network_interface(section: &Section<'_>) -> NetworkInterface {
    NetworkInterface {
        device_index: section.value("DeviceIndex", 0),
        associate_public_ip_address: section.optional("AssociatePublicIpAddress"),
        delete_on_termination: section.optional("DeleteOnTermination"),
        description: section.optional("Description"),
        groups: section.list("Groups", |text| {
            if text.starts_with("sg-") {
                Ok(text.to_owned())
            } else {
                Err(Refusal::new(format!("`{text}` is not a security group id"), "sg-…"))
            }
        }),
        ipv6_address_count: section.optional("Ipv6AddressCount"),
        subnet_id: section.optional("SubnetId"),
        interface_type: section.optional("InterfaceType"),
    }
}
