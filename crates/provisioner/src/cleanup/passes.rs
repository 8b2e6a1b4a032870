//! Cancels, terminates and observes again, until two observations in a row find nothing.

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

/// EC2 honours a client token for a limited time (EC2 API Reference, "Ensuring idempotency"). Our own choice:
/// an older call is not repeated, and only observations show its result.
const REPEATABLE: jiff::SignedDuration = jiff::SignedDuration::from_mins(30);
/// Our own choice. As describe calls lag, one or two observations may show earlier requests for the first
/// time; more of them mean that somebody is launching.
const MAX_ARRIVALS: u32 = 3;
/// The number of observations in a row that must find nothing. Our own choice, as a single one may lag.
const QUIET_OBSERVATIONS: u32 = 2;

const KEEP_ARRIVING: &str = "new spot requests keep arriving: a provisionerd seems to be running with \
                             this key-name; stop it first";

/// The passes over one key-name.
pub(super) struct Passes<'a> {
    pub(super) client: &'a Client,
    pub(super) key_name: &'a KeyName,
    pub(super) deadline: Instant,
    pub(super) pauses: &'a [Duration],
    /// Why nothing may be cancelled or terminated, if so.
    pub(super) hands_off: Option<&'static str>,
    /// The requests that were there when the plan was made.
    pub(super) seen: BTreeSet<SpotRequestId>,
}

/// What one observation shows.
struct Remaining {
    requests: Vec<FoundRequest>,
    instances: Vec<FoundInstance>,
}

/// What is known from pass to pass.
#[derive(Default)]
struct PassState {
    /// The launching calls without an answer.
    unanswered: Vec<LaunchCall>,
    /// The granted requests that are not confirmed to be cancelled, visible or not.
    granted: BTreeSet<SpotRequestId>,
    protected: BTreeSet<InstanceId>,
    /// The ids that these credentials may not touch, with the reasons.
    denied: BTreeMap<String, String>,
    cancelled: BTreeSet<SpotRequestId>,
    terminated: BTreeSet<InstanceId>,
    volumes: BTreeSet<String>,
    /// The error after which cancelling is not tried again.
    cannot_cancel: Option<Error>,
    /// The error after which terminating is not tried again.
    cannot_terminate: Option<Error>,
    last_error: Option<Error>,
    history: ObservationHistory,
}

/// What the observations have shown so far.
#[derive(Debug, Default)]
struct ObservationHistory {
    seen: BTreeSet<SpotRequestId>,
    /// The number of observations in a row that showed new requests.
    arrivals: u32,
    /// The number of observations in a row that found nothing to do.
    quiet: u32,
}

impl PassState {
    /// Notes the ids that these credentials may not touch.
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
    /// Takes in one observation.
    fn record<'a>(&mut self, requests: impl Iterator<Item = &'a SpotRequestId>, is_quiet: bool) {
        let n_seen = self.seen.len();
        self.seen.extend(requests.cloned());
        let arrived = self.seen.len() > n_seen;
        self.arrivals = if arrived { self.arrivals + 1 } else { 0 };
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
    }

    /// Returns whether requests were arriving at the end.
    fn was_growing(&self) -> bool {
        self.arrivals >= 2
    }

    /// Returns whether requests keep arriving.
    fn keeps_growing(&self) -> bool {
        self.arrivals >= MAX_ARRIVALS
    }
}

