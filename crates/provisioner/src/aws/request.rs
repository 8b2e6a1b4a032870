//! `RequestSpotInstances`: sends one [`LaunchCall`].

use aws_sdk_ec2::operation::request_spot_instances::builders::RequestSpotInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, IamInstanceProfileSpecification,
    InstanceNetworkInterfaceSpecification, InstanceType, RequestSpotLaunchSpecification,
    ResourceType, RunInstancesMonitoringEnabled, SpotInstanceType, SpotPlacement, Tenancy,
    VolumeType,
};

use super::state::spot_request_state;
use super::{Client, Error, tags, time};
use crate::domain::ids::SpotRequestId;
use crate::domain::launch::{self, LaunchCall, LaunchSpecification};
use crate::engine::GrantedRequest;

const OPERATION: &str = "RequestSpotInstances";

impl Client {
    /// Makes the call once; the caller decides what to do about a refusal. Repeating the same call with
    /// the same token returns the same requests.
    pub async fn request_spot_instances(
        &self,
        call: &LaunchCall,
    ) -> Result<Vec<GrantedRequest>, Error> {
        let resource = || format!("worker type `{}`", call.worker_type);
        let answer = rendered(&self.ec2_launch, call)
            .send()
            .await
            .map_err(|error| Error::new(OPERATION, resource(), error))?;
        answer
            .spot_instance_requests()
            .iter()
            .map(|request| {
                let id = request.spot_instance_request_id().ok_or_else(|| {
                    Error::incomplete(OPERATION, resource(), "a spot request without an id")
                })?;
                let state = spot_request_state(request.state().map(AsRef::as_ref));
                Ok(GrantedRequest { id: SpotRequestId::from(id), state })
            })
            .collect()
    }
}

/// Renders the call. A dry run sends the same.
pub(super) fn rendered(
    ec2: &aws_sdk_ec2::Client,
    call: &LaunchCall,
) -> RequestSpotInstancesFluentBuilder {
    ec2.request_spot_instances()
        .client_token(call.token.as_str())
        .r#type(SpotInstanceType::OneTime)
        .instance_count(i32::try_from(call.count).unwrap_or(i32::MAX))
        .set_spot_price(call.max_price.map(|price| price.to_string()))
        .valid_until(time::date_time(call.valid_until))
        .tag_specifications(tags::specification(ResourceType::SpotInstancesRequest, &call.tags))
        .launch_specification(specification(call))
}

fn specification(call: &LaunchCall) -> RequestSpotLaunchSpecification {
    let LaunchSpecification {
        block_device_mappings,
        ebs_optimized,
        monitoring,
        placement,
        network_interfaces,
    } = &call.launch_specification;

    let mut builder = RequestSpotLaunchSpecification::builder()
        .image_id(&call.image_id)
        .instance_type(InstanceType::from(call.instance_type.as_str()))
        .key_name(call.key_name.as_str())
        .set_user_data(call.user_data.clone())
        .set_ebs_optimized(*ebs_optimized)
        .set_iam_instance_profile(call.iam_instance_profile.as_deref().map(profile))
        .set_monitoring(monitoring.as_ref().map(|monitoring| {
            RunInstancesMonitoringEnabled::builder().enabled(monitoring.enabled).build()
        }));
    // The subnet implies its zone; EC2 could find the two contradictory.
    let zone = call.zone.as_ref().filter(|_| call.subnet.is_none());
    if zone.is_some() || placement.is_some() {
        builder = builder.placement(
            SpotPlacement::builder()
                .set_availability_zone(zone.map(|zone| zone.as_str().to_owned()))
                .set_tenancy(
                    placement.as_ref().map(|placement| Tenancy::from(placement.tenancy.as_str())),
                )
                .build(),
        );
    }
    for mapping in block_device_mappings {
        builder = builder.block_device_mappings(block_device(mapping));
    }
    if network_interfaces.is_empty() {
        builder = builder.set_subnet_id(call.subnet.as_ref().map(|id| id.as_str().to_owned()));
        for group in &call.security_group_ids {
            builder = builder.security_group_ids(group);
        }
    }
    // If there are interfaces, EC2 takes subnet and groups only from them.
    for interface in network_interfaces {
        builder = builder.network_interfaces(network_interface(interface, call));
    }
    builder.build()
}

fn profile(name_or_arn: &str) -> IamInstanceProfileSpecification {
    let builder = IamInstanceProfileSpecification::builder();
    if name_or_arn.starts_with("arn:") {
        builder.arn(name_or_arn)
    } else {
        builder.name(name_or_arn)
    }
    .build()
}

