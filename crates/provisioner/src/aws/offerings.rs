//! Looks up instance types, where EC2 offers them, images and zones, for `validate --aws`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{self, EnaSupport, LocationType};

use super::pages::{FILTER_VALUES, PAGE_ITEMS, Pages, exact};
use super::{Client, Error};
use crate::aws::preflight::{ImageFacts, InstanceTypeFacts};
use crate::domain::ids::{InstanceType, Zone};

/// The largest page of `DescribeInstanceTypes` (Amazon EC2 API Reference).
const INSTANCE_TYPES_PAGE: i32 = 100;

impl Client {
    /// Returns the zones of the region that the account may use.
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
            .filter_map(|zone| zone.zone_name())
            .map(Zone::from)
            .collect())
    }

    /// Returns the facts of those instance types in `wanted` that exist in this region.
    pub(super) async fn instance_types(
        &self,
        wanted: &[InstanceType],
    ) -> Result<BTreeMap<InstanceType, InstanceTypeFacts>, Error> {
        let mut found = BTreeMap::new();
        // A filter rather than `InstanceTypes`: one that does not exist would fail the call.
        for chunk in wanted.chunks(FILTER_VALUES) {
            let mut pages = Pages::of("DescribeInstanceTypes", self.region());
            while pages.remain() {
                let page = self
                    .ec2
                    .describe_instance_types()
                    .filters(exact("instance-type", chunk.iter().map(InstanceType::as_str)))
                    .max_results(INSTANCE_TYPES_PAGE)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| pages.error(error))?;
                found.extend(page.instance_types().iter().filter_map(instance_type));
                pages.advance(page.next_token())?;
            }
        }
        Ok(found)
    }

    /// Returns the zones in which each of the instance types in `wanted` is offered.
    pub(super) async fn offerings(
        &self,
        wanted: &[InstanceType],
    ) -> Result<BTreeMap<InstanceType, BTreeSet<Zone>>, Error> {
        let mut found: BTreeMap<InstanceType, BTreeSet<Zone>> = BTreeMap::new();
        for chunk in wanted.chunks(FILTER_VALUES) {
            let mut pages = Pages::of("DescribeInstanceTypeOfferings", self.region());
            while pages.remain() {
                let page = self
                    .ec2
                    .describe_instance_type_offerings()
                    .location_type(LocationType::AvailabilityZone)
                    .filters(exact("instance-type", chunk.iter().map(InstanceType::as_str)))
                    .max_results(PAGE_ITEMS)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| pages.error(error))?;
                for offering in page.instance_type_offerings() {
                    if let (Some(kind), Some(zone)) =
                        (offering.instance_type(), offering.location())
                    {
                        let zones = found.entry(InstanceType::from(kind.as_str())).or_default();
                        zones.insert(Zone::from(zone));
                    }
                }
                pages.advance(page.next_token())?;
            }
        }
        Ok(found)
    }

    /// Returns the facts of those images that exist and that the account may use.
    pub(super) async fn images(
        &self,
        ids: &[String],
    ) -> Result<BTreeMap<String, ImageFacts>, Error> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(FILTER_VALUES) {
            let mut pages = Pages::of("DescribeImages", self.region());
            while pages.remain() {
                let page = self
                    .ec2
                    .describe_images()
                    .filters(exact("image-id", chunk.iter().map(String::as_str)))
                    // EC2 launches deprecated images, too, but does not list those of other accounts by default.
                    .include_deprecated(true)
                    .max_results(PAGE_ITEMS)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| pages.error(error))?;
                found.extend(page.images().iter().filter_map(image));
                pages.advance(page.next_token())?;
            }
        }
        Ok(found)
    }
}

fn instance_type(found: &types::InstanceTypeInfo) -> Option<(InstanceType, InstanceTypeFacts)> {
    let name = InstanceType::from(found.instance_type()?.as_str());
    let ena = found.network_info().and_then(|network| network.ena_support());
    let architectures = found.processor_info().map_or(&[][..], |cpu| cpu.supported_architectures());
    let facts = InstanceTypeFacts {
        architectures: architectures.iter().map(|name| name.as_str().to_owned()).collect(),
        virtualization_types: found
            .supported_virtualization_types()
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
        usage_classes: found
            .supported_usage_classes()
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
        ena_required: ena == Some(&EnaSupport::Required),
        vcpus: found
            .v_cpu_info()
            .and_then(types::VCpuInfo::default_v_cpus)
            .and_then(|vcpus| u32::try_from(vcpus).ok()),
    };
    Some((name, facts))
}

fn image(found: &types::Image) -> Option<(String, ImageFacts)> {
    let facts = ImageFacts {
        state: found.state().map(|state| state.as_str().to_owned()),
        architecture: found.architecture().map(|name| name.as_str().to_owned()),
        virtualization_type: found.virtualization_type().map(|name| name.as_str().to_owned()),
        ena: found.ena_support(),
        // A time that cannot be read does not make the image unusable.
        deprecated: found.deprecation_time().and_then(|time| time.parse().ok()),
        lasting_devices: found
            .block_device_mappings()
            .iter()
            .filter(|mapping| {
                mapping.ebs().is_some_and(|ebs| ebs.delete_on_termination() == Some(false))
            })
            .filter_map(|mapping| mapping.device_name().map(str::to_owned))
            .collect(),
        platform: found.platform_details().map(str::to_owned).or_else(|| {
            // Older endpoints show a platform for Windows alone.
            let platform = found.platform().map(AsRef::as_ref)?;
            platform.eq_ignore_ascii_case("windows").then(|| "Windows".to_owned())
        }),
        requires_tokens: found.imds_support().is_some_and(|imds| imds.as_str() == "v2.0"),
        allowed: found.image_allowed(),
    };
    Some((found.image_id()?.to_owned(), facts))
}
