//! Telling a service manager how the daemon is doing (systemd's `Type=notify`).
//!
//! Says nothing where `NOTIFY_SOCKET` is not set. Only sockets with a path are spoken to, which are all
//! that systemd and container runtimes hand out today. What cannot be told is logged once: it must not
//! hold up the loop.

use std::convert::Infallible;
use std::time::Duration;

use provisioner::internal::daemon::{RoundEnd, RoundSummary};
use provisioner::internal::engine::{Plan, Usage};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// The service manager is told to wait this much longer while AWS does not answer at the start: twice
/// what passes at most from one try to the next.
const STARTING: Duration = Duration::from_mins(4);

/// The way to the service manager.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    ready: bool,
    status: String,
    failed: bool,
}

impl Notifier {
    /// The start takes longer than thought, because of this.
    pub(crate) fn still_starting(&mut self, why: &str) {
        let longer = u32::try_from(STARTING.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(longer), NotifyState::Status(why)]);
    }

    /// Takes in a round. The first one that shows that the loop works makes the service ready: whether or
    /// not EC2 and the queue answer, for the daemon waits for these in any case.
    pub(crate) fn round(&mut self, turn: &RoundSummary<'_>) {
        let status = status(turn);
        let news = status != self.status;
        match (self.ready, news) {
            (false, _) => self.tell(&[NotifyState::Ready, NotifyState::Status(&status)]),
            (true, true) => self.tell(&[NotifyState::Status(&status)]),
            (true, false) => {}
        }
        self.ready = true;
        self.status = status;
    }

    fn tell(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the service manager cannot be told anything: {error}");
        }
    }
}

/// Says that the configuration is being read again.
pub(crate) fn reloading() {
    let told = NotifyState::monotonic_usec_now()
        .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager was not told of the reload: {error}");
    }
}

/// Says that it has been read, and one is in force, the new one or the old.
pub(crate) fn reloaded() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::debug!(%error, "the service manager was not told of the reload's end: {error}");
    }
}

/// Says when the daemon begins to end, and feeds the service manager's watchdog, if it has one, for as long
/// as the loop turns. Goes on until it is dropped.
pub(crate) async fn attend(
    health: watch::Receiver<Health>,
    stop: &CancellationToken,
) -> Infallible {
    let stopping = async {
        stop.cancelled().await;
        if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
            tracing::debug!(%error, "the service manager was not told of the end: {error}");
        }
        std::future::pending().await
    };
    tokio::select! {
        never = stopping => never,
        never = feed_watchdog(health) => never,
    }
}

async fn feed_watchdog(health: watch::Receiver<Health>) -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
    else {
        return std::future::pending().await;
    };
    // As sd_watchdog_enabled(3) recommends: at half of the time.
    let mut ticks = tokio::time::interval(patience / 2);
    loop {
        ticks.tick().await;
        let health = health.borrow().clone();
        if health.is_stalled() {
            tracing::debug!("the watchdog is not fed: the loop does not turn");
        } else if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::debug!(%error, "the watchdog could not be fed: {error}");
        }
    }
}

/// One line for `systemctl status`.
fn status(turn: &RoundSummary<'_>) -> String {
    let plan = match turn.end {
        RoundEnd::Done(report) => &report.plan,
        RoundEnd::Planned(plan) => plan,
        RoundEnd::Failed { error, .. } => {
            return format!("{} rounds failed in a row: {error}", turn.failed_rounds);
        }
        RoundEnd::Stopped => return "stopped".to_owned(),
    };
    let sum = |usage| {
        let machines = turn.machines.iter().filter(|machines| machines.usage == usage);
        machines.map(|machines| machines.count).sum::<u64>()
    };
    let (booting, busy, idle) = (sum(Usage::Booting), sum(Usage::Busy), sum(Usage::Idle));
    let types = match plan.worker_types.len() {
        1 => "1 type".to_owned(),
        n => format!("{n} types"),
    };
    format!(
        "{types}, {}, {} requests open, {booting} booting, {busy} busy, {idle} idle",
        waiting(plan),
        plan.worker_types.iter().map(|status| status.open_requests).sum::<u64>()
    )
}

fn waiting(plan: &Plan) -> String {
    if plan.demand_known() {
        format!("{} pending", plan.worker_types.iter().map(|it| it.pending).sum::<u64>())
    } else {
        "pending tasks unknown".to_owned()
    }
}
