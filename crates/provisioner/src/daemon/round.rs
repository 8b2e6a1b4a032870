//! One round: read, decide, carry out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::open::{Daemon, State};
use super::round_summary::QueueRead;
use super::stop_listener::StopListener;
use crate::aws::{self, Call, Client};
use crate::domain::demand::Demand;
use crate::domain::error_chain::error_chain;
use crate::domain::observed::Observation;
use crate::engine::snapshot::{self, Snapshot};
use crate::engine::{Effect, Inputs, Outcome, Plan, Report, StopConsent};
use crate::queue::source::DemandSource;
use crate::state_dir::LockedStateDir;

/// How a round ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RoundEnd {
    /// Decided, and carried out as far as the report tells.
    Done(Report),
    /// A dry run: this is what would have been done.
    Planned(Plan),
    /// Nothing could be decided.
    Failed {
        /// Why, as AWS says it.
        error: aws::Error,
        /// When to try again.
        wake: Timestamp,
    },
    /// Stopped before it was decided.
    Stopped,
}

/// What one round read.
struct Read {
    observation: Observation,
    /// When the observation began.
    observed: Timestamp,
    demand: Result<Demand, String>,
}

impl<S: DemandSource> Daemon<S> {
    /// Runs one round. Reading is given up when `stop` is cancelled; of what changes something, the
    /// call in flight is finished, and no new one starts. What was learned in it is on disk when it ends.
    pub async fn round(&mut self, stop: &CancellationToken) -> RoundEnd {
        let began = Instant::now();
        self.reporter.begin();
        let end = self.observe_and_act(stop, began).await;
        self.record_round(&end, began.elapsed());
        end
    }

    async fn observe_and_act(&mut self, stop: &CancellationToken, began: Instant) -> RoundEnd {
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => return RoundEnd::Stopped,
            read = self.read() => read,
        };
        let mut unheard = StopConsent::default();
        let mut shared = self.stop_listener.as_ref().map(StopListener::lock);
        let consent = shared.as_deref_mut().unwrap_or(&mut unheard);
        let Read { observation, observed, demand } = match read {
            Ok(read) => read,
            Err(error) => {
                let wake = self.engine.round_failed(consent, self.clock.now());
                self.reporter.failed(&error, wake);
                return RoundEnd::Failed { error, wake };
            }
        };
        let resolved = self.resolver.resolved();
        let inputs = Inputs { resolved, observation: &observation, observed, demand };
        let mut round = self.engine.begin_round(inputs, consent, self.clock.now());
        // Workers ask on while the plan is carried out; and the observation is large.
        drop(shared);
        drop(observation);
        let State::Locked(state_dir) = &self.state else {
            let plan = round.plan().clone();
            self.reporter.planned(&plan);
            return RoundEnd::Planned(plan);
        };
        while let Some(effect) = round.next_effect(self.clock.now()) {
            let outcome = carry_out(&effect, &self.client, state_dir).await;
            for executed in round.outcome(outcome, self.clock.now()) {
                self.reporter.executed(&executed);
            }
            if stop.is_cancelled() {
                round.stop();
            }
        }
        let report = round.end(self.clock.now());
        self.reporter.round(&report, began.elapsed());
        self.memory_writer.keep(state_dir, self.engine.memory());
        RoundEnd::Done(report)
    }

    /// Reads the queue, then EC2.
    async fn read(&mut self) -> Result<Read, aws::Error> {
        // Names first: what is decided on must not be old by the time they are known.
        self.resolver.run(&self.settings, &self.client).await;
        let mut demand = self.source.demand(&self.engine.owned_instances()).await;
        self.read = QueueRead::of(&mut demand);
        if let Ok(demand) = &mut demand {
            let finished = std::mem::take(&mut demand.finished);
            self.record_load(&finished);
        }
        let demand = demand.map_err(|error| error_chain(&error));
        let tracked = self.engine.tracked();
        let key_pair = self.engine.wants_key_pair();
        // What is missing from a slow answer may have become visible meanwhile.
        let observed = self.clock.now();
        let look = self.client.observe(&self.key_name, &tracked, key_pair, observed).await?;
        for warning in &look.warnings {
            self.reporter.warning(warning);
        }
        Ok(Read { observation: look.observation, observed, demand })
    }

    /// Observes once and returns what a plan depends on.
    pub async fn snapshot(&mut self) -> Result<Snapshot, aws::Error> {
        let now = self.clock.now();
        let ledger = self.engine.ledger().clone();
        let memory = self.engine.memory().clone();
        self.resolver.run(&self.settings, &self.client).await;
        let demand = self.source.demand(&self.engine.owned_instances()).await;
        let demand = demand.map_err(|error| error_chain(&error));
        let look = self.client.observe(&self.key_name, &self.engine.tracked(), true, now).await?;
        for warning in &look.warnings {
            self.reporter.warning(warning);
        }
        let mut resolved = BTreeMap::new();
        let mut unresolved = BTreeMap::new();
        for (name, found) in self.resolver.resolved() {
            match found {
                Ok(found) => {
                    resolved.insert(name.clone(), found.clone());
                }
                Err(why) => {
                    unresolved.insert(name.clone(), why.clone());
                }
            }
        }
        let (demand, demand_error) = match demand {
            Ok(demand) => (Some(demand), None),
            Err(why) => (None, Some(why)),
        };
        Ok(Snapshot {
            version: snapshot::VERSION,
            time: now,
            key_name: self.key_name.clone(),
            observation: look.observation,
            demand,
            demand_error,
            ledger,
            memory,
            resolved,
            unresolved,
        })
    }
}

/// Carries out one effect.
async fn carry_out(effect: &Effect, client: &Client, state_dir: &LockedStateDir) -> Outcome {
    match effect {
        Effect::PersistLedger(ledger) => match state_dir.write_ledger(ledger) {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::NotPersisted(error_chain(&error)),
        },
        Effect::Request(call) => client.execute(Call::Request(call)).await,
        Effect::Cancel(ids) => client.execute(Call::Cancel(ids)).await,
        Effect::Terminate(ids) => client.execute(Call::Terminate(ids)).await,
        Effect::Tag { instances, volumes, tags } => {
            client.execute(Call::Tag { instances, volumes, tags }).await
        }
    }
}