impl Passes<'_> {
    /// Runs until nothing is found twice in a row, nothing more can be done, or the time is up. Writes what
    /// was done and what is left into `report`. Returns the volumes that may be left.
    pub(super) async fn run(
        &self,
        ledger: &Ledger,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Vec<String> {
        let history =
            ObservationHistory { seen: self.seen.clone(), ..ObservationHistory::default() };
        let mut state = PassState { history, ..PassState::default() };
        if self.hands_off.is_none() {
            state.granted.extend(ledger.granted.keys().cloned());
            state.history.seen.extend(ledger.granted.keys().cloned());
            state.unanswered = unanswered(ledger, Timestamp::now());
        }
        let mut last = None;
        let mut pauses = self.pauses.iter().copied();
        let mut pause = Duration::ZERO;
        loop {
            state.last_error = None;
            self.repeat_unanswered(&mut state, report, progress).await;
            match self.observe().await {
                Ok(remaining) => {
                    let done = self.pass(&remaining, &mut state, progress).await;
                    last = Some(remaining);
                    if done {
                        break;
                    }
                }
                Err(error) => {
                    progress(&error.to_string());
                    let hopeless = is_hopeless(&error);
                    state.last_error = Some(error);
                    state.history.quiet = 0;
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
            // The last observation is as late as the deadline allows.
            tokio::time::sleep_until(self.deadline.min(now + pause)).await;
        }
        self.conclude(last.as_ref(), &state, report);
        report.cancelled = state.cancelled.iter().map(ToString::to_string).collect();
        report.terminated = state.terminated.iter().map(ToString::to_string).collect();
        state.volumes.into_iter().collect()
    }

    /// Repeats launching calls byte for byte, so that EC2 returns what they have launched.
    async fn repeat_unanswered(
        &self,
        state: &mut PassState,
        report: &mut TargetReport,
        progress: &mut (dyn FnMut(&str) + Send),
    ) {
        for call in std::mem::take(&mut state.unanswered) {
            match self.client.request_spot_instances(&call).await {
                Ok(granted) => {
                    progress(&format!(
                        "settled an unanswered launching call: {}",
                        plural::count(granted.len(), "spot request")
                    ));
                    report.settled_intents += 1;
                    for request in granted {
                        state.history.seen.insert(request.id.clone());
                        state.granted.insert(request.id);
                    }
                }
                Err(error) => {
                    progress(&error.to_string());
                    match error.class() {
                        // This says nothing about the original call.
                        RefusalClass::Throttled | RefusalClass::Transient => {
                            state.unanswered.push(call);
                            state.last_error = Some(error);
                        }
                        // Neither does this, and waiting does not help. In a later run, when the call is
                        // too old to be repeated, observations alone decide.
                        RefusalClass::Unauthorized => {
                            report
                                .leave(format!("launching call {}", call.token), error.to_string());
                        }
                        // EC2 has accepted it before or refuses it now; observations show which.
                        RefusalClass::IdempotentMismatch
                        | RefusalClass::NoCapacity
                        | RefusalClass::UnsuitablePlace
                        | RefusalClass::NoFreeAddresses
                        | RefusalClass::Unclear
                        | RefusalClass::Quota
                        | RefusalClass::NotFound
                        | RefusalClass::UnknownProfile
                        | RefusalClass::Invalid => report.settled_intents += 1,
                    }
                }
            }
        }
    }

    async fn observe(&self) -> Result<Remaining, Error> {
        // Requests first, so that a request fulfilled in between shows as an instance.
        let requests = self.client.standing_requests(self.key_name).await?;
        let instances = self.client.instances(self.key_name).await?;
        Ok(Remaining { requests, instances })
    }

    /// Acts on one observation. Returns whether it was the last.
    async fn pass(
        &self,
        remaining: &Remaining,
        state: &mut PassState,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> bool {
        state.volumes.extend(lasting_volumes(&remaining.instances));
        let to_cancel = self.to_cancel(remaining, state);
        let to_terminate = self.to_terminate(remaining, state);
        let stopping = remaining.instances.iter().filter(|instance| is_stopping(instance)).count();
        let is_quiet = to_cancel.is_empty()
            && to_terminate.is_empty()
            && stopping == 0
            && state.unanswered.is_empty();
        state.history.record(remaining.requests.iter().map(|request| &request.id), is_quiet);
        progress(&summary(remaining, stopping));
        if is_quiet {
            let blocked = state.cannot_cancel.is_some() || state.cannot_terminate.is_some();
            let nothing_to_wait_for =
                (blocked || self.hands_off.is_some()) && !remaining.is_empty();
            return nothing_to_wait_for || state.history.quiet >= QUIET_OBSERVATIONS;
        }
        // Before terminating, so that EC2 fulfils no further request meanwhile.
        if !to_cancel.is_empty() {
            let bulk = self.client.cancel(&to_cancel).await;
            for id in bulk.done.iter().chain(&bulk.absent) {
                state.granted.remove(id);
            }
            progress(&format!("cancelled {}", plural::count(bulk.done.len(), "spot request")));
            state.cancelled.extend(bulk.done);
            state.deny(bulk.denied, progress);
            if let Some(error) = bulk.error {
                keep_error(error, &mut state.cannot_cancel, &mut state.last_error, progress);
            }
        }
        if !to_terminate.is_empty() {
            let bulk = self.client.terminate(&to_terminate).await;
            progress(&format!("terminating {}", plural::count(bulk.done.len(), "instance")));
            state.terminated.extend(bulk.done);
            state.protected.extend(bulk.protected);
            state.deny(bulk.denied, progress);
            if let Some(error) = bulk.error {
                keep_error(error, &mut state.cannot_terminate, &mut state.last_error, progress);
            }
        }
        if state.history.keeps_growing() {
            progress(KEEP_ARRIVING);
        }
        state.history.keeps_growing()
    }

    fn to_cancel(&self, remaining: &Remaining, state: &PassState) -> Vec<SpotRequestId> {
        if self.hands_off.is_some() || state.cannot_cancel.is_some() {
            return Vec::new();
        }
        let mut ids: BTreeSet<_> =
            remaining.requests.iter().map(|request| request.id.clone()).collect();
        ids.extend(state.granted.iter().cloned());
        ids.into_iter().filter(|id| !state.denied.contains_key(id.as_str())).collect()
    }

    fn to_terminate(&self, remaining: &Remaining, state: &PassState) -> Vec<InstanceId> {
        if self.hands_off.is_some() || state.cannot_terminate.is_some() {
            return Vec::new();
        }
        remaining
            .instances
            .iter()
            .filter(|instance| !is_stopping(instance) && !state.protected.contains(&instance.id))
            .filter(|instance| !state.denied.contains_key(instance.id.as_str()))
            .map(|instance| instance.id.clone())
            .collect()
    }

    /// Reports what is left, and why.
    fn conclude(&self, last: Option<&Remaining>, state: &PassState, report: &mut TargetReport) {
        let n_left_before = report.left.len();
        let time_is_up = match &state.last_error {
            Some(error) => format!("the time was up; the last error: {error}"),
            None => "it was still there when the time was up".to_owned(),
        };
        let why = |blocked: Option<&Error>| match (self.hands_off, blocked) {
            (Some(why), _) => why.to_owned(),
            (None, Some(error)) => error.to_string(),
            (None, None) if state.history.was_growing() => {
                "new spot requests keep arriving".to_owned()
            }
            (None, None) => time_is_up.clone(),
        };
        let empty = Remaining { requests: Vec::new(), instances: Vec::new() };
        let Remaining { requests, instances } = last.unwrap_or(&empty);
        let mut left = BTreeMap::new();
        for id in requests.iter().map(|request| &request.id).chain(&state.granted) {
            // The last observation may be older than the last cancelling.
            if !state.cancelled.contains(id) {
                let denied = state.denied.get(id.as_str()).cloned();
                let why = denied.unwrap_or_else(|| why(state.cannot_cancel.as_ref()));
                left.insert(format!("spot request {id}"), why);
            }
        }
        for instance in instances {
            let why = if state.protected.contains(&instance.id) {
                "it is protected from termination (disableApiTermination)".to_owned()
            } else if let Some(denied) = state.denied.get(instance.id.as_str()) {
                denied.clone()
            } else {
                why(state.cannot_terminate.as_ref())
            };
            left.insert(format!("instance {}", instance.id), why);
        }
        for call in &state.unanswered {
            left.insert(format!("launching call {}", call.token), time_is_up.clone());
        }
        for (what, why) in left {
            report.leave(what, why);
        }
        if state.history.was_growing() {
            report.leave(format!("key-name `{}`", self.key_name), KEEP_ARRIVING);
        } else if state.history.quiet < QUIET_OBSERVATIONS && report.left.len() == n_left_before {
            let why = match &state.last_error {
                Some(error) => error.to_string(),
                None => "the time was up before two observations in a row found nothing".to_owned(),
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

/// Returns the calls whose answer is unknown and that can still be repeated.
fn unanswered(ledger: &Ledger, now: Timestamp) -> Vec<LaunchCall> {
    ledger
        .intents
        .values()
        // A call that EC2 has accepted is observed rather than repeated.
        .filter(|intent| intent.accepted.is_none())
        .filter(|intent| now.duration_since(intent.call.decided) < REPEATABLE)
        .map(|intent| intent.call.clone())
        .collect()
}

/// Keeps the error of a bulk call: in `blocked` if the call need not be tried again, otherwise in `last`.
fn keep_error(
    error: Error,
    blocked: &mut Option<Error>,
    last: &mut Option<Error>,
    progress: &mut (dyn FnMut(&str) + Send),
) {
    progress(&error.to_string());
    let slot = if is_hopeless(&error) { blocked } else { last };
    *slot = Some(error);
}

/// Returns whether the same call will fail in the same way.
fn is_hopeless(error: &Error) -> bool {
    matches!(error.class(), RefusalClass::Unauthorized | RefusalClass::Invalid)
}

fn is_stopping(instance: &FoundInstance) -> bool {
    instance.state == InstanceState::ShuttingDown
}

fn summary(remaining: &Remaining, stopping: usize) -> String {
    if remaining.is_empty() {
        return "found nothing".to_owned();
    }
    format!(
        "found {}, {}, {stopping} of them shutting down",
        plural::count(remaining.requests.len(), "spot request"),
        plural::count(remaining.instances.len(), "instance")
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
    fn two_quiet_observations_must_be_in_a_row() {
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
