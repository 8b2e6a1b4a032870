//! What is read of each instance and spot request, in EC2's words (Amazon EC2 API Reference, `Instance` and
//! `SpotInstanceRequest`).

use jiff::Timestamp;

use super::Listed;
use super::elements::{Element, item, onward, part, text, time, within};
use crate::domain::ids::{ClientToken, KeyName, WorkerTypeName};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::observed::OwnTags;

/// An instance. What EC2 does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShownInstance {
    pub(crate) id: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) launch_time: Option<Timestamp>,
    pub(crate) zone: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) platform_details: Option<String>,
    pub(crate) spot_request: Option<String>,
    pub(crate) tags: ShownTags,
}

/// A spot instance request. What EC2 does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShownSpotRequest {
    pub(crate) id: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) status_code: Option<String>,
    pub(crate) status_message: Option<String>,
    pub(crate) status_time: Option<Timestamp>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) price: Option<String>,
    pub(crate) instance: Option<String>,
    pub(crate) launched_zone: Option<String>,
    /// Those of the launch specification.
    pub(crate) key_name: Option<String>,
    pub(crate) instance_type: Option<String>,
    pub(crate) asked_zone: Option<String>,
    pub(crate) tags: ShownTags,
}

/// Our tags; the others are nobody's business here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ShownTags {
    pub(crate) own: OwnTags,
    /// Of the one that is being read.
    key: String,
    value: Option<String>,
}

impl ShownTags {
    /// A tag is complete. Of several with one key the first counts.
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

fn set(place: &mut Option<String>, text: &str) {
    *place = Some(text.to_owned());
}

/// What has tags.
trait Tagged: Sized + 'static {
    /// What `tagSet` holds.
    const TAGS: &'static [Element<Self>] = &[part(
        "item",
        &[
            text("key", |it, text| text.clone_into(&mut Self::tags(it).key)),
            text("value", |it, text| set(&mut Self::tags(it).value, text)),
        ],
        |it| Self::tags(it).end(),
    )];

    fn tags(&mut self) -> &mut ShownTags;
}

impl Tagged for ShownInstance {
    fn tags(&mut self) -> &mut ShownTags {
        &mut self.tags
    }
}

impl Tagged for ShownSpotRequest {
    fn tags(&mut self) -> &mut ShownTags {
        &mut self.tags
    }
}

impl Listed for ShownInstance {
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
                                text("instanceId", |it, text| set(&mut it.id, text)),
                                within(
                                    "instanceState",
                                    &[text("name", |it, text| set(&mut it.state, text))],
                                ),
                                text("keyName", |it, text| set(&mut it.key_name, text)),
                                text("instanceType", |it, text| set(&mut it.instance_type, text)),
                                time("launchTime", |it, time| it.launch_time = Some(time)),
                                within(
                                    "placement",
                                    &[text("availabilityZone", |it, text| {
                                        set(&mut it.zone, text);
                                    })],
                                ),
                                text("platform", |it, text| set(&mut it.platform, text)),
                                text("platformDetails", |it, text| {
                                    set(&mut it.platform_details, text);
                                }),
                                text("spotInstanceRequestId", |it, text| {
                                    set(&mut it.spot_request, text);
                                }),
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

impl Listed for ShownSpotRequest {
    const PAGE: &'static Element<Self> = &within(
        "DescribeSpotInstanceRequestsResponse",
        &[
            within(
                "spotInstanceRequestSet",
                &[item(
                    "item",
                    &[
                        text("spotInstanceRequestId", |it, text| set(&mut it.id, text)),
                        text("spotPrice", |it, text| set(&mut it.price, text)),
                        text("state", |it, text| set(&mut it.state, text)),
                        within(
                            "status",
                            &[
                                text("code", |it, text| set(&mut it.status_code, text)),
                                text("message", |it, text| set(&mut it.status_message, text)),
                                time("updateTime", |it, time| it.status_time = Some(time)),
                            ],
                        ),
                        within(
                            "launchSpecification",
                            &[
                                text("keyName", |it, text| set(&mut it.key_name, text)),
                                text("instanceType", |it, text| set(&mut it.instance_type, text)),
                                within(
                                    "placement",
                                    &[text("availabilityZone", |it, text| {
                                        set(&mut it.asked_zone, text);
                                    })],
                                ),
                            ],
                        ),
                        text("instanceId", |it, text| set(&mut it.instance, text)),
                        time("createTime", |it, time| it.created = Some(time)),
                        within("tagSet", Self::TAGS),
                        text("launchedAvailabilityZone", |it, text| {
                            set(&mut it.launched_zone, text);
                        }),
                    ],
                )],
            ),
            onward("nextToken"),
        ],
    );
}
