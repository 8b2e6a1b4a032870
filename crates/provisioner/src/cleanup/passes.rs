//! Cancel, terminate, and look again, until two looks in a row find nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::TargetReport;
use super::inventory::lasting_volumes;
use crate::aws::{Client, Error, FoundInstance, FoundRequest};
use crate::domain::ids::{InstanceId, KeyName, SpotRequestId};
use crate::domain::launch::LaunchCall;
use crate::domain::ledger::Ledger;
use crate::domain::observed::InstanceState;
use crate::domain::plural;
use crate::domain::refusal::RefusalClass;

/// EC2 honours a client token for a while; an older call is settled by looking alone.
const REPEATABLE: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);
/// Describe calls lag, so one or two looks may show requests from before; more is somebody at work.
const MAX_ARRIVALS: u32 = 3;
/// How often nothing must be found in a row.
const QUIET_LOOKS: u32 = 2;

const KEEP_ARRIVING: &str = "new spot requests keep arriving: a provisionerd seems to be running with \
                             this key-name; stop it first";

/// What the passes over one key-name go by.
pub(super) struct Passes<'a> {
    pub(super) client: &'a Client,
    pub(super) key_name: &'a KeyName,
    pub(super) deadline: Instant,
    pub(super) pauses: &'a [Duration],
    /// Why nothing may be ended, if so.
    pub(super) hands_off: Option<&'static str>,
    /// The requests that were there when the plan was made.
    pub(super) seen: BTreeSet<SpotRequestId>,
}

/// One look.
struct Remaining {
    requests: Vec<FoundRequest>,
    instances: Vec<FoundInstance>,
}

/// What is known of how things went, from pass to pass.
#[derive(Default)]
struct PassState {
    /// Launching calls without an answer.
    unanswered: Vec<LaunchCall>,
    /// Requests EC2 granted that are not confirmed to be cancelled, be they visible or not.
    granted: BTreeSet<SpotRequestId>,
    protected: BTreeSet<InstanceId>,
    /// Not for these credentials to touch, by id, and why.
    denied: BTreeMap<String, String>,
    cancelled: BTreeSet<SpotRequestId>,
    terminated: BTreeSet<InstanceId>,
    volumes: BTreeSet<String>,
    /// An error after which cancelling is not tried again.
    cannot_cancel: Option<Error>,
    /// An error after which terminating is not tried again.
    cannot_terminate: Option<Error>,
    last_error: Option<Error>,
    history: ObservationHistory,
}

/// What the looks have shown so far.
#[derive(Debug, Default)]
struct ObservationHistory {
    seen: BTreeSet<SpotRequestId>,
    /// Looks in a row that showed requests never seen before.
    arrivals: u32,
    /// Looks in a row that found nothing to do.
    quiet: u32,
}

impl PassState {
    /// Notes what is not for these credentials to touch.
    fn deny<Id: std::fmt::Display>(
        &mut self,
        denied: Vec<(Id, String)>,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        for (id, why) in denied {
            progress(&why);
            self.denied.insert(id.to_string(), why);
        }
    }
}

impl ObservationHistory {
    /// Takes in one look.
    fn record<'a>(&mut self, requests: impl Iterator<Item = &'a SpotRequestId>, is_quiet: bool) {
        let n_seen = self.seen.len();
        self.seen.extend(requests.cloned());
        let arrived = self.seen.len() > n_seen;
        self.arrivals = if arrived { self.arrivals + 1 } else { 0 };
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
    }

    /// Whether requests were arriving when the time was up.
    fn was_growing(&self) -> bool {
        self.arrivals >= 2
    }

    /// Whether requests keep arriving.
    fn keeps_growing(&self) -> bool {
        self.arrivals >= MAX_ARRIVALS
    }
}

