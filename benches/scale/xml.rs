//! What EC2 says of instances, spot requests and the rest, as long as EC2 says it: the shapes are those
//! of the examples in the Amazon EC2 API Reference (`DescribeInstances`, `DescribeSpotInstanceRequests`,
//! `RequestSpotInstances`, `DescribeSpotPriceHistory`), with every element that a spot instance in a VPC
//! shows.

use std::fmt::Write as _;

use super::fleet::{KEY_NAME, Machine, REGION};

const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// An answer to `operation`.
pub(crate) fn answer(operation: &str, content: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response xmlns=\"{NAMESPACE}\">\n    \
         <requestId>8f7724cf-496f-496e-8fe3-example</requestId>\n{content}</{operation}Response>\n"
    )
}

/// A page of a listing in `set`; `next` is the place of the next one.
pub(crate) fn page(operation: &str, set: &str, items: &str, next: Option<usize>) -> String {
    let next = next.map_or_else(String::new, |next| format!("    <nextToken>{next}</nextToken>\n"));
    answer(operation, &format!("    <{set}>\n{items}    </{set}>\n{next}"))
}

fn tags(tags: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (key, value) in tags {
        let _ = writeln!(
            text,
            "                        <item>\n                            <key>{key}</key>\n                            \
             <value>{value}</value>\n                        </item>"
        );
    }
    text
}

/// Ours, and what else companies put on their machines.
fn all_tags(machine: &Machine) -> String {
    let token = machine.token();
    tags(&[
        ("Name", machine.worker_type.as_str()),
        ("provisioner:intent", token.as_str()),
        ("provisioner:key-name", KEY_NAME),
        ("provisioner:worker-type", machine.worker_type.as_str()),
        ("team", "ci"),
    ])
}