fn block_device(mapping: &launch::BlockDeviceMapping) -> BlockDeviceMapping {
    let launch::BlockDeviceMapping { device_name, virtual_name, no_device, ebs } = mapping;
    BlockDeviceMapping::builder()
        .set_device_name(device_name.clone())
        .set_virtual_name(virtual_name.clone())
        .set_no_device(no_device.clone())
        .set_ebs(ebs.as_ref().map(volume))
        .build()
}

fn volume(ebs: &launch::Ebs) -> EbsBlockDevice {
    let launch::Ebs {
        delete_on_termination,
        encrypted,
        iops,
        throughput,
        kms_key_id,
        snapshot_id,
        volume_size,
        volume_type,
    } = ebs;
    EbsBlockDevice::builder()
        .set_delete_on_termination(*delete_on_termination)
        .set_encrypted(*encrypted)
        .set_iops(*iops)
        .set_throughput(*throughput)
        .set_kms_key_id(kms_key_id.clone())
        .set_snapshot_id(snapshot_id.clone())
        .set_volume_size(*volume_size)
        .set_volume_type(volume_type.as_deref().map(VolumeType::from))
        .build()
}

fn network_interface(
    interface: &launch::NetworkInterface,
    call: &LaunchCall,
) -> InstanceNetworkInterfaceSpecification {
    let launch::NetworkInterface {
        device_index,
        associate_public_ip_address,
        delete_on_termination,
        description,
        groups,
        ipv6_address_count,
        subnet_id,
        interface_type,
    } = interface;
    let groups = if groups.is_empty() { &call.security_group_ids } else { groups };
    let subnet =
        subnet_id.clone().or_else(|| call.subnet.as_ref().map(|id| id.as_str().to_owned()));
    InstanceNetworkInterfaceSpecification::builder()
        .device_index(*device_index)
        .set_associate_public_ip_address(*associate_public_ip_address)
        .set_delete_on_termination(*delete_on_termination)
        .set_description(description.clone())
        .set_groups((!groups.is_empty()).then(|| groups.clone()))
        .set_ipv6_address_count(*ipv6_address_count)
        .set_subnet_id(subnet)
        .set_interface_type(interface_type.clone())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ClientToken, KeyName, SubnetId, WorkerTypeName, Zone};
    use crate::domain::launch::NetworkInterface;

    fn call() -> LaunchCall {
        LaunchCall {
            token: ClientToken::from("t"),
            worker_type: WorkerTypeName::from("linux"),
            decided: "2026-11-23T12:00:00Z".parse().unwrap(),
            count: 2,
            key_name: KeyName::from("k"),
            image_id: "ami-1".to_owned(),
            instance_type: crate::domain::ids::InstanceType::from("c7g.large"),
            zone: Some(Zone::from("us-west-2a")),
            subnet: None,
            security_group_ids: vec!["sg-1".to_owned()],
            iam_instance_profile: Some("arn:aws:iam::1:instance-profile/p".to_owned()),
            user_data: None,
            max_price: None,
            valid_until: "2026-11-23T12:12:00Z".parse().unwrap(),
            tags: std::collections::BTreeMap::new(),
            launch_specification: LaunchSpecification::default(),
        }
    }

    #[test]
    fn the_zone_goes_out_unless_a_subnet_implies_it() {
        let mut call = call();
        let sent = specification(&call);
        assert_eq!(sent.placement().and_then(SpotPlacement::availability_zone), Some("us-west-2a"));
        assert!(sent.iam_instance_profile().unwrap().arn().is_some());

        call.subnet = Some(SubnetId::from("subnet-1"));
        let sent = specification(&call);
        assert_eq!(sent.subnet_id(), Some("subnet-1"));
        assert!(sent.placement().is_none());
    }

    #[test]
    fn network_interfaces_carry_subnet_and_groups() {
        let mut call = call();
        call.subnet = Some(SubnetId::from("subnet-1"));
        call.launch_specification.network_interfaces = vec![NetworkInterface::default()];
        let sent = specification(&call);
        assert_eq!((sent.subnet_id(), sent.security_group_ids().len()), (None, 0));
        let interface = &sent.network_interfaces()[0];
        assert_eq!(interface.subnet_id(), Some("subnet-1"));
        assert_eq!(interface.groups(), ["sg-1"]);
    }
}
