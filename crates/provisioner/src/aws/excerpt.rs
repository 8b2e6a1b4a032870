//! Takes of a listing only what is read.
//!
//! EC2 tells five kilobytes of each instance, in some 150 elements of which we read a dozen. The SDK
//! collects a page of a thousand before it takes it apart, and then keeps all of it: the largest part of
//! a round's memory, and nine tenths of its time. So what [`convert`](super::convert) does not read is
//! left out while the answer arrives. What is left is whole XML of the same shape.

mod elements;

use aws_sdk_ec2::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;

use elements::{Element, Filter, only, whole};

/// Leaves out of the answers to one operation what is not read.
#[derive(Debug)]
pub(crate) struct Excerpt(&'static Element);

/// `DescribeInstances`, as far as `convert::instance` reads it.
pub(crate) const INSTANCES: Excerpt = Excerpt(&only(
    "DescribeInstancesResponse",
    &[
        only(
            "reservationSet",
            &[only(
                "item",
                &[only(
                    "instancesSet",
                    &[only(
                        "item",
                        &[
                            whole("instanceId"),
                            only("instanceState", &[whole("name")]),
                            whole("keyName"),
                            whole("instanceType"),
                            whole("launchTime"),
                            only("placement", &[whole("availabilityZone")]),
                            whole("platform"),
                            whole("spotInstanceRequestId"),
                            whole("tagSet"),
                            whole("platformDetails"),
                        ],
                    )],
                )],
            )],
        ),
        whole("nextToken"),
    ],
));

/// `DescribeSpotInstanceRequests`, as far as `convert::spot_request` reads it.
pub(crate) const SPOT_REQUESTS: Excerpt = Excerpt(&only(
    "DescribeSpotInstanceRequestsResponse",
    &[
        only(
            "spotInstanceRequestSet",
            &[only(
                "item",
                &[
                    whole("spotInstanceRequestId"),
                    whole("spotPrice"),
                    whole("state"),
                    whole("status"),
                    only(
                        "launchSpecification",
                        &[
                            whole("keyName"),
                            whole("instanceType"),
                            only("placement", &[whole("availabilityZone")]),
                        ],
                    ),
                    whole("instanceId"),
                    whole("createTime"),
                    whole("tagSet"),
                    whole("launchedAvailabilityZone"),
                ],
            )],
        ),
        whole("nextToken"),
    ],
));

impl Intercept for Excerpt {
    fn name(&self) -> &'static str {
        "Excerpt"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        // An error has another shape.
        if response.status().is_success() {
            let mut filter = Filter::new(self.0);
            let body = response.take_body();
            *response.body_mut() = SdkBody::from_body_1_x(
                body.map_frame(move |frame| frame.map_data(|chunk| filter.feed(&chunk).into())),
            );
        }
        Ok(())
    }
}
