//! Reads EC2, the queue and the state directory for `status`, beside a daemon or without one. Changes
//! nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::open::{MissingLedger, peek};
use super::prices::PriceWatch;
use crate::aws::{self, Client};
use crate::domain::demand::Demand;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::KeyName;
use crate::domain::ledger::Ledger;
use crate::engine::{Engine, Inputs, LedgerFound, Memory, NoteKind, Resolved, Start, StopConsent};
use crate::queue::source::DemandSource;
use crate::settings::Settings;
use crate::state_dir::{StateDir, StateDirError};
use crate::status::{ProblemScope, ProblemSeen, ReloadRecord, Status, StatusPicture, StatusSource};

/// Reads EC2, the queue and a state directory, as often as it is asked to.
#[derive(Debug)]
pub struct StatusProbe<S> {
    settings: Arc<Settings>,
    source: S,
    prices: PriceWatch,
}

/// What the probe can reach: EC2 or the state directory may be out of reach.
#[derive(Clone, Debug)]
pub struct ProbeReach<'a> {
    /// EC2, or why it cannot be asked.
    pub ec2: Result<(&'a Client, &'a KeyName), ProblemSeen>,
    /// Where a daemon keeps its state, if that is known.
    pub state_dir: Option<&'a StateDir>,
}

impl<S: DemandSource> StatusProbe<S> {
    /// Makes a probe. Nothing is read yet.
    pub fn new(settings: Arc<Settings>, source: S) -> Self {
        Self { settings, source, prices: PriceWatch::default() }
    }

    /// Reads once. Whatever could not be read is unknown in the answer, and the reason is among its errors.
    pub async fn read(&mut self, reach: ProbeReach<'_>) -> Status {
        let mut picture = StatusPicture::new(self.settings.worker_types.keys());
        let mut wrong = Vec::new();
        let start = reach.state_dir.map_or_else(
            || Ok(nothing_known()),
            |state_dir| {
                picture.record(&state_dir.read_record()?.unwrap_or_default());
                let holder = state_dir.holder()?;
                picture.daemon_running(holder.is_some());
                let reload = state_dir.read_reload()?;
                let of_holder = |record: &ReloadRecord| {
                    holder.is_some_and(|holder| holder.pid == Some(record.pid))
                };
                if let Some(last) = reload.filter(of_holder).and_then(|record| record.last) {
                    picture.reloaded(last);
                }
                peek(state_dir, MissingLedger::IsLost)
            },
        );
        let start = start.unwrap_or_else(|error| {
            wrong.push(unreadable(&error));
            nothing_known()
        });
        let owned = start.memory.machines.keys().cloned().collect();
        let demand = self.source.demand(&owned).await.map_err(|error| error_chain(&error));
        match &demand {
            Ok(demand) => picture.demand(demand),
            Err(why) => wrong.push(ProblemSeen::demand_unknown(why)),
        }
        let looked = match reach.ec2 {
            Ok((client, key_name)) => {
                let engine = Engine::new(
                    Arc::clone(&self.settings),
                    key_name.clone(),
                    start,
                    Timestamp::now(),
                );
                let looked = self.observe_ec2((client, key_name), engine, demand, &mut picture);
                looked.await.map_err(|error| ProblemSeen::failed_look(&error))
            }
            Err(why) => Err(why),
        };
        match looked {
            Ok(price_problem) => wrong.extend(price_problem),
            Err(why) => wrong.push(why),
        }
        let now = Timestamp::now();
        picture.observed_directly(wrong, now);
        picture.status(StatusSource::Direct, now)
    }

    /// Returns why prices are unknown, if so.
    async fn observe_ec2(
        &mut self,
        (client, key_name): (&Client, &KeyName),
        mut engine: Engine,
        demand: Result<Demand, String>,
        picture: &mut StatusPicture,
    ) -> Result<Option<ProblemSeen>, aws::Error> {
        let look = client.observe(key_name, &engine.tracked(), false, Timestamp::now()).await?;
        let now = Timestamp::now();
        let resolved = Resolved::default();
        let inputs =
            Inputs { resolved: &resolved, observation: &look.observation, observed: now, demand };
        let round = engine.begin_round(inputs, &mut StopConsent::default(), now);
        let plan = round.plan().clone();
        let machines = engine.capacity();
        picture.plan(&plan, &machines, now);
        self.prices.ask_if_due(client, &machines).await;
        picture.prices(self.prices.prices());
        Ok(self.prices.problem())
    }
}

fn nothing_known() -> Start {
    Start { ledger: LedgerFound::Known(Ledger::default()), memory: Memory::default(), nonce: 0 }
}

fn unreadable(error: &StateDirError) -> ProblemSeen {
    let text = format!("the state directory could not be read: {}", error_chain(error));
    ProblemSeen::own(ProblemScope::Round, "state-unreadable", &text).with_fix(error.hint())
}

impl ProblemSeen {
    fn demand_unknown(why: &str) -> Self {
        let kind = NoteKind::DemandUnknown;
        let text = format!("the queue could not be read: {why}");
        Self::own(ProblemScope::Round, kind.as_str(), &text).with_fix(kind.fix().map(str::to_owned))
    }
}
