//! The sentences of reasons and notes.
//!
//! Each begins with the cause in a few words; the figures follow, so that a reader of the log can follow the
//! decision without the code. `status`, `plan`, the log and the JSON documents show them as they are.

use std::fmt::{self, Display, Formatter};

use super::detail::{
    DemandNote, ExceededLimit, LaunchReason, LedgerNote, LimitsUsage, MachineNote, NoPlacement,
    NoRoom, Obstacle, PlanNote, ReasonDetail, Removed, SomeIds, StraysKept,
};
use crate::domain::duration;
use crate::domain::plural::{are, count};
use crate::policy::Why;

impl Display for LaunchReason<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::PendingTasks { pending, free_slots, coming, why } => {
                let (waiting, coming) = (Waiting(*pending), OnTheWay(*coming));
                let (free, why) = (FreeSlots(*free_slots), AfterSemicolon(why));
                write!(f, "{waiting}, {coming}; {free}{why}")
            }
            Self::Spare { why } => {
                let why = AfterSemicolon(why);
                write!(f, "no task waits for them, but one is likely to soon{why}")
            }
            Self::BelowMinimum { launched, min, total } => {
                let more = are(*launched, "more instance");
                write!(
                    f,
                    "fewer than min-instances ({min}): there are {total} in all, {more} asked for"
                )
            }
            Self::UnansweredIntent { age, token } => {
                let age = duration::show(*age);
                write!(
                    f,
                    "no answer to a launch decided {age} ago; repeated with its token {token}"
                )
            }
        }
    }
}

impl Display for ReasonDetail<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch(reason) => reason.fmt(f),
            Self::NoDemand { cancelled, open, pending, free_slots, in_flight } => {
                let (waiting, free) = (Waiting(*pending), FreeSlots(*free_slots));
                let open = count(*open, "open request");
                let in_flight = count(*in_flight, "launch");
                write!(
                    f,
                    "{waiting}: {cancelled} of {open} too many; {free}, {in_flight} in flight"
                )
            }
            Self::OverMaximum { removed, max, total } => {
                write!(f, "over max-instances ({max}) by {removed}: there are {total} in all")
            }
            Self::OverLimit { removed, limit } => write!(f, "{limit}: {removed}"),
            Self::RequestTimeout { cancelled, timeout } => {
                let requests = are(*cancelled, "request");
                let timeout = duration::show(*timeout);
                write!(
                    f,
                    "{requests} open for longer than request-timeout ({timeout}); asked for \
                     elsewhere once seen cancelled"
                )
            }
            Self::NoCapacity { cancelled, status_codes } => {
                let requests = count(*cancelled, "request");
                let codes: Vec<_> = status_codes.iter().map(|code| code.as_str()).collect();
                let codes = codes.join(", ");
                write!(
                    f,
                    "no capacity there ({codes}) for {requests}; the next type or zone is tried"
                )
            }
            Self::NeverClaimed { ended, boot_timeout } => {
                let instances = count(*ended, "instance");
                let timeout = duration::show(*boot_timeout);
                write!(f, "no task claimed within boot-timeout ({timeout}) by {instances}")
            }
            Self::MaxLifetime { idle, past_twice, max_lifetime } => {
                let lifetime = duration::show(*max_lifetime);
                let busy_or_not = |f: &mut Formatter<'_>| {
                    let instances = count(*past_twice, "instance");
                    write!(f, "past twice max-lifetime ({lifetime}), busy or not: {instances}")
                };
                if *idle == 0 {
                    return busy_or_not(f);
                }
                let instances = count(*idle, "instance");
                write!(f, "idle and past max-lifetime ({lifetime}): {instances}")?;
                if *past_twice == 0 {
                    return Ok(());
                }
                f.write_str("; ")?;
                busy_or_not(f)
            }
            Self::RetiredMaxLifetime { ended, worker_type, max_lifetime } => {
                let removed = Removed::Instances(*ended);
                let lifetime = duration::show(*max_lifetime);
                write!(
                    f,
                    "{removed} of worker type `{worker_type}`, which is no longer configured, past \
                     max-lifetime ({lifetime})"
                )
            }
            Self::Stopped { ended } => {
                let instances = are(*ended, "instance");
                write!(f, "{instances} stopped, which serves nobody and counts to the maximum")
            }
            Self::WorkerAgreed { ended, wanted } => {
                let workers = are(*ended, "idle worker");
                write!(f, "{workers} stopping, as told when asking whether to: ")?;
                match wanted {
                    Some(wanted) => write!(f, "{} wanted", are(*wanted, "instance")),
                    None => f.write_str("the worker type is no longer configured"),
                }
            }
            Self::Stray { removed } => {
                write!(f, "{removed} under our key-name with none of our tags")?;
                match removed {
                    Removed::OpenRequests(_) => Ok(()),
                    Removed::Instances(_) => f.write_str(" and from no request of ours"),
                }
            }
            Self::Retired { removed, worker_type } => {
                let idle = match removed {
                    Removed::OpenRequests(n) => count(*n, "open request"),
                    Removed::Instances(n) => count(*n, "idle instance"),
                };
                write!(f, "{idle} of worker type `{worker_type}`, which is no longer configured")
            }
            Self::Untagged { tagged } => {
                write!(f, "{} of our requests without tags yet", count(*tagged, "instance"))
            }
        }
    }
}