impl Passes<'_> {
    /// Runs until nothing is found twice in a row, nothing more can be done, or the time is up.
    /// Writes what was done and what is left into `report`; returns the volumes that may be left.
    pub(super) async fn run(
        &self,
        ledger: &Ledger,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Vec<String> {
        let history =
            ObservationHistory { seen: self.seen.clone(), ..ObservationHistory::default() };
        let mut course = PassState { history, ..PassState::default() };
        if self.hands_off.is_none() {
            course.granted.extend(ledger.granted.keys().cloned());
            course.history.seen.extend(ledger.granted.keys().cloned());
            course.unanswered = unanswered(ledger, Timestamp::now());
        }
        let mut last_look = None;
        let mut pauses = self.pauses.iter().copied();
        let mut pause = Duration::ZERO;
        loop {
            course.last_error = None;
            self.settle(&mut course, report, progress).await;
            match self.look().await {
                Ok(look) => {
                    let done = self.pass(&look, &mut course, progress).await;
                    last_look = Some(look);
                    if done {
                        break;
                    }
                }
                Err(error) => {
                    progress(&error.to_string());
                    let hopeless = is_hopeless(&error);
                    course.last_error = Some(error);
                    course.history.quiet = 0;
                    if hopeless {
                        break;
                    }
                }
            }
            let now = Instant::now();
            if now >= self.deadline {
                break;
            }
            pause = pauses.next().unwrap_or(pause);
            // The last look is as late as allowed.
            tokio::time::sleep_until(self.deadline.min(now + pause)).await;
        }
        self.conclude(last_look.as_ref(), &course, report);
        report.cancelled = course.cancelled.iter().map(ToString::to_string).collect();
        report.terminated = course.terminated.iter().map(ToString::to_string).collect();
        course.volumes.into_iter().collect()
    }

    /// Repeats launching calls byte for byte: EC2 then says what came of them.
    async fn settle(
        &self,
        course: &mut PassState,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        for call in std::mem::take(&mut course.unanswered) {
            match self.client.request_spot_instances(&call).await {
                Ok(granted) => {
                    progress(&format!(
                        "settled an unanswered launching call: {}",
                        plural::count(granted.len(), "spot request")
                    ));
                    report.settled_intents += 1;
                    for request in granted {
                        course.history.seen.insert(request.id.clone());
                        course.granted.insert(request.id);
                    }
                }
                Err(error) => {
                    progress(&error.to_string());
                    match error.class() {
                        // Says nothing about the call that is repeated.
                        RefusalClass::Throttled | RefusalClass::Transient => {
                            course.unanswered.push(call);
                            course.last_error = Some(error);
                        }
                        // Nor does this; but waiting does not help. Later, looking alone settles it.
                        RefusalClass::Unauthorized => {
                            report
                                .leave(format!("launching call {}", call.token), error.to_string());
                        }
                        // Taken before, or not to be had: looking shows which.
                        RefusalClass::IdempotentMismatch
                        | RefusalClass::NoCapacity
                        | RefusalClass::Quota
                        | RefusalClass::NotFound
                        | RefusalClass::UnknownProfile
                        | RefusalClass::Invalid => report.settled_intents += 1,
                    }
                }
            }
        }
    }

    async fn look(&self) -> Result<Remaining, Error> {
        // Requests first: an instance made in between is then seen as one.
        let requests = self.client.standing_requests(self.key_name).await?;
        let instances = self.client.instances(self.key_name).await?;
        Ok(Remaining { requests, instances })
    }

    /// Acts on one look. Returns whether it was the last.
    async fn pass(
        &self,
        look: &Remaining,
        course: &mut PassState,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> bool {
        course.volumes.extend(lasting_volumes(&look.instances));
        let to_cancel = self.to_cancel(look, course);
        let to_terminate = self.to_terminate(look, course);
        let stopping = look.instances.iter().filter(|it| is_stopping(it)).count();
        let is_quiet = to_cancel.is_empty()
            && to_terminate.is_empty()
            && stopping == 0
            && course.unanswered.is_empty();
        course.history.record(look.requests.iter().map(|it| &it.id), is_quiet);
        progress(&summary(look, stopping));
        if is_quiet {
            let blocked = course.cannot_cancel.is_some() || course.cannot_terminate.is_some();
            let nothing_to_wait_for = (blocked || self.hands_off.is_some()) && !look.is_empty();
            return nothing_to_wait_for || course.history.quiet >= QUIET_LOOKS;
        }
        // Before terminating, or EC2 fulfils the next request meanwhile.
        if !to_cancel.is_empty() {
            let bulk = self.client.cancel(&to_cancel).await;
            for id in bulk.done.iter().chain(&bulk.absent) {
                course.granted.remove(id);
            }
            progress(&format!("cancelled {}", plural::count(bulk.done.len(), "spot request")));
            course.cancelled.extend(bulk.done);
            course.deny(bulk.denied, progress);
            if let Some(error) = bulk.error {
                progress(&error.to_string());
                let slot = if is_hopeless(&error) {
                    &mut course.cannot_cancel
                } else {
                    &mut course.last_error
                };
                *slot = Some(error);
            }
        }
        if !to_terminate.is_empty() {
            let bulk = self.client.terminate(&to_terminate).await;
            progress(&format!("terminating {}", plural::count(bulk.done.len(), "instance")));
            course.terminated.extend(bulk.done);
            course.protected.extend(bulk.protected);
            course.deny(bulk.denied, progress);
            if let Some(error) = bulk.error {
                progress(&error.to_string());
                let slot = if is_hopeless(&error) {
                    &mut course.cannot_terminate
                } else {
                    &mut course.last_error
                };
                *slot = Some(error);
            }
        }
        if course.history.keeps_growing() {
            progress(KEEP_ARRIVING);
        }
        course.history.keeps_growing()
    }

    fn to_cancel(&self, look: &Remaining, course: &PassState) -> Vec<SpotRequestId> {
        if self.hands_off.is_some() || course.cannot_cancel.is_some() {
            return Vec::new();
        }
        let mut ids: BTreeSet<_> = look.requests.iter().map(|it| it.id.clone()).collect();
        ids.extend(course.granted.iter().cloned());
        ids.into_iter().filter(|id| !course.denied.contains_key(id.as_str())).collect()
    }

    fn to_terminate(&self, look: &Remaining, course: &PassState) -> Vec<InstanceId> {
        if self.hands_off.is_some() || course.cannot_terminate.is_some() {
            return Vec::new();
        }
        look.instances
            .iter()
            .filter(|it| !is_stopping(it) && !course.protected.contains(&it.id))
            .filter(|it| !course.denied.contains_key(it.id.as_str()))
            .map(|it| it.id.clone())
            .collect()
    }

    /// Says what is left, and why.
    fn conclude(&self, look: Option<&Remaining>, course: &PassState, report: &mut TargetReport) {
        let n_left_before = report.left.len();
        let time_is_up = match &course.last_error {
            Some(error) => format!("the time was up; the last error: {error}"),
            None => "it was still there when the time was up".to_owned(),
        };
        let why = |blocked: Option<&Error>| match (self.hands_off, blocked) {
            (Some(why), _) => why.to_owned(),
            (None, Some(error)) => error.to_string(),
            (None, None) if course.history.was_growing() => {
                "new spot requests keep arriving".to_owned()
            }
            (None, None) => time_is_up.clone(),
        };
        let empty = Remaining { requests: Vec::new(), instances: Vec::new() };
        let Remaining { requests, instances } = look.unwrap_or(&empty);
        let mut left = BTreeMap::new();
        for id in requests.iter().map(|it| &it.id).chain(&course.granted) {
            // The last look may be from before the last cancel.
            if !course.cancelled.contains(id) {
                let denied = course.denied.get(id.as_str()).cloned();
                let why = denied.unwrap_or_else(|| why(course.cannot_cancel.as_ref()));
                left.insert(format!("spot request {id}"), why);
            }
        }
        for instance in instances {
            let why = if course.protected.contains(&instance.id) {
                "it is protected from termination (disableApiTermination)".to_owned()
            } else if let Some(denied) = course.denied.get(instance.id.as_str()) {
                denied.clone()
            } else {
                why(course.cannot_terminate.as_ref())
            };
            left.insert(format!("instance {}", instance.id), why);
        }
        for call in &course.unanswered {
            left.insert(format!("launching call {}", call.token), time_is_up.clone());
        }
        for (what, why) in left {
            report.leave(what, why);
        }
        if course.history.was_growing() {
            report.leave(format!("key-name `{}`", self.key_name), KEEP_ARRIVING);
        } else if course.history.quiet < QUIET_LOOKS && report.left.len() == n_left_before {
            let why = match &course.last_error {
                Some(error) => error.to_string(),
                None => "the time was up before two looks in a row found nothing".to_owned(),
            };
            report.leave(format!("key-name `{}`", self.key_name), why);
        }
    }
}

impl Remaining {
    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.instances.is_empty()
    }
}

