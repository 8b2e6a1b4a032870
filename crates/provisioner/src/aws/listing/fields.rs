//! The elements that are read of each instance and spot request (Amazon EC2 API Reference, `Instance` and
//! `SpotInstanceRequest`).

use std::net::IpAddr;

use jiff::Timestamp;

use super::ListedItem;
use super::elements::{Element, item, onward, part, text, time, within};
use crate::domain::ids::{ClientToken, KeyName, VolumeId, WorkerTypeName};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::observed::OwnTags;

/// The fields of an instance; `None` where EC2 sent no such element.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InstanceFields {
    pub(crate) id: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) launch_time: Option<Timestamp>,
    pub(crate) zone: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) platform_details: Option<String>,
    pub(crate) spot_request: Option<String>,
    pub(crate) reason_code: Option<String>,
    pub(crate) reason_message: Option<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) volumes: VolumeFields,
    pub(crate) tags: TagFields,
}

/// The fields of a spot instance request; `None` where EC2 sent no such element.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SpotRequestFields {
    pub(crate) id: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) status_code: Option<String>,
    pub(crate) status_message: Option<String>,
    pub(crate) status_time: Option<Timestamp>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) price: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) launched_zone: Option<String>,
    /// The key-name, instance type and zone that the launch specification asks for.
    pub(crate) key_name: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) asked_zone: Option<String>,
    pub(crate) tags: TagFields,
}

/// The volumes of an instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct VolumeFields {
    /// The ids of those that stay when the instance is terminated.
    pub(crate) lasting: Vec<String>,
    /// The ids of the others.
    pub(crate) passing: Vec<String>,
    /// The fields of the volume that is being read.
    id: Option<String>,
    outlives: bool,
}

impl VolumeFields {
    /// Takes in the volume that has been read.
    fn end(&mut self) {
        let id = self.id.take();
        if std::mem::take(&mut self.outlives) {
            self.lasting.extend(id);
        } else {
            self.passing.extend(id);
        }
    }

    /// The ids of all volumes.
    pub(crate) fn all(&self) -> Vec<VolumeId> {
        self.lasting.iter().chain(&self.passing).map(VolumeId::new).collect()
    }
}

/// Our tags. Other tags are skipped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TagFields {
    pub(crate) own: OwnTags,
    /// The key and value of the tag that is being read.
    key: String,
    value: Option<String>,
}

impl TagFields {
    /// Takes in the tag that has been read. Of several with the same key the first counts.
    fn end(&mut self) {
        let key = std::mem::take(&mut self.key);
        let Some(value) = self.value.take() else { return };
        let OwnTags { key_name, worker_type, intent } = &mut self.own;
        match key.as_str() {
            TAG_KEY_NAME if key_name.is_none() => *key_name = Some(KeyName::new(value)),
            TAG_WORKER_TYPE if worker_type.is_none() => {
                *worker_type = Some(WorkerTypeName::new(value));
            }
            TAG_INTENT if intent.is_none() => *intent = Some(ClientToken::new(value)),
            _ => {}
        }
    }
}

/// Takes in an address, which EC2 shows of the instance, of its interface and of the interface's addresses.
fn address(instance: &mut InstanceFields, text: &str) {
    if let Ok(address) = text.parse()
        && !instance.addresses.contains(&address)
    {
        instance.addresses.push(address);
    }
}

fn set(field: &mut Option<String>, text: &str) {
    *field = Some(text.to_owned());
}

/// An item with tags.
trait Tagged: Sized + 'static {
    /// The children of `tagSet`.
    const TAGS: &'static [Element<Self>] = &[part(
        "item",
        &[
            text("key", |item, text| text.clone_into(&mut Self::tags(item).key)),
            text("value", |item, text| set(&mut Self::tags(item).value, text)),
        ],
        |item| Self::tags(item).end(),
    )];

    fn tags(&mut self) -> &mut TagFields;
}

impl Tagged for InstanceFields {
    fn tags(&mut self) -> &mut TagFields {
        &mut self.tags
    }
}

impl Tagged for SpotRequestFields {
    fn tags(&mut self) -> &mut TagFields {
        &mut self.tags
    }
}

/// The children of `association`, of an interface or one of its addresses.
const ASSOCIATION: &[Element<InstanceFields>] =
    &[text("publicIp", address), text("carrierIp", address)];

/// The children of an item of `networkInterfaceSet`.
const INTERFACE: &[Element<InstanceFields>] = &[
    text("privateIpAddress", address),
    within("association", ASSOCIATION),
    within(
        "privateIpAddressesSet",
        &[within("item", &[text("privateIpAddress", address), within("association", ASSOCIATION)])],
    ),
    within("ipv6AddressesSet", &[within("item", &[text("ipv6Address", address)])]),
];

