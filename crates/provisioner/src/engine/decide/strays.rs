//! What no configured worker type owns: retired types and strays.

use super::Draft;

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::observed::KeyPair;
use crate::domain::plural;
use crate::engine::decide::plan::{Note, NoteKind, ReasonKind};
use crate::engine::state::group::Group;
use crate::engine::state::machine::Machine;
use crate::settings::Strays;

impl Draft<'_> {
    pub(in crate::engine) fn retired(&mut self, name: &WorkerTypeName, group: &Group) {
        let decide = self.decide;
        self.cancel(Some(name), &group.open, ReasonKind::Retired, |n| {
            let n = plural::count(n, "open request");
            format!("{n} of worker type `{name}`, which is no longer configured")
        });
        self.stopped(Some(name), group);
        self.agreed(name, group);
        if self.demand_known() {
            let idle = group.machines.iter().filter(|machine| machine.positively_idle);
            self.end(Some(name), idle, ReasonKind::Retired, |n| {
                let n = plural::count(n, "idle instance");
                format!("{n} of worker type `{name}`, which is no longer configured")
            });
        }
        if let Some(lifetime) = decide.settings.retired_max_lifetime {
            let old = group
                .machines
                .iter()
                .filter(|machine| machine.may_be_ended())
                .filter(|machine| clock::after(machine.launched, lifetime) <= decide.now);
            self.end(Some(name), old, ReasonKind::MaxLifetime, |n| {
                format!(
                    "{} of worker type `{name}`, which is no longer configured, past max-lifetime ({})",
                    plural::count(n, "instance"),
                    clock::show(lifetime)
                )
            });
        }
    }

    pub(in crate::engine) fn strays(&mut self) {
        let decide = self.decide;
        let index = decide.index;
        let strays = &index.strays;
        let settings = &decide.settings.provisioner;
        if self.may_end_strays() {
            self.cancel(None, &strays.open, ReasonKind::Stray, |n| {
                format!(
                    "{} under our key-name with none of our tags",
                    plural::count(n, "open request")
                )
            });
            let known = strays.machines.iter().filter(|machine| machine.may_be_ended());
            self.end(None, known, ReasonKind::Stray, |n| {
                let n = plural::count(n, "instance");
                format!("{n} under our key-name with none of our tags and from no request of ours")
            });
        } else if !strays.machines.is_empty() || !strays.open.is_empty() {
            let why = if settings.strays == Strays::Keep {
                "strays = \"keep\""
            } else {
                "the key pair does not carry our tag, so others may use it (adopt-key-name = true if not)"
            };
            let text = format!(
                "{} and {} under our key-name are not ours ({}); kept: {why}",
                plural::count(strays.machines.len(), "instance"),
                plural::count(strays.open.len(), "open request"),
                some_ids(&strays.machines)
            );
            self.note(None, NoteKind::StrayKept, text);
        }
        if !index.unresolved.is_empty() {
            let text = format!(
                "{} left alone for the visibility window, for want of a visible spot request ({})",
                plural::are(index.unresolved.len(), "instance"),
                some_ids(&index.unresolved)
            );
            self.note(None, NoteKind::UnresolvedInstance, text);
        }
        if !index.disputed.is_empty() {
            let text = format!(
                "{} under our key-name with another key-name's tag; kept ({})",
                plural::count(index.disputed.len(), "instance"),
                some_ids(&index.disputed)
            );
            self.plan.notes.push(Note::new(None, NoteKind::StrayKept, text).about("disputed"));
        }
        for odd in &index.odd {
            let text =
                format!("EC2 says {odd}, which this version does not know; counted, not touched");
            self.plan.notes.push(Note::new(None, NoteKind::UnknownState, text).about(odd));
        }
    }

    /// Whether what carries none of our tags may be ended: the key pair is ours alone.
    pub(in crate::engine) fn may_end_strays(&self) -> bool {
        let settings = &self.decide.settings.provisioner;
        let ours = self.decide.index.key_pair == KeyPair::Ours || settings.adopt_key_name;
        ours && settings.strays == Strays::Terminate
    }
}

fn some_ids(machines: &[Machine]) -> String {
    const SHOWN: usize = 5;
    let mut ids: Vec<_> = machines.iter().take(SHOWN).map(|machine| machine.id.as_str()).collect();
    if machines.len() > SHOWN {
        ids.push("…");
    }
    ids.join(", ")
}
