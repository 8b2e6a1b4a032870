//! Reads EC2's names of states.

use crate::domain::observed::{InstanceState, SpotRequestState};

/// Returns the state of an instance. An unknown or missing name is kept as data.
pub(crate) fn instance_state(name: Option<&str>) -> InstanceState {
    match name.unwrap_or_default() {
        "pending" => InstanceState::Pending,
        "running" => InstanceState::Running,
        "shutting-down" => InstanceState::ShuttingDown,
        "terminated" => InstanceState::Terminated,
        "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped,
        other => InstanceState::Unrecognised(other.to_owned()),
    }
}

/// Returns the state of a spot request. An unknown or missing name is kept as data.
pub(crate) fn spot_request_state(name: Option<&str>) -> SpotRequestState {
    match name.unwrap_or_default() {
        "open" => SpotRequestState::Open,
        "active" => SpotRequestState::Active,
        "disabled" => SpotRequestState::Disabled,
        "closed" => SpotRequestState::Closed,
        "cancelled" => SpotRequestState::Cancelled,
        "failed" => SpotRequestState::Failed,
        other => SpotRequestState::Unrecognised(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_state_is_data() {
        let state = InstanceState::Unrecognised("hibernating".to_owned());
        assert_eq!(instance_state(Some("hibernating")), state);
        assert_eq!(spot_request_state(None), SpotRequestState::Unrecognised(String::new()));
    }
}
