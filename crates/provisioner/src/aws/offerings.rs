//! Instance types, where EC2 offers them, images and zones: looked at for `validate --aws`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{self, EnaSupport, LocationType};

use super::pages::{FILTER_VALUES, PAGE, Pages, exact};
use super::{Client, Error};
use crate::aws::preflight::{Image, InstanceTypeFacts};
use crate::domain::ids::{InstanceType, Zone};

/// The most that `DescribeInstanceTypes` gives at once (Amazon EC2 API Reference).
const TYPES_PAGE: i32 = 100;

impl Client {
    /// The zones of the region that are open to the account.
    pub(super) async fn zones(&self) -> Result<BTreeSet<Zone>, Error> {
        let answer = self
            .ec2
            .describe_availability_zones()
            .send()
            .await
            .map_err(|error| Error::new("DescribeAvailabilityZones", self.region(), error))?;
        Ok(answer
            .availability_zones()
            .iter()
            .filter_map(|it| it.zone_name())
            .map(Zone::from)
            .collect())
    }

    /// Those of the instance types that exist in this region.
    pub(super) async fn instance_types(
        &self,
        wanted: &[InstanceType],
    ) -> Result<BTreeMap<InstanceType, InstanceTypeFacts>, Error> {
        const OPERATION: &str = "DescribeInstanceTypes";
        let mut found = BTreeMap::new();
        // A filter, not `InstanceTypes`: one that does not exist would fail the call.
        for chunk in wanted.chunks(FILTER_VALUES) {
            let mut pages = Pages::default();
            loop {
                let page = self
                    .ec2
                    .describe_instance_types()
                    .filters(exact("instance-type", chunk.iter().map(InstanceType::as_str)))
                    .max_results(TYPES_PAGE)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| Error::new(OPERATION, self.region(), error))?;
                found.extend(page.instance_types().iter().filter_map(instance_type));
                let more = pages.advance(page.next_token());
                if !more.map_err(|what| Error::incomplete(OPERATION, self.region(), what))? {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// The zones that each of the instance types is offered in.
    pub(super) async fn offerings(
        &self,
        wanted: &[InstanceType],
    ) -> Result<BTreeMap<InstanceType, BTreeSet<Zone>>, Error> {
        const OPERATION: &str = "DescribeInstanceTypeOfferings";
        let mut found: BTreeMap<InstanceType, BTreeSet<Zone>> = BTreeMap::new();
        for chunk in wanted.chunks(FILTER_VALUES) {
            let mut pages = Pages::default();
            loop {
                let page = self
                    .ec2
                    .describe_instance_type_offerings()
                    .location_type(LocationType::AvailabilityZone)
                    .filters(exact("instance-type", chunk.iter().map(InstanceType::as_str)))
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| Error::new(OPERATION, self.region(), error))?;
                for offering in page.instance_type_offerings() {
                    if let (Some(kind), Some(zone)) =
                        (offering.instance_type(), offering.location())
                    {
                        let zones = found.entry(InstanceType::from(kind.as_str())).or_default();
                        zones.insert(Zone::from(zone));
                    }
                }
                let more = pages.advance(page.next_token());
                if !more.map_err(|what| Error::incomplete(OPERATION, self.region(), what))? {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Those of the images that exist and may be used.
    pub(super) async fn images(&self, ids: &[String]) -> Result<BTreeMap<String, Image>, Error> {
        const OPERATION: &str = "DescribeImages";
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(FILTER_VALUES) {
            let mut pages = Pages::default();
            loop {
                let page = self
                    .ec2
                    .describe_images()
                    .filters(exact("image-id", chunk.iter().map(String::as_str)))
                    // EC2 launches deprecated ones, and else leaves out those of others.
                    .include_deprecated(true)
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| Error::new(OPERATION, self.region(), error))?;
                found.extend(page.images().iter().filter_map(image));
                let more = pages.advance(page.next_token());
                if !more.map_err(|what| Error::incomplete(OPERATION, self.region(), what))? {
                    break;
                }
            }
        }
        Ok(found)
    }
}

fn instance_type(found: &types::InstanceTypeInfo) -> Option<(InstanceType, InstanceTypeFacts)> {
    let name = InstanceType::from(found.instance_type()?.as_str());
    let ena = found.network_info().and_then(|it| it.ena_support());
    let architectures = found.processor_info().map_or(&[][..], |it| it.supported_architectures());
    let facts = InstanceTypeFacts {
        architectures: architectures.iter().map(|it| it.as_str().to_owned()).collect(),
        virtualization_types: found
            .supported_virtualization_types()
            .iter()
            .map(|it| it.as_str().to_owned())
            .collect(),
        usage_classes: found
            .supported_usage_classes()
            .iter()
            .map(|it| it.as_str().to_owned())
            .collect(),
        ena_required: ena == Some(&EnaSupport::Required),
        vcpus: found
            .v_cpu_info()
            .and_then(types::VCpuInfo::default_v_cpus)
            .and_then(|vcpus| u32::try_from(vcpus).ok()),
    };
    Some((name, facts))
}

fn image(found: &types::Image) -> Option<(String, Image)> {
    let facts = Image {
        state: found.state().map(|it| it.as_str().to_owned()),
        architecture: found.architecture().map(|it| it.as_str().to_owned()),
        virtualization_type: found.virtualization_type().map(|it| it.as_str().to_owned()),
        ena: found.ena_support(),
        // A time that cannot be read makes no image unusable.
        deprecated: found.deprecation_time().and_then(|time| time.parse().ok()),
    };
    Some((found.image_id()?.to_owned(), facts))
}