/// The numbers of a policy, which add to a sentence; some policies have none.
struct AfterSemicolon<'a>(&'a Why);

impl Display for AfterSemicolon<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.to_string() {
            why if why.is_empty() => Ok(()),
            why => write!(f, "; {why}"),
        }
    }
}

/// The tasks that wait, as the beginning of a sentence.
struct Waiting(u64);

impl Display for Waiting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no task waits"),
            1 => f.write_str("1 task waits"),
            tasks => write!(f, "{tasks} tasks wait"),
        }
    }
}

/// The tasks that instances have room for.
struct FreeSlots(u64);

impl Display for FreeSlots {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no room on instances"),
            tasks => write!(f, "room for {tasks} on instances"),
        }
    }
}

/// The requests that are open or in flight.
struct OnTheWay(u64);

impl Display for OnTheWay {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("none on the way"),
            requests => write!(f, "{requests} on the way"),
        }
    }
}

impl Display for Removed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::OpenRequests(n) => count(*n, "open request"),
            Self::Instances(n) => count(*n, "instance"),
        })
    }
}

impl Display for ExceededLimit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instances { max, over } => {
                write!(f, "over limits.max-instances ({max}) by {over}")
            }
            Self::UsdPerHour { max, over } => {
                write!(f, "over limits.max-usd-per-hour ({max}) by {over} USD per hour")
            }
            Self::UsdPerDay { max, over } => {
                write!(f, "over limits.max-usd-per-day ({max}) by {over} USD")
            }
        }
    }
}

impl Display for LimitsUsage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { instances, usd_per_hour, usd_per_day } = self;
        let counted = |limit: &str, max: &dyn Display, used: &dyn Display| {
            format!("{limit} {max}, {used} counted with these")
        };
        let instances = instances.map(|usage| counted("max-instances", &usage.max, &usage.used));
        let per_hour =
            usd_per_hour.map(|usage| counted("max-usd-per-hour", &usage.max, &usage.used));
        let per_day = usd_per_day.map(|usage| {
            format!(
                "max-usd-per-day {}, {} spent since midnight UTC or still possible with these",
                usage.max, usage.used
            )
        });
        let parts: Vec<_> = [instances, per_hour, per_day].into_iter().flatten().collect();
        f.write_str(&parts.join("; "))
    }
}

impl Display for LedgerNote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherDaemon { ledger, until } => write!(
                f,
                "another daemon (ledger {ledger}) launches under our key-name; nothing is launched \
                 here before {until:.0}, and until it has launched nothing for visibility-window \
                 (`--assume-alone` overrides)"
            ),
            Self::EarlierLedger { ledger, launched } => {
                let launched = are(*launched, "instance");
                write!(f, "{launched} of an earlier ledger ({ledger}), and counted like ours")
            }
            Self::SpendingLowerBound { usd } => write!(
                f,
                "at least {usd} USD were spent since midnight UTC: the count was lost, and this is what \
                 EC2 still shows"
            ),
        }
    }
}

impl Display for DemandNote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { why } => write!(
                f,
                "the queue could not be read: {why}; nothing is launched, cancelled or ended on \
                 account of demand"
            ),
            Self::Malformed { field: "", unread } => {
                let elements = are(unread.count, "element");
                write!(f, "{elements} skipped, being no tasks but {unread}")
            }
            Self::Malformed { field, unread } => {
                let tasks = are(unread.count, "task");
                write!(f, "{tasks} skipped for want of a text at `{field}`: {unread}")
            }
            Self::NotRead { tasks } => {
                write!(f, "{} skipped, because they cannot be read", are(*tasks, "task"))
            }
            Self::Oversized { tasks } => {
                write!(f, "{} skipped, being over 1 MiB", are(*tasks, "task"))
            }
            Self::UnreadField { field, unread } => {
                let tasks = count(unread.count, "task");
                write!(f, "`{field}` cannot be read in {tasks} and counts as absent: {unread}")
            }
            Self::UnknownWorkerType { tasks, worker_type } => {
                let tasks = count(*tasks, "pending task");
                write!(f, "{tasks} of worker type `{worker_type}`, which is not configured")
            }
            Self::FurtherUnknownWorkerTypes { tasks } => {
                let tasks = count(*tasks, "pending task");
                write!(f, "{tasks} of further worker types that are not configured")
            }
            Self::RunningIgnored => f.write_str(
                "the queue answers state=RUNNING with the pending tasks; running tasks are not used",
            ),
        }
    }
}

