//! Converts EC2's instances and spot requests to the types of the domain.
//!
//! It keeps as much as possible, because a machine that is missing from an observation costs money
//! unseen. Whatever is odd becomes a warning.

use jiff::Timestamp;

use super::listing::{InstanceFields, SpotRequestFields};
use super::state::{instance_state, spot_request_state};
use crate::aws::preflight::ImageFacts;
use crate::domain::ids::{InstanceId, InstanceType, SpotRequestId, Zone};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::{Instance, SpotRequest, StateReason};

/// Returns `None` for an instance without a usable id; it could neither be tagged nor terminated.
///
/// A missing launch time is read as `now`, because an old instance would be terminated.
pub(crate) fn instance(
    found: &InstanceFields,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Option<Instance> {
    let Some(id) = usable_id(found.id.as_deref()) else {
        warnings.push(nameless("DescribeInstances", "an instance", found.id.as_deref()));
        return None;
    };
    if found.launch_time.is_none() {
        warnings.push(format!("instance {id} shows no launch time and counts as new"));
    }
    let instance_type = found.instance_type.as_deref().unwrap_or_default();
    if instance_type.is_empty() {
        warnings.push(format!("instance {id} shows no instance type"));
    }
    let state = instance_state(found.state.as_deref());
    Some(Instance {
        id: InstanceId::from(id),
        state: state.clone(),
        instance_type: InstanceType::from(instance_type),
        zone: zone(found.zone.as_deref()),
        launch_time: found.launch_time.unwrap_or(now),
        spot_request: usable_id(found.spot_request.as_deref()).map(SpotRequestId::from),
        other_platform: other_platform(found),
        state_reason: if state.is_live() { None } else { state_reason(found) },
        addresses: if state.is_live() { found.addresses.clone() } else { Vec::new() },
        volumes: if found.tags.own.key_name.is_none() { found.volumes.all() } else { Vec::new() },
        tags: found.tags.own.clone(),
    })
}

fn state_reason(found: &InstanceFields) -> Option<StateReason> {
    let code = found.reason_code.as_deref().filter(|code| !code.is_empty())?;
    let message = found.reason_message.as_deref().unwrap_or_default().into();
    Some(StateReason { code: code.into(), message })
}

/// Returns the platform of an instance unless it is plain Linux (Amazon EC2 API Reference, `Instance`:
/// `platformDetails`, and `platform`, which only Windows has).
fn other_platform(found: &InstanceFields) -> Option<String> {
    let details = found.platform_details.as_ref().filter(|details| !details.is_empty());
    let platform = details.or(found.platform.as_ref())?;
    (platform != ImageFacts::LINUX).then(|| platform.clone())
}

/// Returns `None` for a spot request without a usable id; it could not be cancelled.
///
/// A missing creation time is read as `now`, because an old request would be cancelled.
pub(crate) fn spot_request(
    found: &SpotRequestFields,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Option<SpotRequest> {
    let Some(id) = usable_id(found.id.as_deref()) else {
        let text = found.id.as_deref();
        warnings.push(nameless("DescribeSpotInstanceRequests", "a spot request", text));
        return None;
    };
    if found.created.is_none() {
        warnings.push(format!("spot request {id} does not show when it was made"));
    }
    let instance_type = found.instance_type.as_deref().unwrap_or_default();
    if instance_type.is_empty() {
        warnings.push(format!("spot request {id} shows no instance type"));
    }
    let max_price = found.price.as_deref().and_then(|text| {
        let price = UsdPerHour::parse(text).ok();
        if price.is_none() {
            warnings.push(format!("spot request {id} shows `{text}` for its highest price"));
        }
        price
    });
    Some(SpotRequest {
        id: SpotRequestId::from(id),
        state: spot_request_state(found.state.as_deref()),
        status_code: found.status_code.as_deref().unwrap_or_default().into(),
        status_message: found.status_message.as_deref().unwrap_or_default().into(),
        status_time: found.status_time,
        created: found.created.unwrap_or(now),
        instance: usable_id(found.instance.as_deref()).map(InstanceId::from),
        instance_type: InstanceType::from(instance_type),
        zone: zone(found.launched_zone.as_deref()).or_else(|| zone(found.asked_zone.as_deref())),
        max_price,
        tags: found.tags.own.clone(),
    })
}

/// Returns an id that consists of letters, digits and hyphens, as EC2's do. No call could name another.
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
    use super::*;
    use crate::domain::observed::{InstanceState, SpotRequestState};

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn an_instance() -> InstanceFields {
        InstanceFields { id: Some(text("i-1")), ..InstanceFields::default() }
    }

    fn a_request() -> SpotRequestFields {
        SpotRequestFields { id: Some(text("sir-1")), ..SpotRequestFields::default() }
    }

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn an_instance_without_an_id_is_left_out_with_a_warning() {
        for id in [None, Some(""), Some("i-1\u{202e}"), Some("i 1")] {
            let mut warnings = Vec::new();
            let found = InstanceFields { id: id.map(str::to_owned), ..an_instance() };
            assert_eq!(instance(&found, now(), &mut warnings), None);
            assert_eq!(warnings.len(), 1);
        }
    }

    #[test]
    fn an_instance_with_nothing_but_an_id_is_kept_as_new() {
        let mut warnings = Vec::new();
        let instance = instance(&an_instance(), now(), &mut warnings).unwrap();
        assert_eq!(instance.launch_time, now());
        assert_eq!(instance.state, InstanceState::Unrecognised(String::new()));
        assert!(instance.state.is_live());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn only_plain_linux_has_no_other_platform() {
        let platform = |details: Option<&str>, platform: Option<&str>| {
            let platform_details = details.map(str::to_owned);
            let platform = platform.map(str::to_owned);
            let found = InstanceFields { platform, platform_details, ..an_instance() };
            instance(&found, now(), &mut Vec::new()).unwrap().other_platform
        };
        assert_eq!(platform(Some("Linux/UNIX"), None), None);
        assert_eq!(platform(None, None), None);
        assert_eq!(platform(Some("Windows"), Some("windows")).as_deref(), Some("Windows"));
        assert_eq!(platform(None, Some("windows")).as_deref(), Some("windows"));
        let linux = "Red Hat Enterprise Linux";
        assert_eq!(platform(Some(linux), None).as_deref(), Some(linux));
    }

    #[test]
    fn a_request_with_nothing_but_an_id_is_kept_as_new() {
        let mut warnings = Vec::new();
        let request = spot_request(&a_request(), now(), &mut warnings).unwrap();
        assert_eq!(request.created, now());
        assert_eq!(request.state, SpotRequestState::Unrecognised(String::new()));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn the_zone_is_where_it_was_launched_else_where_it_is_asked_for() {
        let zone = |launched_zone| {
            let asked_zone = Some(text("us-west-2a"));
            let found = SpotRequestFields { launched_zone, asked_zone, ..a_request() };
            spot_request(&found, now(), &mut Vec::new()).unwrap().zone.unwrap()
        };
        assert_eq!(zone(None).as_str(), "us-west-2a");
        assert_eq!(zone(Some(text("us-west-2b"))).as_str(), "us-west-2b");
    }

    #[test]
    fn a_price_that_cannot_be_read_is_a_warning() {
        for (text, micros) in [("0.031200", Some(31_200)), ("nonsense", None), ("-1", None)] {
            let mut warnings = Vec::new();
            let found = SpotRequestFields { price: Some(text.to_owned()), ..a_request() };
            let request = spot_request(&found, now(), &mut warnings).unwrap();
            assert_eq!(request.max_price.map(UsdPerHour::micros), micros);
            let has_warning = warnings.iter().any(|warning| warning.contains(text));
            assert_eq!(has_warning, micros.is_none());
        }
    }
}