/// One reservation with one instance.
#[expect(clippy::too_many_lines, reason = "one document, element by element, as EC2 answers it")]
pub(crate) fn instance(machine: &Machine) -> String {
    let Machine { id, request, launched, .. } = machine;
    let (instance_type, zone) = (machine.instance_type(), machine.zone());
    let digits = id.trim_start_matches("i-");
    let address = machine.address();
    let dashed = address.replace('.', "-");
    let tags = if machine.tagged { all_tags(machine) } else { String::new() };
    format!(
        r"        <item>
            <reservationId>r-{digits}</reservationId>
            <ownerId>123456789012</ownerId>
            <groupSet/>
            <instancesSet>
                <item>
                    <instanceId>{id}</instanceId>
                    <imageId>ami-0123456789abcdef0</imageId>
                    <instanceState>
                        <code>16</code>
                        <name>running</name>
                    </instanceState>
                    <privateDnsName>ip-{dashed}.{REGION}.compute.internal</privateDnsName>
                    <dnsName>ec2-{dashed}.{REGION}.compute.amazonaws.com</dnsName>
                    <reason/>
                    <keyName>{KEY_NAME}</keyName>
                    <amiLaunchIndex>0</amiLaunchIndex>
                    <productCodes/>
                    <instanceType>{instance_type}</instanceType>
                    <launchTime>{launched}</launchTime>
                    <placement>
                        <availabilityZone>{zone}</availabilityZone>
                        <availabilityZoneId>usw2-az1</availabilityZoneId>
                        <groupName/>
                        <tenancy>default</tenancy>
                    </placement>
                    <monitoring>
                        <state>disabled</state>
                    </monitoring>
                    <subnetId>subnet-0a1b2c3d4e5f60718</subnetId>
                    <vpcId>vpc-0a1b2c3d4e5f60718</vpcId>
                    <privateIpAddress>{address}</privateIpAddress>
                    <ipAddress>{address}</ipAddress>
                    <sourceDestCheck>true</sourceDestCheck>
                    <groupSet>
                        <item>
                            <groupId>sg-0123456789abcdef0</groupId>
                            <groupName>workers</groupName>
                        </item>
                    </groupSet>
                    <architecture>arm64</architecture>
                    <rootDeviceType>ebs</rootDeviceType>
                    <rootDeviceName>/dev/xvda</rootDeviceName>
                    <blockDeviceMapping>
                        <item>
                            <deviceName>/dev/xvda</deviceName>
                            <ebs>
                                <volumeId>vol-{digits}</volumeId>
                                <status>attached</status>
                                <attachTime>{launched}</attachTime>
                                <deleteOnTermination>true</deleteOnTermination>
                                <ebsCardIndex>0</ebsCardIndex>
                            </ebs>
                        </item>
                    </blockDeviceMapping>
                    <virtualizationType>hvm</virtualizationType>
                    <instanceLifecycle>spot</instanceLifecycle>
                    <spotInstanceRequestId>{request}</spotInstanceRequestId>
                    <clientToken>{token}</clientToken>
                    <tagSet>
{tags}                    </tagSet>
                    <hypervisor>xen</hypervisor>
                    <networkInterfaceSet>
                        <item>
                            <networkInterfaceId>eni-{digits}</networkInterfaceId>
                            <subnetId>subnet-0a1b2c3d4e5f60718</subnetId>
                            <vpcId>vpc-0a1b2c3d4e5f60718</vpcId>
                            <description/>
                            <ownerId>123456789012</ownerId>
                            <status>in-use</status>
                            <macAddress>02:68:b9:ce:23:1a</macAddress>
                            <privateIpAddress>{address}</privateIpAddress>
                            <privateDnsName>ip-{dashed}.{REGION}.compute.internal</privateDnsName>
                            <sourceDestCheck>true</sourceDestCheck>
                            <groupSet>
                                <item>
                                    <groupId>sg-0123456789abcdef0</groupId>
                                    <groupName>workers</groupName>
                                </item>
                            </groupSet>
                            <attachment>
                                <attachmentId>eni-attach-{digits}</attachmentId>
                                <deviceIndex>0</deviceIndex>
                                <status>attached</status>
                                <attachTime>{launched}</attachTime>
                                <deleteOnTermination>true</deleteOnTermination>
                                <networkCardIndex>0</networkCardIndex>
                            </attachment>
                            <association>
                                <publicIp>{address}</publicIp>
                                <publicDnsName>ec2-{dashed}.{REGION}.compute.amazonaws.com</publicDnsName>
                                <ipOwnerId>amazon</ipOwnerId>
                            </association>
                            <privateIpAddressesSet>
                                <item>
                                    <privateIpAddress>{address}</privateIpAddress>
                                    <privateDnsName>ip-{dashed}.{REGION}.compute.internal</privateDnsName>
                                    <primary>true</primary>
                                    <association>
                                        <publicIp>{address}</publicIp>
                                        <publicDnsName>ec2-{dashed}.{REGION}.compute.amazonaws.com</publicDnsName>
                                        <ipOwnerId>amazon</ipOwnerId>
                                    </association>
                                </item>
                            </privateIpAddressesSet>
                            <ipv6AddressesSet/>
                            <interfaceType>interface</interfaceType>
                            <operator>
                                <managed>false</managed>
                            </operator>
                        </item>
                    </networkInterfaceSet>
                    <ebsOptimized>true</ebsOptimized>
                    <enaSupport>true</enaSupport>
                    <cpuOptions>
                        <coreCount>2</coreCount>
                        <threadsPerCore>1</threadsPerCore>
                    </cpuOptions>
                    <capacityReservationSpecification>
                        <capacityReservationPreference>open</capacityReservationPreference>
                    </capacityReservationSpecification>
                    <hibernationOptions>
                        <configured>false</configured>
                    </hibernationOptions>
                    <enclaveOptions>
                        <enabled>false</enabled>
                    </enclaveOptions>
                    <metadataOptions>
                        <state>applied</state>
                        <httpTokens>required</httpTokens>
                        <httpPutResponseHopLimit>2</httpPutResponseHopLimit>
                        <httpEndpoint>enabled</httpEndpoint>
                        <httpProtocolIpv6>disabled</httpProtocolIpv6>
                        <instanceMetadataTags>disabled</instanceMetadataTags>
                    </metadataOptions>
                    <bootMode>uefi-preferred</bootMode>
                    <currentInstanceBootMode>uefi</currentInstanceBootMode>
                    <platformDetails>Linux/UNIX</platformDetails>
                    <usageOperation>RunInstances</usageOperation>
                    <usageOperationUpdateTime>{launched}</usageOperationUpdateTime>
                    <privateDnsNameOptions>
                        <hostnameType>ip-name</hostnameType>
                        <enableResourceNameDnsARecord>false</enableResourceNameDnsARecord>
                        <enableResourceNameDnsAAAARecord>false</enableResourceNameDnsAAAARecord>
                    </privateDnsNameOptions>
                    <maintenanceOptions>
                        <autoRecovery>default</autoRecovery>
                        <rebootMigration>default</rebootMigration>
                    </maintenanceOptions>
                    <networkPerformanceOptions>
                        <bandwidthWeighting>default</bandwidthWeighting>
                    </networkPerformanceOptions>
                    <operator>
                        <managed>false</managed>
                    </operator>
                </item>
            </instancesSet>
        </item>
",
        token = machine.token(),
    )
}