impl Display for PlanNote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMaximum { needed, max, room, total } => {
                let needed = are(*needed, "more instance");
                write!(
                    f,
                    "max-instances ({max}) leaves room for {room}: {needed} wanted, and there are \
                     {total} in all"
                )
            }
            Self::AtLimit { needed, room, usage } => {
                let needed = are(*needed, "more instance");
                write!(f, "[limits] leave room for {room}: {needed} wanted ({usage})")
            }
            Self::PricesUnknown { unpriced } => write!(
                f,
                "a dollar limit is set and the highest possible price of {unpriced} of what runs or \
                 is asked for is not known; nothing is launched (set max-price for every worker type)"
            ),
            Self::NoMaxPrice { needed, worker_type } => {
                let needed = are(*needed, "instance");
                write!(
                    f,
                    "no max-price, but a dollar limit is set, so {needed} wanted in vain: set \
                     worker-types.{worker_type}.max-price"
                )
            }
            Self::NotLaunched { wanted, obstacle } => {
                write!(f, "{obstacle}; {} wanted", are(*wanted, "instance"))
            }
            Self::NoLongerLaunched { wanted, obstacle } => {
                write!(f, "{obstacle}; {} still wanted", are(*wanted, "instance"))
            }
            Self::LedgerNotWritten { why, wanted } => {
                write!(
                    f,
                    "the in-flight ledger could not be written, so nothing is launched: {why}"
                )?;
                match wanted {
                    Some(wanted) => write!(f, "; {} still wanted", are(*wanted, "instance")),
                    None => Ok(()),
                }
            }
            Self::InFlight { coming, waiting } => {
                let coming = are(*coming, "request");
                let waiting = count(*waiting, "task");
                write!(f, "{coming} on the way for the {waiting} that no instance has room for")
            }
            Self::Burst { calls, takes } => {
                let calls = count(*calls, "launching call");
                let takes = duration::show(*takes);
                write!(f, "{calls} wanted; at the rate EC2 allows they take about {takes}")
            }
            Self::Unanswered { asked, why } => write!(
                f,
                "a launch of {asked} whose answer is not known is not asked again, {why}; EC2's list \
                 of requests will tell"
            ),
            Self::CheckFailed { violations } => {
                let violations = violations.join("; ");
                write!(f, "the plan breaks a fence and is not executed: {violations}")
            }
        }
    }
}

impl Display for Obstacle<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::LedgerLost { until } => write!(
                f,
                "the in-flight ledger was lost: nothing is launched before {until:.0}, when EC2 shows \
                 all that was asked for (`--assume-clean` overrides)"
            ),
            Self::OtherDaemon { ledger, until } => write!(
                f,
                "another daemon (ledger {ledger}) launches under our key-name: nothing is launched \
                 before {until:.0}"
            ),
            Self::KeyPairMissing => {
                f.write_str("EC2 has no key pair of our key-name; run `setup-aws`")
            }
            Self::Paused { failures, until, last } => {
                let failures = count(*failures, "launch");
                write!(
                    f,
                    "{failures} in a row failed: paused until {until:.0}; the last said {last}"
                )
            }
            Self::Probing { failures, last } => {
                let failures = count(*failures, "launch");
                write!(
                    f,
                    "{failures} in a row failed: one instance at a time is tried, and it has no task \
                     yet; the last said {last}"
                )
            }
            Self::Unresolved { why: Some(why) } => f.write_str(why),
            Self::Unresolved { why: None } => {
                f.write_str("what the worker type names in AWS is not known yet")
            }
            Self::Throttled => {
                f.write_str("EC2 throttles launching calls; asked again after a pause")
            }
            Self::ApiBudget { until } => write!(
                f,
                "EC2 allows only so many launching calls at a time; asked again at {until:.0}, first for \
                 the worker type that has waited longest"
            ),
            Self::NoPlacement(why) => why.fmt(f),
        }
    }
}