/// Calls whose answer is not known and that may still be repeated.
fn unanswered(ledger: &Ledger, now: Timestamp) -> Vec<LaunchCall> {
    ledger
        .intents
        .values()
        // One that EC2 is known to have taken is looked up, not repeated.
        .filter(|intent| intent.accepted.is_none())
        .filter(|intent| now.duration_since(intent.call.decided) < REPEATABLE)
        .map(|intent| intent.call.clone())
        .collect()
}

/// Whether the same call will fail the same way.
fn is_hopeless(error: &Error) -> bool {
    matches!(error.class(), RefusalClass::Unauthorized | RefusalClass::Invalid)
}

fn is_stopping(instance: &FoundInstance) -> bool {
    instance.state == InstanceState::ShuttingDown
}

fn summary(look: &Remaining, stopping: usize) -> String {
    if look.is_empty() {
        return "found nothing".to_owned();
    }
    format!(
        "found {}, {}, {stopping} of them shutting down",
        plural::count(look.requests.len(), "spot request"),
        plural::count(look.instances.len(), "instance")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(history: &mut ObservationHistory, ids: &[&str]) {
        let ids: Vec<_> = ids.iter().copied().map(SpotRequestId::from).collect();
        history.record(ids.iter(), ids.is_empty());
    }

    #[test]
    fn two_quiet_looks_must_be_in_a_row() {
        let mut history = ObservationHistory::default();
        for (ids, quiet) in [(&[][..], 1), (&["a"][..], 0), (&[][..], 1), (&[][..], 2)] {
            record(&mut history, ids);
            assert_eq!(history.quiet, quiet);
        }
    }

    #[test]
    fn requests_that_keep_arriving_are_noticed() {
        let seen = BTreeSet::from(["a", "b"].map(SpotRequestId::from));
        let mut history = ObservationHistory { seen, ..ObservationHistory::default() };
        for (ids, growing) in [
            (&["a", "b"][..], false), // there from the start
            (&["a", "c"][..], false),
            (&["c", "d"][..], false),
            (&["d"][..], false), // nothing new: counts from the start
            (&["e"][..], false),
            (&["f"][..], false),
            (&["g"][..], true),
        ] {
            record(&mut history, ids);
            assert_eq!(history.keeps_growing(), growing, "{ids:?}");
        }
    }
}