/// The children of `ebs` in a block device mapping.
const EBS: &[Element<InstanceFields>] = &[
    text("volumeId", |instance, text| set(&mut instance.volumes.id, text)),
    text("deleteOnTermination", |instance, text| instance.volumes.outlives = text == "false"),
];

impl ListedItem for InstanceFields {
    const PAGE: &'static Element<Self> = &within(
        "DescribeInstancesResponse",
        &[
            within(
                "reservationSet",
                &[within(
                    "item",
                    &[within(
                        "instancesSet",
                        &[item(
                            "item",
                            &[
                                text("instanceId", |instance, text| set(&mut instance.id, text)),
                                within(
                                    "instanceState",
                                    &[text("name", |instance, text| {
                                        set(&mut instance.state, text);
                                    })],
                                ),
                                text("keyName", |instance, text| set(&mut instance.key_name, text)),
                                text("instanceType", |instance, text| {
                                    set(&mut instance.instance_type, text);
                                }),
                                time("launchTime", |instance, time| {
                                    instance.launch_time = Some(time);
                                }),
                                within(
                                    "placement",
                                    &[text("availabilityZone", |instance, text| {
                                        set(&mut instance.zone, text);
                                    })],
                                ),
                                text("platform", |instance, text| {
                                    set(&mut instance.platform, text);
                                }),
                                text("platformDetails", |instance, text| {
                                    set(&mut instance.platform_details, text);
                                }),
                                text("spotInstanceRequestId", |instance, text| {
                                    set(&mut instance.spot_request, text);
                                }),
                                within(
                                    "stateReason",
                                    &[
                                        text("code", |instance, text| {
                                            set(&mut instance.reason_code, text);
                                        }),
                                        text("message", |instance, text| {
                                            set(&mut instance.reason_message, text);
                                        }),
                                    ],
                                ),
                                text("privateIpAddress", address),
                                text("ipAddress", address),
                                text("ipv6Address", address),
                                within("networkInterfaceSet", &[within("item", INTERFACE)]),
                                within(
                                    "blockDeviceMapping",
                                    &[part("item", &[within("ebs", EBS)], |instance| {
                                        instance.volumes.end();
                                    })],
                                ),
                                within("tagSet", Self::TAGS),
                            ],
                        )],
                    )],
                )],
            ),
            onward("nextToken"),
        ],
    );
}

impl ListedItem for SpotRequestFields {
    const PAGE: &'static Element<Self> = &within(
        "DescribeSpotInstanceRequestsResponse",
        &[
            within(
                "spotInstanceRequestSet",
                &[item(
                    "item",
                    &[
                        text("spotInstanceRequestId", |request, text| set(&mut request.id, text)),
                        text("spotPrice", |request, text| set(&mut request.price, text)),
                        text("state", |request, text| set(&mut request.state, text)),
                        within(
                            "status",
                            &[
                                text("code", |request, text| set(&mut request.status_code, text)),
                                text("message", |request, text| {
                                    set(&mut request.status_message, text);
                                }),
                                time("updateTime", |request, time| {
                                    request.status_time = Some(time);
                                }),
                            ],
                        ),
                        within(
                            "launchSpecification",
                            &[
                                text("keyName", |request, text| set(&mut request.key_name, text)),
                                text("instanceType", |request, text| {
                                    set(&mut request.instance_type, text);
                                }),
                                within(
                                    "placement",
                                    &[text("availabilityZone", |request, text| {
                                        set(&mut request.asked_zone, text);
                                    })],
                                ),
                            ],
                        ),
                        text("instanceId", |request, text| set(&mut request.instance, text)),
                        time("createTime", |request, time| request.created = Some(time)),
                        within("tagSet", Self::TAGS),
                        text("launchedAvailabilityZone", |request, text| {
                            set(&mut request.launched_zone, text);
                        }),
                    ],
                )],
            ),
            onward("nextToken"),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::super::elements::Reader;
    use super::*;

    #[test]
    fn only_volumes_that_outlive_their_instance_are_kept() {
        let volume = |inside: &str| format!("<item><ebs>{inside}</ebs></item>");
        let body = format!(
            "<DescribeInstancesResponse><reservationSet><item><instancesSet><item>\
             <instanceId>i-1</instanceId><blockDeviceMapping>{}{}{}</blockDeviceMapping></item></instancesSet>\
             </item></reservationSet></DescribeInstancesResponse>",
            volume("<volumeId>vol-root</volumeId><deleteOnTermination>true</deleteOnTermination>"),
            volume("<deleteOnTermination>false</deleteOnTermination><volumeId>vol-data</volumeId>"),
            volume("<volumeId>vol-unknown</volumeId>"),
        );
        let mut instances = Vec::new();
        Reader::new(InstanceFields::PAGE).feed(body.as_bytes(), &mut instances);
        let [instance] = instances.as_slice() else { panic!("{instances:?}") };
        assert_eq!(instance.volumes.lasting, ["vol-data"]);
    }
}
