//! Refusals: why AWS did not do what a call asked for, in classes.
//!
//! The engine matches on [`RefusalClass`] only. Codes are mapped to classes in one table, [`classify`].

use std::fmt;

use serde::{Deserialize, Serialize};

use super::shown::shown;

/// An answer other than the expected one, or no answer at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Refusal {
    /// The class of the refusal.
    pub class: RefusalClass,
    /// AWS's error code, a spot status code, or a code of our own if there was no answer (`timeout`).
    pub code: String,
    /// AWS's message.
    pub message: String,
    /// AWS's request id.
    pub request_id: Option<String>,
}

/// Our code for an answer that lacks what was asked for.
pub(crate) const UNRESOLVED: &str = "unresolved";
/// Our code for missing credentials.
pub(crate) const NO_CREDENTIALS: &str = "no-credentials";
/// Our code for a call that took too long.
pub(crate) const TIMEOUT: &str = "timeout";
/// Our code for a call without an answer, or without a complete one.
pub(crate) const NO_ANSWER: &str = "no-answer";
/// Our code for an answer that is not the document of AWS.
pub(crate) const UNREADABLE: &str = "unreadable";

/// The classes of refusals, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalClass {
    /// There were too many calls. The call had no effect.
    Throttled,
    /// This pool has no capacity, or not at this price or with these constraints. Another pool may.
    NoCapacity,
    /// The place is wrong: the zone does not offer the instance type, or the subnet does not exist. Another
    /// zone or subnet may do.
    UnsuitablePlace,
    /// The subnet has fewer free addresses than instances were asked for. A smaller count may pass.
    NoFreeAddresses,
    /// The call is wrong in a way that the message does not explain. Another instance type may do.
    Unclear,
    /// A quota of the account is used up. No other pool helps.
    Quota,
    /// The resource does not exist, or is not visible yet.
    NotFound,
    /// The call is not allowed, or the credentials are not valid.
    Unauthorized,
    /// EC2 does not know the instance profile: either IAM has only just made it, or it does not exist. The
    /// answer is the same in both cases, and the call had no effect.
    UnknownProfile,
    /// The call is wrong and fails in the same way every time.
    Invalid,
    /// The token was used before with other parameters, so an earlier call was accepted.
    IdempotentMismatch,
    /// There was no answer, or one that leaves open whether the call had an effect.
    Transient,
}

impl RefusalClass {
    /// Returns whether the call certainly had no effect.
    pub fn is_definite(self) -> bool {
        !matches!(self, Self::Transient | Self::IdempotentMismatch)
    }

    /// Returns a stable name for logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NoCapacity => "no-capacity",
            Self::UnsuitablePlace => "unsuitable-place",
            Self::NoFreeAddresses => "no-free-addresses",
            Self::Unclear => "unclear",
            Self::Quota => "quota",
            Self::NotFound => "not-found",
            Self::Unauthorized => "unauthorized",
            Self::UnknownProfile => "unknown-profile",
            Self::Invalid => "invalid",
            Self::IdempotentMismatch => "idempotent-mismatch",
            Self::Transient => "transient",
        }
    }
}

impl fmt::Display for RefusalClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Refusal {
    /// Returns whether EC2 would have carried out a call that had `DryRun` set (Amazon EC2 API Reference,
    /// "Error codes").
    pub fn would_have_succeeded(&self) -> bool {
        self.code == "DryRunOperation"
    }

    /// Returns whether the message names `id`. One bad id fails a complete bulk call, and EC2 names one or
    /// several of them ("The instance IDs 'i-1, i-2' do not exist").
    pub fn names(&self, id: &str) -> bool {
        let mut words = self.message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        !id.is_empty() && words.any(|word| word == id)
    }

    /// Returns what the user can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        hint(&self.code, &self.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.code))?;
        if !self.message.is_empty() {
            write!(f, ": {}", shown(&self.message))?;
        }
        if let Some(id) = &self.request_id {
            write!(f, " (request {})", shown(id))?;
        }
        Ok(())
    }
}

/// EC2's messages about an instance profile that it does not know (by name, by ARN), and about one whose
/// role it does not know yet.
const UNKNOWN_PROFILE: [&str; 2] = ["Invalid IAM Instance Profile", "has no associated IAM Roles"];

