//! `launch-specification`: fields of EC2's launch specification, spelled as EC2 spells them.

use crate::config::section::Section;
use crate::config::setting::{Rejection, tight};
use crate::domain::launch::{
    BlockDeviceMapping, Ebs, LaunchSpecification, Monitoring, NetworkInterface, Placement,
};

pub(super) fn read(section: &Section<'_>) -> LaunchSpecification {
    LaunchSpecification {
        block_device_mappings: section.tables(
            "BlockDeviceMappings",
            "The machine's volumes",
            block_device_mapping,
        ),
        ebs_optimized: section.optional("EbsOptimized", "Dedicated throughput to EBS"),
        monitoring: section.optional_section("Monitoring", "Monitoring by CloudWatch", monitoring),
        placement: section.optional_section("Placement", "Where the instance runs", placement),
        network_interfaces: section.tables(
            "NetworkInterfaces",
            "The machine's network interfaces",
            network_interface,
        ),
    }
}

fn block_device_mapping(section: &Section<'_>) -> BlockDeviceMapping {
    BlockDeviceMapping {
        device_name: section.optional("DeviceName", "Such as `/dev/xvda`"),
        virtual_name: section
            .optional("VirtualName", "Instance store volume, such as `ephemeral0`"),
        // To EC2, an empty text suppresses the device, so it is not the same as an absent one.
        no_device: section
            .optional("NoDevice", "Leaves out this device of the image, with the value `\"\"`"),
        ebs: section.optional_section("Ebs", "An EBS volume", ebs),
    }
}

fn ebs(section: &Section<'_>) -> Ebs {
    Ebs {
        delete_on_termination: section
            .optional("DeleteOnTermination", "Whether it is deleted with the instance"),
        encrypted: section.optional("Encrypted", "Whether the volume is encrypted"),
        iops: section.optional("Iops", "I/O operations per second"),
        throughput: section.optional("Throughput", "MiB per second, for gp3"),
        kms_key_id: section.checked("KmsKeyId", "The key to encrypt the volume with", id),
        snapshot_id: section.checked("SnapshotId", "The snapshot to make the volume from", id),
        volume_size: section.optional("VolumeSize", "Size in GiB"),
        volume_type: section.optional("VolumeType", "Such as `gp3`"),
    }
}

fn id(text: &str) -> Result<String, Rejection> {
    tight(text).map(str::to_owned)
}

fn monitoring(section: &Section<'_>) -> Monitoring {
    let enabled = section.optional("Enabled", "Whether monitoring is detailed, which costs extra");
    if enabled.is_none() {
        section.required("Enabled", "Monitoring = { Enabled = true }");
    }
    Monitoring { enabled: enabled.unwrap_or_default() }
}

fn placement(section: &Section<'_>) -> Placement {
    let tenancy = section.checked("Tenancy", "`default` or `dedicated`", |text| match text {
        "default" | "dedicated" => Ok(text.to_owned()),
        _ => Err(Rejection::new(
            format!("`{text}` is not a tenancy for spot instances"),
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
        device_index: section.value("DeviceIndex", 0, "Its position among the interfaces"),
        associate_public_ip_address: section.optional(
            "AssociatePublicIpAddress",
            "Whether the instance gets a public IPv4 address",
        ),
        delete_on_termination: section
            .optional("DeleteOnTermination", "Whether it is deleted with the instance"),
        description: section.optional("Description", "The description of the interface"),
        groups: section.list("Groups", "Security groups, `sg-…`", |text| {
            if tight(text)?.starts_with("sg-") {
                Ok(text.to_owned())
            } else {
                Err(Rejection::new(format!("`{text}` is not a security group id"), "sg-…"))
            }
        }),
        ipv6_address_count: section
            .optional("Ipv6AddressCount", "The number of IPv6 addresses to assign"),
        subnet_id: section.checked("SubnetId", "The subnet of the interface", id),
        interface_type: section.optional("InterfaceType", "Such as `efa`"),
    }
}
