//! Bugs to plant between the engine and the world: what a suite that proves anything must catch.

use std::collections::BTreeMap;

use provisioner::domain::demand::{Demand, Running};
use provisioner::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use provisioner::domain::ledger::Ledger;
use provisioner::domain::observed::{InstanceState, Observation};
use provisioner::domain::refusal::{Refusal, RefusalClass};
use provisioner::engine::{Effect, Outcome};

use crate::world::World;

/// One bug, as others had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Only the first page of instances is read.
    DropPage,
    /// Instances that are still booting are not seen, so that they are no credit (the rules of 2014).
    NoCredit,
    /// Booting instances are credited against pending tasks once more.
    CreditTwice,
    /// A launch that is asked again gets a new client token.
    NewToken,
    /// A restart begins with an empty ledger.
    ForgetLedger,
    /// The ledger is said to be written and is not.
    SkipSync,
    /// An answer that did not arrive is taken for a refusal.
    LostIsRefused,
    /// Two deliveries of one launch are two launches.
    AskTwice,
    /// The queue's RUNNING tasks lose every other `workerId`, and nobody notices.
    LoseWorkerIds,
    /// A bulk call takes along whatever else runs in the account.
    TakeAll,
    /// A cancelled request is taken for gone, though it may have made an instance.
    CancelledIsGone,
    /// Tags are said to be set and are not.
    SkipTags,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::DropPage,
        Self::NoCredit,
        Self::CreditTwice,
        Self::NewToken,
        Self::ForgetLedger,
        Self::SkipSync,
        Self::LostIsRefused,
        Self::AskTwice,
        Self::LoseWorkerIds,
        Self::TakeAll,
        Self::CancelledIsGone,
        Self::SkipTags,
    ];

    /// What the engine is told of a look.
    pub(crate) fn observation(self, mut observation: Observation) -> Observation {
        match self {
            Self::DropPage => observation.instances.truncate(2),
            Self::NoCredit => {
                let pending = |state: &InstanceState| *state == InstanceState::Pending;
                observation.instances.retain(|instance| !pending(&instance.state));
                observation.spot_requests.retain(|request| request.instance.is_none());
            }
            Self::CancelledIsGone => {
                use provisioner::domain::observed::SpotRequestState::Cancelled;
                let gone: Vec<_> = observation
                    .spot_requests
                    .extract_if(.., |request| request.state == Cancelled)
                    .filter_map(|request| request.instance)
                    .collect();
                observation.instances.retain(|instance| !gone.contains(&instance.id));
            }
            _ => {}
        }
        observation
    }

    /// What the engine is told of the demand.
    pub(crate) fn demand(self, mut demand: Demand, world: &World) -> Demand {
        match (self, &mut demand.running) {
            (Self::LoseWorkerIds, Running::ByInstance { instances, .. }) => {
                let mut other = false;
                instances.retain(|_, _| std::mem::replace(&mut other, true));
            }
            (Self::CreditTwice, _) => {
                let mut booting: BTreeMap<&WorkerTypeName, u64> = BTreeMap::new();
                for (_, machine) in world.live().filter(|(_, machine)| !machine.up) {
                    if let Some(name) = &machine.worker_type {
                        *booting.entry(name).or_default() += 1;
                    }
                }
                // Every machine that ever ran is credited: the books are never corrected.
                for (name, pending) in &mut demand.pending {
                    let credit = booting.get(name).copied().unwrap_or(0) + 1;
                    pending.count = pending.count.saturating_sub(credit);
                }
            }
            _ => {}
        }
        demand
    }

    /// What is found of the ledger at a restart.
    pub(crate) fn ledger(self, ledger: Option<Ledger>) -> Option<Ledger> {
        match self {
            Self::ForgetLedger => Some(Ledger::default()),
            _ => ledger,
        }
    }

    /// Carries an effect out wrongly. `None`: it is done as it should be.
    pub(crate) fn execute(self, effect: &Effect, world: &mut World, calls: u64) -> Option<Outcome> {
        match (self, effect) {
            (Self::SkipSync, Effect::PersistLedger(_)) | (Self::SkipTags, Effect::Tag { .. }) => {
                Some(Outcome::Done)
            }
            (Self::NewToken, Effect::Request(call)) => {
                let mut call = call.clone();
                call.token = ClientToken::new(format!("{}-{calls}", call.token));
                Some(world.execute(&Effect::Request(call)))
            }
            (Self::LostIsRefused, Effect::Request(_)) => Some(match world.execute(effect) {
                Outcome::Refused(refusal) if !refusal.class.is_definite() => {
                    Outcome::Refused(Refusal { class: RefusalClass::NoCapacity, ..refusal })
                }
                outcome => outcome,
            }),
            (Self::AskTwice, Effect::Request(call)) => {
                let mut again = call.clone();
                again.token = ClientToken::new(format!("{}-again", call.token));
                let outcome = world.execute(effect);
                let _ = world.execute(&Effect::Request(again));
                Some(outcome)
            }
            (Self::TakeAll, Effect::Terminate(_)) => {
                let all: Vec<InstanceId> =
                    world.machines.iter().map(|(id, _)| id.clone()).collect();
                Some(world.execute(&Effect::Terminate(all)))
            }
            _ => None,
        }
    }
}