/// Classifies an answer by its code and, if the code stands for many mistakes, by its message.
///
/// EC2 has no code of its own for an instance profile that it does not know (IAM User Guide, "Troubleshoot
/// IAM: Changes that I make are not always immediately visible"). The texts are EC2's answers to
/// `RequestSpotInstances` and `RunInstances`.
pub fn classify_answer(code: &str, message: &str) -> Option<RefusalClass> {
    let of_a_parameter = matches!(code, "InvalidParameterValue" | "bad-parameters");
    if of_a_parameter && UNKNOWN_PROFILE.iter().any(|text| message.contains(text)) {
        return Some(RefusalClass::UnknownProfile);
    }
    if matches!(code, "InvalidParameterValue" | "bad-parameters" | "Unsupported") {
        return Some(classify_message(code, &message.to_ascii_lowercase()));
    }
    classify(code)
}

/// What the messages of the codes that stand for many mistakes are about, where no place helps.
const WRONG_EVERYWHERE: [&str; 9] = [
    "key pair",
    "security group",
    "groupid",
    "user data",
    "image",
    "ami",
    "snapshot",
    "block device",
    "validuntil",
];

/// Classifies a refusal whose code stands for many mistakes by its message, in lower case. EC2 says
/// `bad-parameters` of requests in a zone that does not offer their instance type ("invalid availability
/// zone"), and `Unsupported` of zones, of instance types, and of ED25519 key pairs for Windows images.
fn classify_message(code: &str, message: &str) -> RefusalClass {
    let has_word = |text: &str| {
        let whole = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
        message.match_indices(text).any(|(at, _)| {
            let end = message[at + text.len()..].trim_start_matches('s');
            whole(message[..at].chars().next_back()) && whole(end.chars().next())
        })
    };
    if has_word("availability zone") || has_word("subnet") && !has_word("security group") {
        RefusalClass::UnsuitablePlace
    } else if !has_word("instance type") && WRONG_EVERYWHERE.iter().any(|text| has_word(text)) {
        RefusalClass::Invalid
    } else if code == "bad-parameters" && !has_word("instance type") {
        // EC2 took the call, so what all places share is in order.
        RefusalClass::UnsuitablePlace
    } else {
        RefusalClass::Unclear
    }
}

/// Classifies an EC2 error code or a spot request status code.
///
/// Sources: Amazon EC2 API Reference, "Error codes"; EC2 User Guide, "Spot request status codes".
/// Returns `None` for an unknown code: the caller knows the HTTP status, which tells whether the call may
/// have had an effect.
pub(crate) fn classify(code: &str) -> Option<RefusalClass> {
    use RefusalClass as C;
    let class = match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "SlowDown"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete" => C::Throttled,

        "InsufficientFreeAddressesInSubnet" => C::NoFreeAddresses,
        "Unsupported" | "InvalidParameterValue" => C::Unclear,
        "DefaultSubnetDoesNotExistInAZ" | "InvalidAvailabilityZone" | "bad-parameters" => {
            C::UnsuitablePlace
        }
        _ if code.starts_with("InvalidSubnet") || code.starts_with("InvalidZone") => {
            C::UnsuitablePlace
        }
        // Instances, volumes, addresses, hosts, reservations.
        _ if code.starts_with("Insufficient") && code.contains("Capacity") => C::NoCapacity,
        "UnfulfillableCapacity"
        | "SpotMaxPriceTooLow"
        // Spot request status codes.
        | "capacity-not-available"
        | "capacity-oversubscribed"
        | "price-too-low"
        | "constraint-not-fulfillable"
        | "az-group-constraint"
        | "launch-group-constraint"
        | "placement-group-constraint"
        | "not-scheduled-yet"
        | "schedule-expired"
        | "instance-terminated-no-capacity"
        | "instance-terminated-by-price"
        | "instance-terminated-capacity-oversubscribed" => C::NoCapacity,

        "MaxSpotInstanceCountExceeded"
        | "SpotInstanceCountExceeded"
        | "VcpuLimitExceeded"
        | "InstanceLimitExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded"
        | "MaxScheduledInstanceCapacityExceeded"
        | "MaxFleetCountExceeded"
        | "ResourceCountExceeded"
        | "AddressLimitExceeded"
        | "NetworkInterfaceLimitExceeded"
        | "LimitExceeded" // IAM's
        | "limit-exceeded" => C::Quota,

        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
        | "Blocked"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired"
        | "PendingVerification"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => C::Unauthorized,

        "IdempotentParameterMismatch" => C::IdempotentMismatch,

        "InternalError" | "InternalFailure" | "InternalServerError" | "Internal"
        | "ServiceUnavailable" | "Unavailable" | "RequestTimeout" | "system-error" => C::Transient,

        "NoSuchEntity" => C::NotFound,
        // The API's not-found codes refer to what the *call* names. For terminate and cancel that is the
        // id; for a launching call it is a wrong parameter, which the engine treats alike.
        _ if code.ends_with(".NotFound") || code.ends_with("NotFound") => C::NotFound,
        _ if code.starts_with("Invalid")
            || code.starts_with("Missing")
            || code.starts_with("Malformed")
            || code.starts_with("Unknown")
            || code.ends_with(".Malformed") =>
        {
            C::Invalid
        }
        "OperationNotPermitted"
        | "UnsupportedOperation"
        | "UnsupportedInstanceTypeOnHost"
        | "VPCIdNotSpecified"
        | "VPCResourceNotSpecified"
        | "DefaultVpcDoesNotExist"
        | "EncryptedVolumesNotSupported"
        | "IncorrectState"
        | "ParameterNotFound"
        | "SnapshotCopyUnsupported.InterRegion" => C::Invalid,
        _ => return None,
    };
    Some(class)
}