/// A fulfilled spot request; an `open` one has no instance yet.
pub(crate) fn spot_request(machine: &Machine, state: &str) -> String {
    let Machine { id, request, launched, .. } = machine;
    let (instance_type, zone) = (machine.instance_type(), machine.zone());
    let (code, message, instance) = match state {
        "open" => ("pending-evaluation", "is pending evaluation.", String::new()),
        _ => (
            "fulfilled",
            "is fulfilled.",
            format!(
                "            <instanceId>{id}</instanceId>\n            \
                 <launchedAvailabilityZone>{zone}</launchedAvailabilityZone>\n"
            ),
        ),
    };
    let tags = all_tags(machine);
    format!(
        r"        <item>
            <spotInstanceRequestId>{request}</spotInstanceRequestId>
            <spotPrice>0.100000</spotPrice>
            <type>one-time</type>
            <state>{state}</state>
            <status>
                <code>{code}</code>
                <updateTime>{launched}</updateTime>
                <message>Your Spot request {message}</message>
            </status>
            <launchSpecification>
                <imageId>ami-0123456789abcdef0</imageId>
                <keyName>{KEY_NAME}</keyName>
                <groupSet>
                    <item>
                        <groupId>sg-0123456789abcdef0</groupId>
                        <groupName>workers</groupName>
                    </item>
                </groupSet>
                <instanceType>{instance_type}</instanceType>
                <placement>
                    <availabilityZone>{zone}</availabilityZone>
                    <tenancy>default</tenancy>
                </placement>
                <blockDeviceMapping>
                    <item>
                        <deviceName>/dev/xvda</deviceName>
                        <ebs>
                            <volumeSize>30</volumeSize>
                            <deleteOnTermination>true</deleteOnTermination>
                            <volumeType>gp3</volumeType>
                        </ebs>
                    </item>
                </blockDeviceMapping>
                <monitoring>
                    <enabled>false</enabled>
                </monitoring>
                <ebsOptimized>false</ebsOptimized>
            </launchSpecification>
{instance}            <createTime>{launched}</createTime>
            <productDescription>Linux/UNIX</productDescription>
            <validUntil>2099-01-01T00:00:00.000Z</validUntil>
            <instanceInterruptionBehavior>terminate</instanceInterruptionBehavior>
            <tagSet>
{tags}            </tagSet>
        </item>
"
    )
}

/// The price of a pool.
pub(crate) fn spot_price(instance_type: &str, zone: &str, now: &str) -> String {
    format!(
        "        <item>\n            <instanceType>{instance_type}</instanceType>\n            \
         <productDescription>Linux/UNIX</productDescription>\n            \
         <spotPrice>0.031200</spotPrice>\n            <timestamp>{now}</timestamp>\n            \
         <availabilityZone>{zone}</availabilityZone>\n        </item>\n"
    )
}

/// The key pair, tagged ours.
pub(crate) fn key_pair() -> String {
    format!(
        "        <item>\n            <keyPairId>key-0123456789abcdef0</keyPairId>\n            \
         <keyName>{KEY_NAME}</keyName>\n            <tagSet>\n{}            </tagSet>\n        </item>\n",
        tags(&[("provisioner:key-name", KEY_NAME)])
    )
}

/// STS' `GetCallerIdentity`.
pub(crate) fn caller_identity(account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/bench</Arn>\
         <UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Account>{account}</Account>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}
