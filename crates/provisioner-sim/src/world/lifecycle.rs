//! The status codes of spot requests with their states and messages (EC2 User Guide, "State changes for a Spot
//! request").

use provisioner::internal::domain::observed::SpotRequestState as State;

/// Why EC2 reclaims an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reclaim {
    /// EC2 needs the capacity. The request is closed with the notice, and the instance runs for two more
    /// minutes.
    Capacity,
    /// The spot price rose above the maximum price of the request.
    Price,
}

impl Reclaim {
    /// Returns the status code of the request once the instance is gone.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Capacity => "instance-terminated-no-capacity",
            Self::Price => "instance-terminated-by-price",
        }
    }
}

/// Each status code with the possible states of a one-time request and EC2's message. `bad-parameters` is
/// `closed` in one table of the page and `failed` in another.
const CODES: [(&str, &[State], &str); 18] = [
    (
        "pending-evaluation",
        &[State::Open],
        "Your Spot request has been submitted for review, and is pending evaluation.",
    ),
    ("pending-fulfillment", &[State::Open], "Your Spot request is ready to be fulfilled."),
    (
        "capacity-not-available",
        &[State::Open],
        "There is no Spot capacity available that matches your request.",
    ),
    (
        "capacity-oversubscribed",
        &[State::Open],
        "There are more Spot requests than there is capacity.",
    ),
    ("price-too-low", &[State::Open], "Your maximum price is lower than the Spot price."),
    (
        "constraint-not-fulfillable",
        &[State::Open],
        "A constraint of your Spot request cannot be met.",
    ),
    ("fulfilled", &[State::Active], "Your Spot request is fulfilled."),
    (
        "marked-for-termination",
        &[State::Active, State::Cancelled],
        "Your Spot instance is marked for termination.",
    ),
    (
        "request-canceled-and-instance-running",
        &[State::Cancelled],
        "Your Spot request is canceled, but your instance is still running.",
    ),
    (
        "canceled-before-fulfillment",
        &[State::Cancelled],
        "Your Spot request is canceled before it was fulfilled.",
    ),
    ("schedule-expired", &[State::Cancelled], "Your Spot request expired before it was fulfilled."),
    ("bad-parameters", &[State::Failed, State::Closed], ""),
    ("limit-exceeded", &[State::Failed, State::Closed], ""),
    ("system-error", &[State::Closed], "There was an unexpected system error."),
    (
        "instance-terminated-by-user",
        &[State::Closed, State::Cancelled],
        "Your Spot instance was terminated by user.",
    ),
    (
        "instance-terminated-no-capacity",
        &[State::Closed, State::Cancelled],
        "Your Spot instance was terminated: no capacity.",
    ),
    (
        "instance-terminated-capacity-oversubscribed",
        &[State::Closed, State::Cancelled],
        "Your Spot instance was terminated: more requests than capacity.",
    ),
    (
        "instance-terminated-by-price",
        &[State::Closed, State::Cancelled],
        "Your Spot instance was terminated: the Spot price is over your maximum price.",
    ),
];

/// Returns EC2's message for a status code.
pub(super) fn message(code: &str) -> &'static str {
    CODES.iter().find(|(it, ..)| *it == code).map_or("", |(_, _, message)| message)
}

/// Returns whether a request can be in this state with this status code.
pub(super) fn is_possible(code: &str, state: &State) -> bool {
    CODES.iter().any(|(it, states, _)| *it == code && states.contains(state))
}
