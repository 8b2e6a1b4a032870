//! What no configured worker type owns: retired types and strays.

use super::Draft;
use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::observed::KeyPair;
use crate::engine::decide::detail::{MachineNote, ReasonDetail, Removed, SomeIds, StraysKept};
use crate::engine::state::group::Group;
use crate::settings::Strays;

impl<'a> Draft<'a> {
    pub(super) fn retired(&mut self, name: &'a WorkerTypeName, group: &'a Group) {
        self.cancel(Some(name), &group.open, |n| ReasonDetail::Retired {
            removed: Removed::OpenRequests(n),
            worker_type: name,
        });
        self.stopped(name, group);
        self.agreed(name, group);
        if self.demand_known() {
            let idle = group.machines.iter().filter(|machine| machine.positively_idle);
            self.end(Some(name), idle, |n| ReasonDetail::Retired {
                removed: Removed::Instances(n),
                worker_type: name,
            });
        }
        if let Some(max_lifetime) = self.decide.settings.retired_max_lifetime {
            let now = self.decide.now;
            let old = group
                .machines
                .iter()
                .filter(|machine| machine.may_be_ended())
                .filter(|machine| clock::after(machine.launched, max_lifetime) <= now);
            self.end(Some(name), old, |ended| ReasonDetail::RetiredMaxLifetime {
                ended,
                worker_type: name,
                max_lifetime,
            });
        }
    }

    pub(super) fn strays(&mut self) {
        let index = self.decide.index;
        let strays = &index.strays;
        if self.may_end_strays() {
            self.cancel(None, &strays.open, |n| ReasonDetail::Stray {
                removed: Removed::OpenRequests(n),
            });
            let known = strays.machines.iter().filter(|machine| machine.may_be_ended());
            self.end(None, known, |n| ReasonDetail::Stray { removed: Removed::Instances(n) });
        } else if !strays.machines.is_empty() || !strays.open.is_empty() {
            let why = match self.decide.settings.provisioner.strays {
                Strays::Keep => StraysKept::AsConfigured,
                Strays::Terminate => StraysKept::KeyPairMayBeShared,
            };
            self.note(&MachineNote::StraysKept {
                instances: strays.machines.len(),
                requests: strays.open.len(),
                ids: SomeIds(&strays.machines),
                why,
            });
        }
        let unresolved = &index.unresolved;
        if !unresolved.is_empty() {
            let instances = unresolved.len();
            self.note(&MachineNote::Unresolved { instances, ids: SomeIds(unresolved) });
        }
        let disputed = &index.disputed;
        if !disputed.is_empty() {
            let instances = disputed.len();
            self.note(&MachineNote::DisputedKept { instances, ids: SomeIds(disputed) });
        }
        for state in &index.odd {
            self.note(&MachineNote::UnknownState { state });
        }
    }

    /// Whether machines and requests without our tags may be removed: if the key pair is ours alone.
    pub(super) fn may_end_strays(&self) -> bool {
        let settings = &self.decide.settings.provisioner;
        let ours = self.decide.index.key_pair == KeyPair::Ours || settings.adopt_key_name;
        ours && settings.strays == Strays::Terminate
    }
}
