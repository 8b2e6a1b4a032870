//! Bugs to plant between the engine and the world. A test suite that lets one through proves nothing.

use std::collections::BTreeMap;

use provisioner::internal::domain::demand::{Demand, Running};
use provisioner::internal::domain::ids::{ClientToken, InstanceId, WorkerTypeName};
use provisioner::internal::domain::ledger::Ledger;
use provisioner::internal::domain::observed::{InstanceState, Observation};
use provisioner::internal::domain::refusal::{Refusal, RefusalClass};
use provisioner::internal::engine::{Effect, Outcome};

use provisioner_sim::world::World;

/// A bug that other provisioners had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Only the first page of instances is read.
    DropPage,
    /// Booting instances are not observed, and so not credited against pending tasks (the rules of 2014).
    NoCredit,
    /// Booting instances are credited against pending tasks twice.
    CreditTwice,
    /// A repeated launch gets a new client token.
    NewToken,
    /// A restart begins with an empty ledger.
    ForgetLedger,
    /// The ledger is reported as written, but is not written.
    SkipSync,
    /// A lost answer is treated as a refusal.
    LostIsRefused,
    /// A launch is delivered twice with different tokens.
    AskTwice,
    /// Every other `workerId` of the queue's RUNNING tasks is lost without an error.
    LoseWorkerIds,
    /// A bulk call ends every instance in the account.
    TakeAll,
    /// A cancelled request is treated as gone, although it may have created an instance.
    CancelledIsGone,
    /// Tags are reported as set, but are not set.
    SkipTags,
}

impl PlantedBug {
    /// All bugs.
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

    pub(crate) fn observed(self, observation: &mut Observation) {
        match self {
            Self::DropPage => observation.instances.truncate(2),
            Self::NoCredit => {
                let pending = |state: &InstanceState| *state == InstanceState::Pending;
                observation.instances.retain(|instance| !pending(&instance.state));
                observation.spot_requests.retain(|request| request.instance.is_none());
            }
            Self::CancelledIsGone => {
                use provisioner::internal::domain::observed::SpotRequestState::Cancelled;
                let gone: Vec<_> = observation
                    .spot_requests
                    .extract_if(.., |request| request.state == Cancelled)
                    .filter_map(|request| request.instance)
                    .collect();
                observation.instances.retain(|instance| !gone.contains(&instance.id));
            }
            _ => {}
        }
    }

    pub(crate) fn demanded(self, demand: &mut Demand, world: &World) {
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
                // One more is credited, since the bug never corrects its counts.
                for (name, pending) in &mut demand.pending {
                    let credit = booting.get(name).copied().unwrap_or(0) + 1;
                    pending.count = pending.count.saturating_sub(credit);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn restart(self, ledger: &mut Option<Ledger>) {
        if self == Self::ForgetLedger {
            *ledger = Some(Ledger::default());
        }
    }

    /// Carries out an effect in the wrong way. Returns `None` for effects that the bug does not concern.
    pub(crate) fn instead(self, effect: &Effect, world: &mut World, step: u64) -> Option<Outcome> {
        match (self, effect) {
            (Self::SkipSync, Effect::PersistLedger(_)) | (Self::SkipTags, Effect::Tag { .. }) => {
                Some(Outcome::Done)
            }
            (Self::NewToken, Effect::Request(call)) => {
                let mut call = call.clone();
                call.token = ClientToken::new(format!("{}-{step}", call.token));
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
