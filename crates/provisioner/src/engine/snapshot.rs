//! A saved observation, from which a plan can be made again anywhere, without AWS.
//!
//! Holds no credentials, no user data and no addresses: it is meant to be attached to a bug report.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::demand::Demand;
use crate::domain::ids::{KeyName, WorkerTypeName};
use crate::domain::launch::ResolvedWorkerType;
use crate::domain::ledger::Ledger;
use crate::domain::observed::Observation;
use crate::engine::{Engine, Inputs, LedgerFound, Memory, Plan, Start, StopConsent};
use crate::settings::Settings;

/// Everything a plan depends on besides the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Snapshot {
    /// The format: 1.
    pub version: u32,
    /// When the observation was taken.
    pub time: Timestamp,
    /// The key-name that it is about.
    pub key_name: KeyName,
    /// What EC2 showed.
    pub observation: Observation,
    /// The queue's demand; `None` with [`demand_error`](Self::demand_error) if it was not known.
    pub demand: Option<Demand>,
    /// Why the demand was not known.
    pub demand_error: Option<String>,
    /// The in-flight ledger, without user data. If it was lost, it says until when nothing is launched.
    pub ledger: Ledger,
    /// The engine's soft state.
    pub memory: Memory,
    /// What the worker types' names resolved to.
    pub resolved: BTreeMap<WorkerTypeName, ResolvedWorkerType>,
    /// Why others did not resolve.
    pub unresolved: BTreeMap<WorkerTypeName, String>,
}

/// The version written and read.
pub const VERSION: u32 = 1;

impl Snapshot {
    /// Leaves out what does not belong into a bug report.
    #[must_use]
    pub fn redacted(mut self) -> Self {
        for intent in self.ledger.intents.values_mut() {
            intent.call.user_data = None;
        }
        for instance in &mut self.observation.instances {
            instance.addresses.clear();
        }
        for resolved in self.resolved.values_mut() {
            resolved.user_data = None;
        }
        self
    }

    /// Makes the plan that a round at the snapshot's time would have made under `settings`.
    pub fn plan(&self, settings: std::sync::Arc<Settings>) -> Plan {
        let start = Start {
            ledger: LedgerFound::Known(self.ledger.clone()),
            memory: self.memory.clone(),
            nonce: 0,
        };
        let mut engine = Engine::new(settings, self.key_name.clone(), start, self.time);
        let known = self.resolved.iter().map(|(name, resolved)| (name, Ok(resolved.clone())));
        let unknown = self.unresolved.iter().map(|(name, why)| (name, Err(why.clone())));
        let resolved = known.chain(unknown).map(|(name, found)| (name.clone(), found)).collect();
        let not_known = || self.demand_error.clone().unwrap_or_else(|| "not recorded".to_owned());
        let inputs = Inputs {
            resolved: &resolved,
            observation: &self.observation,
            observed: self.time,
            demand: self.demand.clone().ok_or_else(not_known),
        };
        let round = engine.begin_round(inputs, &mut StopConsent::default(), self.time);
        round.plan().clone()
    }
}
