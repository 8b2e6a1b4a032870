//! What EC2 shows, in our words.
//!
//! As much as possible is kept: a machine that is left out of an observation costs money unseen.
//! Whatever is odd is said beside it.

use aws_sdk_ec2::types;
use jiff::Timestamp;

use super::state::{instance_state, spot_request_state};
use super::{tags, time};
use crate::ids::{InstanceId, InstanceType, SpotRequestId, Zone};
use crate::money::UsdPerHour;
use crate::observed::{Instance, SpotRequest};

/// Linux without a licence to be paid for.
const PLAIN_LINUX: &str = "Linux/UNIX";

/// Reads an instance. One without a usable id is none: nothing can be done about it.
///
/// One without a launch time passes for launched `now`: taken for old it would be ended.
pub(crate) fn instance(
    found: &types::Instance,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Option<Instance> {
    let Some(id) = usable_id(found.instance_id()) else {
        warnings.push(nameless("DescribeInstances", "an instance", found.instance_id()));
        return None;
    };
    let launch_time = found.launch_time().and_then(time::timestamp);
    if launch_time.is_none() {
        warnings.push(format!("instance {id} shows no launch time and passes for new"));
    }
    let instance_type = found.instance_type().map_or("", types::InstanceType::as_str);
    if instance_type.is_empty() {
        warnings.push(format!("instance {id} shows no instance type"));
    }
    Some(Instance {
        id: InstanceId::from(id),
        state: instance_state(found.state().and_then(types::InstanceState::name)),
        instance_type: InstanceType::from(instance_type),
        zone: zone(found.placement().and_then(types::Placement::availability_zone)),
        launch_time: launch_time.unwrap_or(now),
        spot_request: usable_id(found.spot_instance_request_id()).map(SpotRequestId::from),
        other_platform: other_platform(found),
        tags: tags::own_tags(found.tags()),
    })
}

/// What an instance runs, unless it is plain Linux (Amazon EC2 API Reference, `Instance`:
/// `platformDetails`, and `platform`, which only Windows has).
fn other_platform(found: &types::Instance) -> Option<String> {
    let details = found.platform_details().filter(|details| !details.is_empty());
    let platform = details.or_else(|| found.platform().map(types::PlatformValues::as_str))?;
    (platform != PLAIN_LINUX).then(|| platform.to_owned())
}

/// Reads a spot instance request. One without a usable id is none.
///
/// One without a time passes for made `now`: taken for old it would be cancelled.
pub(crate) fn spot_request(
    found: &types::SpotInstanceRequest,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Option<SpotRequest> {
    let Some(id) = usable_id(found.spot_instance_request_id()) else {
        let text = found.spot_instance_request_id();
        warnings.push(nameless("DescribeSpotInstanceRequests", "a spot request", text));
        return None;
    };
    let created = found.create_time().and_then(time::timestamp);
    if created.is_none() {
        warnings.push(format!("spot request {id} does not show when it was made"));
    }
    let specification = found.launch_specification();
    let instance_type = specification
        .and_then(types::LaunchSpecification::instance_type)
        .map_or("", types::InstanceType::as_str);
    if instance_type.is_empty() {
        warnings.push(format!("spot request {id} shows no instance type"));
    }
    let asked_zone = specification
        .and_then(types::LaunchSpecification::placement)
        .and_then(types::SpotPlacement::availability_zone);
    let max_price = found.spot_price().and_then(|text| {
        let price = UsdPerHour::parse(text).ok();
        if price.is_none() {
            warnings.push(format!("spot request {id} shows `{text}` for its highest price"));
        }
        price
    });
    let status = found.status();
    Some(SpotRequest {
        id: SpotRequestId::from(id),
        state: spot_request_state(found.state()),
        status_code: status.and_then(|it| it.code()).unwrap_or_default().into(),
        status_message: status.and_then(|it| it.message()).unwrap_or_default().into(),
        status_time: status.and_then(|it| it.update_time()).and_then(time::timestamp),
        created: created.unwrap_or(now),
        instance: usable_id(found.instance_id()).map(InstanceId::from),
        instance_type: InstanceType::from(instance_type),
        zone: zone(found.launched_availability_zone()).or_else(|| zone(asked_zone)),
        max_price,
        tags: tags::own_tags(found.tags()),
    })
}

/// EC2's ids are letters, digits and hyphens. Anything else could not be named in a call either.
fn usable_id(id: Option<&str>) -> Option<&str> {
    id.filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
}

fn nameless(operation: &str, what: &str, id: Option<&str>) -> String {
    match id {
        None | Some("") => format!("{operation} shows {what} without an id; it is left out"),
        Some(id) => format!("{operation} shows {what} with the id {id:?}; it is left out"),
    }
}

fn zone(name: Option<&str>) -> Option<Zone> {
    name.filter(|name| !name.is_empty()).map(Zone::from)
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::primitives::DateTime;

    use super::*;
    use crate::observed::{InstanceState, SpotRequestState};

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_instance_without_an_id_is_left_out_and_said() {
        for id in [None, Some(""), Some("i-1\u{202e}"), Some("i 1")] {
            let mut warnings = Vec::new();
            let found = types::Instance::builder().set_instance_id(id.map(str::to_owned)).build();
            assert_eq!(instance(&found, now(), &mut warnings), None);
            assert_eq!(warnings.len(), 1);
        }
    }

    #[test]
    fn an_instance_with_nothing_but_an_id_is_kept_as_new() {
        let mut warnings = Vec::new();
        let found = types::Instance::builder().instance_id("i-1").build();
        let instance = instance(&found, now(), &mut warnings).unwrap();
        assert_eq!(instance.launch_time, now());
        assert_eq!(instance.state, InstanceState::Unrecognised(String::new()));
        assert!(instance.state.is_live());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn only_plain_linux_has_no_other_platform() {
        let platform = |details: Option<&str>, platform: Option<types::PlatformValues>| {
            let found = types::Instance::builder().instance_id("i-1").set_platform(platform);
            let found = found.set_platform_details(details.map(str::to_owned)).build();
            instance(&found, now(), &mut Vec::new()).unwrap().other_platform
        };
        let windows = Some(types::PlatformValues::Windows);
        assert_eq!(platform(Some("Linux/UNIX"), None), None);
        assert_eq!(platform(None, None), None);
        assert_eq!(platform(Some("Windows"), windows.clone()).as_deref(), Some("Windows"));
        assert!(platform(None, windows).is_some());
        let linux = "Red Hat Enterprise Linux";
        assert_eq!(platform(Some(linux), None).as_deref(), Some(linux));
    }

    #[test]
    fn a_time_out_of_range_passes_for_now() {
        let mut warnings = Vec::new();
        let far = DateTime::from_secs(i64::MAX);
        let found = types::Instance::builder()
            .instance_id("i-1")
            .instance_type(types::InstanceType::from("x99.huge"))
            .launch_time(far)
            .build();
        let instance = instance(&found, now(), &mut warnings).unwrap();
        assert_eq!(instance.launch_time, now());
        assert_eq!(instance.instance_type.as_str(), "x99.huge");

        let found = types::SpotInstanceRequest::builder()
            .spot_instance_request_id("sir-1")
            .create_time(far)
            .build();
        let request = spot_request(&found, now(), &mut warnings).unwrap();
        assert_eq!(request.created, now());
        assert_eq!(request.state, SpotRequestState::Unrecognised(String::new()));
    }

    #[test]
    fn the_zone_is_where_it_was_launched_else_where_it_is_asked_for() {
        let asked = types::LaunchSpecification::builder()
            .instance_type(types::InstanceType::C7gLarge)
            .placement(types::SpotPlacement::builder().availability_zone("us-west-2a").build())
            .build();
        let request = types::SpotInstanceRequest::builder()
            .spot_instance_request_id("sir-1")
            .launch_specification(asked);
        let zone = |found: &types::SpotInstanceRequest| {
            spot_request(found, now(), &mut Vec::new()).unwrap().zone.unwrap()
        };
        assert_eq!(zone(&request.clone().build()).as_str(), "us-west-2a");
        let launched = request.launched_availability_zone("us-west-2b").build();
        assert_eq!(zone(&launched).as_str(), "us-west-2b");
    }

    #[test]
    fn a_price_is_read_or_none() {
        for (text, micros) in [("0.031200", Some(31_200)), ("nonsense", None), ("-1", None)] {
            let mut warnings = Vec::new();
            let found = types::SpotInstanceRequest::builder()
                .spot_instance_request_id("sir-1")
                .spot_price(text)
                .build();
            let request = spot_request(&found, now(), &mut warnings).unwrap();
            assert_eq!(request.max_price.map(UsdPerHour::micros), micros);
            let said = warnings.iter().any(|warning| warning.contains(text));
            assert_eq!(said, micros.is_none());
        }
    }
}
