//! What an instance has besides its place and state: addresses, a network interface, a volume and options.
//!
//! Nothing here influences the simulation. EC2 shows all of it of every instance, and it is most of an answer,
//! so clients meet answers of the size that EC2 gives (Amazon EC2 API Reference, `Instance`).

use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::accounts::ACCOUNT;
use super::places::{REGION, VPC};
use super::xml::{Node, set, text, time, tree};
use crate::world::{ROOT_DEVICE, address, public_address};

/// The hardware of one instance.
pub(super) struct Hardware {
    /// The part of the instance's id that tells it from others; its parts have it in their ids, too.
    digits: String,
    private: Ipv4Addr,
    public: Ipv4Addr,
    subnet: Option<&'static str>,
    launched: Timestamp,
    /// Whether it runs or will run, which is what EC2 shows addresses, interfaces and volumes for.
    is_live: bool,
}

impl Hardware {
    /// Returns the hardware of the instance with this id.
    pub(super) fn of(
        id: &str,
        subnet: Option<&'static str>,
        launched: Timestamp,
        is_live: bool,
    ) -> Self {
        let digits = id.trim_start_matches("i-").to_owned();
        let number =
            usize::from_str_radix(digits.trim_start_matches("sim"), 16).unwrap_or_default();
        Self {
            digits,
            private: address(number),
            public: public_address(number),
            subnet,
            launched,
            is_live,
        }
    }

    fn private_name(&self) -> String {
        let dashed = self.private.to_string().replace('.', "-");
        format!("ip-{dashed}.{REGION}.compute.internal")
    }

    fn public_name(&self) -> String {
        let dashed = self.public.to_string().replace('.', "-");
        format!("ec2-{dashed}.{REGION}.compute.amazonaws.com")
    }

    /// The elements about addresses. The names are empty once the instance has none.
    pub(super) fn addresses(&self) -> Vec<Node> {
        if !self.is_live {
            return vec![text("privateDnsName", ""), text("dnsName", "")];
        }
        vec![
            text("privateDnsName", self.private_name()),
            text("dnsName", self.public_name()),
            text("privateIpAddress", self.private),
            text("ipAddress", self.public),
            text("sourceDestCheck", true),
        ]
    }

    /// `blockDeviceMapping`, and what is said of the root device.
    pub(super) fn volumes(&self, end_with_instance: bool) -> Vec<Node> {
        let volume = || {
            let ebs = tree(
                "ebs",
                [
                    text("volumeId", format_args!("vol-{}", self.digits)),
                    text("status", "attached"),
                    time("attachTime", self.launched),
                    text("deleteOnTermination", end_with_instance),
                ],
            );
            vec![text("deviceName", ROOT_DEVICE), ebs]
        };
        vec![
            text("rootDeviceType", "ebs"),
            text("rootDeviceName", ROOT_DEVICE),
            set("blockDeviceMapping", self.is_live.then(volume)),
        ]
    }

    /// `networkInterfaceSet`: one interface in these security groups.
    pub(super) fn network_interfaces(&self, groups: &Node) -> Node {
        set("networkInterfaceSet", self.is_live.then(|| self.network_interface(groups)))
    }

    fn network_interface(&self, groups: &Node) -> Vec<Node> {
        let association = || {
            let names = [
                text("publicIp", self.public),
                text("publicDnsName", self.public_name()),
                text("ipOwnerId", "amazon"),
            ];
            tree("association", names)
        };
        let attachment = [
            text("attachmentId", format_args!("eni-attach-{}", self.digits)),
            text("deviceIndex", 0),
            text("status", "attached"),
            time("attachTime", self.launched),
            text("deleteOnTermination", true),
            text("networkCardIndex", 0),
        ];
        let [_, _, c, d] = self.private.octets();
        let mut inside = vec![text("networkInterfaceId", format_args!("eni-{}", self.digits))];
        inside.extend(self.subnet.map(|subnet| text("subnetId", subnet)));
        inside.extend([
            text("vpcId", VPC),
            text("description", ""),
            text("ownerId", ACCOUNT),
            text("status", "in-use"),
            text("macAddress", format_args!("02:00:00:00:{c:02x}:{d:02x}")),
            text("privateIpAddress", self.private),
            text("privateDnsName", self.private_name()),
            text("sourceDestCheck", true),
            groups.clone(),
            tree("attachment", attachment),
            association(),
            set(
                "privateIpAddressesSet",
                [vec![
                    text("privateIpAddress", self.private),
                    text("privateDnsName", self.private_name()),
                    text("primary", true),
                    association(),
                ]],
            ),
            set("ipv6AddressesSet", []),
            text("interfaceType", "interface"),
            tree("operator", [text("managed", false)]),
        ]);
        inside
    }

    /// Options of the instance, with the defaults that EC2 gives to a launch that sets none of them.
    pub(super) fn options(&self) -> Vec<Node> {
        vec![
            text("enaSupport", true),
            tree("cpuOptions", [text("coreCount", 2), text("threadsPerCore", 1)]),
            tree(
                "capacityReservationSpecification",
                [text("capacityReservationPreference", "open")],
            ),
            tree("hibernationOptions", [text("configured", false)]),
            tree("enclaveOptions", [text("enabled", false)]),
            tree(
                "metadataOptions",
                [
                    text("state", "applied"),
                    text("httpTokens", "required"),
                    text("httpPutResponseHopLimit", 2),
                    text("httpEndpoint", "enabled"),
                    text("httpProtocolIpv6", "disabled"),
                    text("instanceMetadataTags", "disabled"),
                ],
            ),
            text("bootMode", "uefi-preferred"),
            text("currentInstanceBootMode", "uefi"),
            text("usageOperation", "RunInstances"),
            time("usageOperationUpdateTime", self.launched),
            tree(
                "privateDnsNameOptions",
                [
                    text("hostnameType", "ip-name"),
                    text("enableResourceNameDnsARecord", false),
                    text("enableResourceNameDnsAAAARecord", false),
                ],
            ),
            tree("maintenanceOptions", [text("autoRecovery", "default")]),
            tree("networkPerformanceOptions", [text("bandwidthWeighting", "default")]),
            tree("operator", [text("managed", false)]),
        ]
    }
}
