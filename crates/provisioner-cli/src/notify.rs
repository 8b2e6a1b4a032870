//! Notifications to a service manager about the daemon (systemd's `Type=notify`).
//!
//! Nothing is sent if `NOTIFY_SOCKET` is not set. Only sockets with a path are supported, which are all that
//! systemd and container runtimes use today. A failure to send is logged once and does not stop the loop.

use std::convert::Infallible;
use std::time::Duration;

use provisioner::internal::daemon::{RoundEnd, RoundSummary};
use provisioner::internal::domain::plural;
use provisioner::internal::engine::{Plan, Usage};
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// How much more time the service manager is asked for while AWS does not answer at the start: twice the
/// longest time between two attempts.
const STARTING: Duration = Duration::from_mins(4);

/// Sends the state of the daemon to the service manager.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    ready: bool,
    status: String,
    failed: bool,
}

impl Notifier {
    /// Asks for more time to start.
    pub(crate) fn still_starting(&mut self, why: &str) {
        let longer = u32::try_from(STARTING.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(longer), NotifyState::Status(why)]);
    }

    /// Reports a round. The first round makes the service ready, whether or not EC2 and the queue answered,
    /// because the daemon keeps trying in any case.
    pub(crate) fn round(&mut self, turn: &RoundSummary<'_>) {
        let status = status(turn);
        let changed = status != self.status;
        match (self.ready, changed) {
            (false, _) => self.send(&[NotifyState::Ready, NotifyState::Status(&status)]),
            (true, true) => self.send(&[NotifyState::Status(&status)]),
            (true, false) => {}
        }
        self.ready = true;
        self.status = status;
    }

    fn send(&mut self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states)
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the service manager could not be notified: {error}");
        }
    }
}

/// Reports that the configuration is being reloaded.
pub(crate) fn reloading() {
    let sent = NotifyState::monotonic_usec_now()
        .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]));
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager was not notified of the reload: {error}");
    }
}

/// Reports the end of a reload, whether the new configuration is in force or the old one.
pub(crate) fn reloaded() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::debug!(%error, "the service manager was not notified of the end of the reload: {error}");
    }
}

/// Reports when the daemon begins to end, and feeds the service manager's watchdog, if there is one, while
/// the loop runs. Continues until the future is dropped.
pub(crate) async fn attend(
    health: watch::Receiver<Health>,
    stop: &CancellationToken,
) -> Infallible {
    let stopping = async {
        stop.cancelled().await;
        if let Err(error) = sd_notify::notify(&[NotifyState::Stopping]) {
            tracing::debug!(%error, "the service manager was not notified of the end: {error}");
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
    // sd_watchdog_enabled(3) recommends half of the time.
    let mut ticks = tokio::time::interval(patience / 2);
    loop {
        ticks.tick().await;
        let health = health.borrow().clone();
        if health.is_stalled() {
            tracing::debug!("the watchdog is not fed, because the loop does not run");
        } else if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::debug!(%error, "the watchdog could not be fed: {error}");
        }
    }
}

/// Returns one line for `systemctl status`.
fn status(turn: &RoundSummary<'_>) -> String {
    let plan = match turn.end {
        RoundEnd::Done(report) => &report.plan,
        RoundEnd::Planned(plan) => plan,
        RoundEnd::Failed { error, .. } => {
            return format!(
                "{} failed in a row: {error}",
                plural::count(turn.failed_rounds, "round")
            );
        }
        RoundEnd::Stopped => return "stopped".to_owned(),
    };
    let sum = |usage| {
        let machines = turn.machines.iter().filter(|machines| machines.usage == usage);
        machines.map(|machines| machines.count).sum::<u64>()
    };
    format!(
        "{}, {}, {} open, {} booting, {} busy, {} idle",
        plural::count(plan.worker_types.len(), "type"),
        waiting(plan),
        plural::count(
            plan.worker_types.iter().map(|status| status.open_requests).sum::<u64>(),
            "request"
        ),
        sum(Usage::Booting),
        sum(Usage::Busy),
        sum(Usage::Idle),
    )
}

fn waiting(plan: &Plan) -> String {
    if plan.demand_known() {
        format!("{} pending", plan.worker_types.iter().map(|status| status.pending).sum::<u64>())
    } else {
        "pending tasks unknown".to_owned()
    }
}