impl Display for NoPlacement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cooling { until, code } => {
                write!(f, "every type and zone refused lately ({code}); tried again at {until:.0}")
            }
            Self::Quota { until, quota } => {
                write!(f, "the account's quota is used up: {quota}; tried again at {until:.0}")
            }
            Self::UnknownProfile { until, profile } => write!(
                f,
                "EC2 does not know the instance profile `{profile}` yet (what IAM makes reaches it \
                 within minutes); tried again at {until:.0}"
            ),
            Self::AllTried => f.write_str("every type and zone refused in this round"),
            Self::NotOffered => f.write_str(
                "none of its zones offers any of its instance-types; name other types, zones or subnets",
            ),
        }
    }
}

impl Display for NoRoom {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withdrawn => f.write_str(
                "because the configuration has another image, instance type or price by now",
            ),
            Self::Unresolved => {
                f.write_str("because it is not known which image the worker type names now")
            }
            Self::OtherDaemon => f.write_str("because another daemon launches under our key-name"),
            Self::NotConfigured => f.write_str("because the worker type is no longer configured"),
            Self::OverMaximum { total, max } => {
                write!(f, "because with it there are {total}, over max-instances ({max})")
            }
            Self::OverLimits => f.write_str("because [limits] are exceeded with it"),
        }
    }
}

impl Display for MachineNote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RequestFailed { request, why } => {
                write!(f, "spot request {request} ended without an instance: {why}")
            }
            Self::InstanceFailed { why } => f.write_str(why),
            Self::Overdue { instances, boot_timeout } => {
                let instances = are(*instances, "instance");
                let timeout = duration::show(*boot_timeout);
                write!(
                    f,
                    "{instances} up longer than boot-timeout ({timeout}) without a task seen there; \
                     no longer counted as capacity"
                )
            }
            Self::NotKnownToBeFree { instances, boot_timeout } => {
                let instances = are(*instances, "instance");
                let timeout = duration::show(*boot_timeout);
                write!(
                    f,
                    "{instances} up longer than boot-timeout ({timeout}) and the queue does not tell \
                     what runs; no longer counted as free"
                )
            }
            Self::WaitingForCapacity { requests, status_code } => {
                let requests = are(*requests, "request");
                write!(
                    f,
                    "{requests} waiting ({status_code}), and every other type and zone refused \
                     lately or none is configured"
                )
            }
            Self::GrantNeverSeen { request, age } => {
                let age = duration::show(*age);
                write!(
                    f,
                    "spot request {request} was granted {age} ago and is not seen; no longer counted"
                )
            }
            Self::LaunchNeverSeen { token, asked, found, age } => {
                let asked = count(*asked, "instance");
                let age = duration::show(*age);
                write!(
                    f,
                    "of {asked} asked for {age} ago with token {token}, {found} shown; the rest is \
                     no longer counted"
                )
            }
            Self::StraysKept { instances, requests, ids, why } => {
                let instances = count(*instances, "instance");
                let requests = count(*requests, "open request");
                write!(
                    f,
                    "{instances} and {requests} under our key-name are not ours ({ids}); kept: {why}"
                )
            }
            Self::DisputedKept { instances, ids } => {
                let instances = count(*instances, "instance");
                write!(
                    f,
                    "{instances} under our key-name with another key-name's tag; kept ({ids})"
                )
            }
            Self::Unresolved { instances, ids } => {
                let instances = are(*instances, "instance");
                write!(
                    f,
                    "{instances} left alone for the visibility window, for want of a visible spot \
                     request ({ids})"
                )
            }
            Self::UnknownState { state } => write!(
                f,
                "EC2 says {state}, which this version does not know; counted, not touched"
            ),
            Self::PromiseLapsed { workers, lease } => {
                let workers = count(*workers, "worker");
                let lease = duration::show(*lease);
                write!(f, "{workers} told to stop did not say so within {lease}; counted again")
            }
        }
    }
}

impl Display for SomeIds<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        /// A note should fit one line: five ids of 19 characters do.
        const MOST: usize = 5;
        let mut ids: Vec<_> = self.0.iter().take(MOST).map(|machine| machine.id.as_str()).collect();
        if self.0.len() > MOST {
            ids.push("…");
        }
        f.write_str(&ids.join(", "))
    }
}

impl Display for StraysKept {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsConfigured => "strays = \"keep\"",
            Self::KeyPairMayBeShared => {
                "the key pair does not carry our tag, so others may use it (adopt-key-name = true if \
                 not)"
            }
        })
    }
}
