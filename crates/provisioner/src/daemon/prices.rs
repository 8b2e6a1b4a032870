//! Keeping spot prices fresh beside the rounds, which never wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Clock;
use crate::aws::{self, Client};
use crate::domain::clock;
use crate::domain::launch::Pool;
use crate::domain::money::UsdPerHour;
use crate::domain::prices::{MAX_AGE, SpotPrices};
use crate::engine::{Machines, Usage};
use crate::status::{ProblemScope, ProblemSeen};

/// Fetched again this long before prices count as unknown: rounds are apart, and an answer may fail.
const MARGIN: Duration = Duration::from_mins(1);
/// Not asked more often than this, whatever appears or fails: a scale-up brings a new pool with every
/// refusal.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a round's end waits for the answer, which mostly takes a fraction of a second. Later ones
/// are there at the next round's end.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time-out for `status`, where somebody is waiting for the prices.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

type Answer = (BTreeSet<Pool>, Timestamp, Result<BTreeMap<Pool, UsdPerHour>, aws::Error>);

/// The prices of the pools in use.
#[derive(Debug, Default)]
pub(super) struct PriceWatch {
    clock: Clock,
    prices: SpotPrices,
    /// The call under way, if any; it ends with this.
    calls: JoinSet<Answer>,
    asked: Option<Timestamp>,
    /// Why the last call brought none.
    failure: Option<aws::Error>,
    /// An answer came since it was last asked for news.
    news: bool,
}

impl PriceWatch {
    pub(super) fn beside(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    pub(super) fn prices(&self) -> &SpotPrices {
        &self.prices
    }

    /// Why prices are unknown, if the last answer was a no.
    pub(super) fn problem(&self) -> Option<ProblemSeen> {
        let error = self.failure.as_ref()?;
        Some(ProblemSeen::refusal(ProblemScope::Prices, error.operation, &error.refusal))
    }

    /// Whether an answer has come since this was last called.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Asks for the prices of `machines` if they are due, and records the answer if it comes before
    /// the next round is due or requested.
    pub(super) async fn refresh(
        &mut self,
        client: &Client,
        machines: &[Machines],
        spare: Duration,
        stop: &CancellationToken,
        wake: &Notify,
    ) {
        self.call_if_due(client, machines);
        let answer = tokio::select! {
            biased;
            answer = self.calls.join_next() => answer,
            () = stop.cancelled() => None,
            () = wake.notified() => {
                // It is the next round that it is for.
                wake.notify_one();
                None
            }
            () = tokio::time::sleep(spare.min(PATIENCE)) => None,
        };
        let (answered, known) = (answer.is_some(), self.failure.is_some());
        self.record_answer(answer);
        if answered {
            self.log_failure(known);
        }
    }

    /// Asks for the prices of `machines` if they are due, and waits for the answer: somebody wants to
    /// know.
    pub(super) async fn ask_if_due(&mut self, client: &Client, machines: &[Machines]) {
        self.call_if_due(client, machines);
        // A later answer is recorded after the next round.
        if let Ok(answer) = timeout(LONG_PATIENCE, self.calls.join_next()).await {
            self.record_answer(answer);
        }
    }

    fn call_if_due(&mut self, client: &Client, machines: &[Machines]) {
        let now = self.clock.now();
        let pools = pools_in_use(machines);
        if self.calls.is_empty() && self.is_due(&pools, now) {
            self.asked = Some(now);
            let client = client.clone();
            self.calls.spawn(async move {
                let answer = client.spot_prices(&pools, now).await;
                (pools, now, answer)
            });
        }
    }

    fn is_due(&self, pools: &BTreeSet<Pool>, now: Timestamp) -> bool {
        let old = |pool: &Pool| match self.prices.asked(pool) {
            Some(at) => clock::age(at, now) >= MAX_AGE.saturating_sub(MARGIN),
            None => true,
        };
        let rested = self.asked.is_none_or(|at| clock::age(at, now) >= PAUSE);
        rested && pools.iter().any(old)
    }

    fn record_answer(&mut self, answer: Option<Result<Answer, JoinError>>) {
        match answer {
            Some(Ok((pools, at, Ok(found)))) => {
                self.prices.learn(&pools, &found, at);
                self.failure = None;
                self.news = true;
            }
            Some(Ok((_, _, Err(error)))) => {
                self.failure = Some(error);
                self.news = true;
            }
            Some(Err(error)) => tracing::error!(%error, "asking for spot prices broke: {error}"),
            None => {}
        }
    }

    /// The same failure again is no news.
    fn log_failure(&self, known: bool) {
        let Some(error) = &self.failure else { return };
        if known {
            tracing::debug!(%error, "spot prices are still unknown");
            return;
        }
        tracing::warn!(
            error.kind = %error.class(), error.code = error.code(), aws.operation = error.operation,
            aws.request_id = error.refusal.request_id,
            "spot prices are unknown, so costs are: {error}{}",
            error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default()
        );
    }
}

/// The pools of machines that cost something, which are those whose prices are worth fetching.
fn pools_in_use(machines: &[Machines]) -> BTreeSet<Pool> {
    let costing = machines.iter().filter(|machines| machines.usage != Usage::Stopping);
    // Prices are per zone, so a pool whose zone EC2 does not name has none.
    costing
        .filter_map(|machines| machines.pool.clone())
        .filter(|pool| pool.zone.is_some())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{InstanceType, Zone};

    fn pool(zone: &str) -> Pool {
        Pool { instance_type: InstanceType::from("c7g.large"), zone: Some(Zone::from(zone)) }
    }

    #[test]
    fn prices_are_due_when_old_or_new_and_not_too_often() {
        let start: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let at = |seconds| clock::after(start, Duration::from_secs(seconds));
        let (one, two) = (BTreeSet::from([pool("a")]), BTreeSet::from([pool("a"), pool("b")]));
        let mut watch = PriceWatch::default();
        assert!(!watch.is_due(&BTreeSet::new(), start), "nothing is in use");
        assert!(watch.is_due(&one, start));
        watch.asked = Some(start);
        assert!(!watch.is_due(&one, at(29)), "it was asked, without an answer");
        assert!(watch.is_due(&one, at(30)));
        // EC2 named no price: that is an answer too.
        watch.prices.learn(&one, &BTreeMap::new(), start);
        assert!(!watch.is_due(&one, at(239)));
        assert!(watch.is_due(&one, at(240)));
        assert!(!watch.is_due(&two, at(29)), "a new pool waits a little");
        assert!(watch.is_due(&two, at(30)));
    }

    #[test]
    fn only_pools_that_cost_are_asked_for() {
        let machines =
            |usage, pool| Machines { worker_type: Some("linux".into()), usage, pool, count: 1 };
        let pools = pools_in_use(&[
            machines(Usage::Booting, Some(pool("a"))),
            machines(Usage::Stopping, Some(pool("b"))),
            machines(Usage::Idle, None),
            machines(Usage::Idle, Some(Pool { zone: None, ..pool("a") })),
        ]);
        assert_eq!(pools, BTreeSet::from([pool("a")]));
    }
}
