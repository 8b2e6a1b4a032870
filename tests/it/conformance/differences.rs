//! The list of all differences between the simulated EC2 and moto, and which of them is right.

/// On which side an element is that the other has not, or that its type differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Moto,
    Sim,
    Type,
}

/// The side that answers as EC2 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// The elements are there in EC2, and nothing that the simulation is for depends on them.
    Moto,
    /// moto lacks them, or has them in another form.
    Sim,
    /// moto still has them when they are gone in EC2.
    SimWithout,
}

/// Elements of one call's answer that differ alike.
#[derive(Debug)]
pub(super) struct Difference {
    /// The action, with ` refused` where it is one; `*` for all.
    pub(super) call: &'static str,
    /// The path of the element that contains them, which precedes their names.
    pub(super) within: &'static str,
    /// Their names, sorted, with spaces between.
    pub(super) names: &'static str,
    pub(super) side: Side,
    pub(super) right: Right,
    /// The page of the Amazon EC2 API Reference that says so.
    pub(super) page: &'static str,
}

impl Difference {
    /// Each of them, as call, path and side.
    pub(super) fn each(&self) -> impl Iterator<Item = (String, String, Side)> {
        let path = |name| format!("{}{name}", self.within);
        self.names.split(' ').map(move |name| (self.call.to_owned(), path(name), self.side))
    }
}

/// A difference where only moto has what EC2 has.
const fn left_out(
    call: &'static str,
    within: &'static str,
    page: &'static str,
    names: &'static str,
) -> Difference {
    Difference { call, within, names, side: Side::Moto, right: Right::Moto, page }
}

/// A difference where moto lacks what EC2 has.
const fn not_in_moto(
    call: &'static str,
    within: &'static str,
    page: &'static str,
    names: &'static str,
) -> Difference {
    Difference { call, within, names, side: Side::Sim, right: Right::Sim, page }
}

/// A difference where moto writes a value in another form than EC2.
const fn other_form(
    call: &'static str,
    within: &'static str,
    page: &'static str,
    names: &'static str,
) -> Difference {
    Difference { call, within, names, side: Side::Type, right: Right::Sim, page }
}

/// A difference where moto still has what is gone in EC2.
const fn gone(
    call: &'static str,
    within: &'static str,
    page: &'static str,
    names: &'static str,
) -> Difference {
    Difference { call, within, names, side: Side::Moto, right: Right::SimWithout, page }
}

/// Where the API's reference has its pages.
pub(super) const REFERENCE: &str = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_";

pub(super) const DIFFERENCES: &[Difference] = &[
    // Every example in the reference has the slash at the end.
    not_in_moto(
        "*",
        "@xmlns ",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html",
        "http://ec2.amazonaws.com/doc/2016-11-15/",
    ),
    not_in_moto(
        "CreateTags",
        "",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html",
        "return",
    ),
    not_in_moto(
        "DescribeImages",
        "imagesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html",
        "enaSupport",
    ),
    not_in_moto(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html",
        "bootMode capacityReservationSpecification cpuOptions currentInstanceBootMode dnsName \
         enaSupport enclaveOptions hibernationOptions maintenanceOptions networkPerformanceOptions \
         operator platformDetails privateDnsNameOptions usageOperation usageOperationUpdateTime",
    ),
    not_in_moto(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterface.html",
        "operator",
    ),
    not_in_moto(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet/item/privateIpAddressesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstancePrivateIpAddress.html",
        "privateDnsName",
    ),
    // The owner of an address that is not an Elastic IP address is `amazon`, and in moto an account.
    other_form(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet/item/association/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceAssociation.html",
        "ipOwnerId",
    ),
    other_form(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet/item/privateIpAddressesSet/item/\
         association/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceNetworkInterfaceAssociation.html",
        "ipOwnerId",
    ),
    // A terminated instance has neither an interface nor an address.
    gone(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html",
        "privateIpAddress sourceDestCheck",
    ),
    gone(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/networkInterfaceSet/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TerminateInstances.html",
        "item",
    ),
    not_in_moto(
        "DescribeSpotInstanceRequests",
        "spotInstanceRequestSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotInstanceRequest.html",
        "instanceInterruptionBehavior",
    ),
    not_in_moto(
        "DescribeSpotInstanceRequests",
        "spotInstanceRequestSet/item/launchSpecification/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchSpecification.html",
        "monitoring",
    ),
    not_in_moto(
        "RequestSpotInstances",
        "spotInstanceRequestSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SpotInstanceRequest.html",
        "instanceInterruptionBehavior",
    ),
    not_in_moto(
        "RequestSpotInstances",
        "spotInstanceRequestSet/item/launchSpecification/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_LaunchSpecification.html",
        "monitoring",
    ),
    left_out(
        "DescribeInstances",
        "reservationSet/item/instancesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html",
        "sriovNetSupport stateReason",
    ),
    // The surroundings only have what launches depend on.
    left_out(
        "DescribeImages",
        "imagesSet/item/blockDeviceMapping/item/ebs/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html",
        "snapshotId volumeType",
    ),
    left_out(
        "DescribeImages",
        "imagesSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Image.html",
        "bootMode creationDate description hypervisor imageAllowed imageLocation \
         imageOwnerAlias productCodes tagSet",
    ),
    left_out(
        "DescribeInstanceTypes",
        "instanceTypeSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceTypeInfo.html",
        "autoRecoverySupported bareMetal burstablePerformanceSupported \
         dedicatedHostsSupported ebsInfo freeTierEligible hibernationSupported hypervisor \
         instanceStorageSupported memoryInfo nitroEnclavesSupport nitroTpmInfo \
         nitroTpmSupport phcSupport placementGroupInfo rebootMigrationSupport \
         supportedBootModes supportedInRegion supportedRootDeviceTypes",
    ),
    left_out(
        "DescribeInstanceTypes",
        "instanceTypeSet/item/networkInfo/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInfo.html",
        "connectionTrackingConfiguration defaultNetworkCardIndex efaSupported enaSrdSupported \
         encryptionInTransitSupported flexibleEnaQueuesSupport ipv4AddressesPerInterface \
         ipv6AddressesPerInterface ipv6Supported maximumNetworkCards maximumNetworkInterfaces \
         networkCards networkPerformance secondaryNetworkSupported",
    ),
    left_out(
        "DescribeInstanceTypes",
        "instanceTypeSet/item/processorInfo/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ProcessorInfo.html",
        "manufacturer sustainedClockSpeedInGhz",
    ),
    left_out(
        "DescribeInstanceTypes",
        "instanceTypeSet/item/vCpuInfo/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VCpuInfo.html",
        "defaultCores defaultThreadsPerCore validCores validThreadsPerCore",
    ),
    left_out(
        "DescribeKeyPairs",
        "keySet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_KeyPairInfo.html",
        "createTime",
    ),
    left_out(
        "DescribeSecurityGroups",
        "securityGroupInfo/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroup.html",
        "ipPermissions ipPermissionsEgress securityGroupArn tagSet",
    ),
    left_out(
        "DescribeSubnets",
        "subnetSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html",
        "assignIpv6AddressOnCreation availabilityZoneId ipv6CidrBlockAssociationSet \
         ipv6Native mapPublicIpOnLaunch privateDnsNameOptionsOnLaunch subnetArn tagSet",
    ),
    left_out(
        "DescribeVpcs",
        "vpcSet/item/",
        "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html",
        "cidrBlockAssociationSet dhcpOptionsId instanceTenancy ipv6CidrBlockAssociationSet \
         tagSet",
    ),
];