/// What STS says of a call that was signed at another time than its own (EC2 only says `AuthFailure`).
const SIGNED_AT_ANOTHER_TIME: [&str; 2] = ["Signature expired", "not yet current"];

const CHECK_THE_CLOCK: &str =
    "this machine's clock is wrong: set it, and keep it right (`timedatectl` shows whether it is)";

fn hint(code: &str, message: &str) -> Option<&'static str> {
    if code == "SignatureDoesNotMatch"
        && SIGNED_AT_ANOTHER_TIME.iter().any(|text| message.contains(text))
    {
        return Some(CHECK_THE_CLOCK);
    }
    let hint = match code {
        NO_CREDENTIALS => {
            "log in (`aws sso login`, `aws configure`), name a profile with --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        UNREADABLE => "check the endpoint URL, and any proxy between this machine and AWS",
        TIMEOUT | NO_ANSWER => "check the network, the region's name and the endpoint URL",
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => {
            "`provisionerd iam-policy` prints the permissions that are needed"
        }
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => {
            "an administrator runs once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
        }
        "AuthFailure" => {
            "AWS does not accept these credentials, or this machine's clock is wrong (`timedatectl`): are \
             they for this partition, and complete?"
        }
        "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "InvalidAccessKeyId"
        | "UnrecognizedClientException" => {
            "AWS does not accept these credentials: are they for this partition, and complete?"
        }
        "ExpiredToken" | "ExpiredTokenException" => "the session has expired: log in again",
        "RequestExpired" => {
            "check this machine's clock (`timedatectl`); if it is right, the session has expired: log in \
             again"
        }
        "RequestTimeTooSkewed" => CHECK_THE_CLOCK,
        "LimitExceeded" => {
            "delete what nobody needs, or ask for a higher quota in the Service Quotas console"
        }
        "OptInRequired" => "the account is not subscribed to this service, image or region yet",
        "PendingVerification" => "AWS is still verifying the account; try again later",
        "InvalidKeyPair.NotFound" => "`setup-aws` makes a key pair and saves its name",
        "InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable" => {
            "image ids differ from region to region: check `image-id` and the region"
        }
        "MaxSpotInstanceCountExceeded" | "SpotInstanceCountExceeded" | "VcpuLimitExceeded" => {
            "ask AWS Service Quotas for more, or lower `max-instances`"
        }
        "RequestLimitExceeded" | "Throttling" => {
            "something calls the API of this account and region very often"
        }
        "InsufficientInstanceCapacity"
        | "InsufficientCapacity"
        | "UnfulfillableCapacity"
        | "capacity-not-available"
        | "capacity-oversubscribed"
        | "constraint-not-fulfillable" => {
            "name more `instance-types`, or narrow `availability-zones` and `subnets` less"
        }
        "InsufficientFreeAddressesInSubnet" => {
            "free addresses in the subnet, or name further `subnets`"
        }
        "SpotMaxPriceTooLow" | "price-too-low" => {
            "raise `max-price`, or leave it out to pay up to the on-demand price"
        }
        _ => return None,
    };
    Some(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classed() {
        use RefusalClass as C;
        for (code, class) in [
            ("RequestLimitExceeded", C::Throttled),
            ("InsufficientInstanceCapacity", C::NoCapacity),
            ("capacity-not-available", C::NoCapacity),
            ("price-too-low", C::NoCapacity),
            ("constraint-not-fulfillable", C::NoCapacity),
            ("MaxSpotInstanceCountExceeded", C::Quota),
            ("VcpuLimitExceeded", C::Quota),
            ("InvalidInstanceID.NotFound", C::NotFound),
            ("InvalidSpotInstanceRequestID.NotFound", C::NotFound),
            ("InvalidAMIID.NotFound", C::NotFound),
            ("UnauthorizedOperation", C::Unauthorized),
            ("InvalidParameterValue", C::Unclear),
            ("InvalidParameterCombination", C::Invalid),
            ("InsufficientVolumeCapacity", C::NoCapacity),
            ("InsufficientCapacityOnHost", C::NoCapacity),
            ("InsufficientFreeAddressesInSubnet", C::NoFreeAddresses),
            ("InvalidSubnetID.NotFound", C::UnsuitablePlace),
            ("Unsupported", C::Unclear),
            ("InvalidKeyPair.NotFound", C::NotFound),
            ("bad-parameters", C::UnsuitablePlace),
            ("IdempotentParameterMismatch", C::IdempotentMismatch),
            ("InternalError", C::Transient),
            ("InvalidClientTokenId", C::Unauthorized),
        ] {
            assert_eq!(classify(code), Some(class), "{code}");
        }
        assert_eq!(classify("SomethingNew"), None);
    }

    #[test]
    fn an_unknown_instance_profile_is_told_from_other_bad_parameters() {
        let class = |message: &str| classify_answer("InvalidParameterValue", message);
        for message in [
            "Value (p) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            "Value (arn:aws:iam::1:instance-profile/p) for parameter iamInstanceProfile.arn is invalid. \
             Invalid IAM Instance Profile ARN",
            "IAM Instance Profile \"arn:aws:iam::1:instance-profile/p\" has no associated IAM Roles",
        ] {
            assert_eq!(class(message), Some(RefusalClass::UnknownProfile), "{message}");
            let other = classify_answer("UnauthorizedOperation", message);
            assert_eq!(other, Some(RefusalClass::Unauthorized), "{message}");
        }
        assert_eq!(class("Invalid availability zone: [x]"), Some(RefusalClass::UnsuitablePlace));
        assert!(RefusalClass::UnknownProfile.is_definite());
    }

    #[test]
    fn codes_for_many_mistakes_are_read_by_their_message() {
        use RefusalClass as C;
        for (code, message, class) in [
            (
                "Unsupported",
                "Your requested instance type (c7g.large) is not supported in your requested \
                 Availability Zone (us-west-2d).",
                C::UnsuitablePlace,
            ),
            ("bad-parameters", "invalid availability zone", C::UnsuitablePlace),
            ("bad-parameters", "", C::UnsuitablePlace),
            ("Unsupported", "ED25519 key pairs are not supported with Windows AMIs.", C::Invalid),
            ("InvalidParameterValue", "The image ami-1 is not allowed.", C::Invalid),
            (
                "InvalidParameterValue",
                "The architecture 'arm64' of the specified instance type does not match the \
                 architecture 'x86_64' of the specified AMI.",
                C::Unclear,
            ),
            ("InvalidParameterValue", "Invalid value 'x' for y.", C::Unclear),
            ("Unsupported", "The requested configuration is currently not supported.", C::Unclear),
        ] {
            assert_eq!(classify_answer(code, message), Some(class), "{code}: {message}");
        }
    }

    #[test]
    fn a_message_names_whole_ids() {
        let refusal = Refusal {
            class: RefusalClass::NotFound,
            code: "InvalidInstanceID.NotFound".to_owned(),
            message: "The instance IDs 'i-1, i-22' do not exist".to_owned(),
            request_id: None,
        };
        assert!(refusal.names("i-1") && refusal.names("i-22"));
        assert!(!refusal.names("i-2") && !refusal.names(""));
    }

    #[test]
    fn a_wrong_clock_is_named_whoever_says_so() {
        let hint = |code: &str, message: &str| hint(code, message).unwrap();
        let expired =
            "Signature expired: 20261123T120000Z is now earlier than 20261123T121500Z (…)";
        for (code, message) in [
            ("SignatureDoesNotMatch", expired),
            ("SignatureDoesNotMatch", "Signature not yet current: 20261123T130000Z is still later"),
            ("AuthFailure", "AWS was not able to validate the provided access credentials"),
            ("RequestExpired", "Request has expired."),
            ("RequestTimeTooSkewed", ""),
        ] {
            assert!(hint(code, message).contains("clock"), "{code}");
        }
        assert!(hint("RequestExpired", "").contains("session"));
        let secret =
            "The request signature we calculated does not match the signature you provided";
        assert!(!hint("SignatureDoesNotMatch", secret).contains("clock"));
    }

    #[test]
    fn only_lost_answers_leave_a_call_open() {
        assert!(RefusalClass::Throttled.is_definite());
        assert!(RefusalClass::NoCapacity.is_definite());
        assert!(!RefusalClass::Transient.is_definite());
        assert!(!RefusalClass::IdempotentMismatch.is_definite());
    }
}
