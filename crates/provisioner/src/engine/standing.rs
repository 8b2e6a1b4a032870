//! Where each machine of the last look stands, so that what changed of it can be taken in without the rest.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::money::{Usd, UsdPerHour};
use crate::engine::group::{Group, Seat};
use crate::engine::index::{Index, Machine};

/// The machines of the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    machines: HashMap<InstanceId, Stand>,
    /// How many live ones cost how much per hour.
    by_price: BTreeMap<UsdPerHour, u64>,
}

#[derive(Clone, Debug)]
struct Stand {
    group: GroupName,
    launched: Timestamp,
    hourly: Option<UsdPerHour>,
}

/// A group that stays from look to look. Strays and what is not resolved are shown and sorted anew in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GroupName {
    Type(WorkerTypeName),
    Retired(WorkerTypeName),
}

impl Standing {
    /// What all that stand cost over `time`, each rounded by itself.
    pub(super) fn cost(&self, time: Duration) -> Usd {
        self.by_price.iter().fold(Usd::ZERO, |sum, (price, n)| sum.plus(price.over(time).times(*n)))
    }

    fn enter(&mut self, group: GroupName, machine: &Machine) {
        // What is told to go and not gone is shown in every look.
        let hourly = machine.price.filter(|_| !machine.is_leaving());
        if let Some(price) = hourly {
            *self.by_price.entry(price).or_default() += 1;
        }
        let stand = Stand { group, launched: machine.launched, hourly };
        self.machines.insert(machine.id.clone(), stand);
    }

    fn unprice(&mut self, id: &InstanceId) {
        if let Some(stand) = self.machines.get_mut(id)
            && let Some(price) = stand.hourly.take()
            && let Some(n) = self.by_price.get_mut(&price)
        {
            *n = n.saturating_sub(1);
        }
    }
}

impl Index {
    /// Begins to keep where machines stand, unless it does already.
    pub(super) fn keep_standing(&mut self) {
        if self.standing.is_some() {
            return;
        }
        let mut standing = Standing::default();
        let types = self.types.iter().map(|(name, it)| (GroupName::Type(name.clone()), it));
        let retired = self.retired.iter().map(|(name, it)| (GroupName::Retired(name.clone()), it));
        for (name, group) in types.chain(retired) {
            for machine in &group.machines {
                standing.enter(name.clone(), machine);
            }
        }
        self.standing = Some(standing);
    }

    /// The group of that name.
    fn group_mut(&mut self, name: &GroupName) -> Option<&mut Group> {
        match name {
            GroupName::Type(name) => self.types.get_mut(name),
            GroupName::Retired(name) => self.retired.get_mut(name),
        }
    }

    /// What a machine costs is counted by itself this time.
    pub(super) fn unprice(&mut self, id: &InstanceId) {
        if let Some(standing) = &mut self.standing {
            standing.unprice(id);
        }
    }

    /// Takes a machine out of where it stands, if it does.
    pub(super) fn leave(&mut self, id: &InstanceId) {
        self.unprice(id);
        let stand = self.standing.as_mut().and_then(|standing| standing.machines.remove(id));
        if let Some(Stand { group, launched, .. }) = stand
            && let Some(group) = self.group_mut(&group)
        {
            group.remove(&(launched, id.clone()));
        }
    }

    /// Puts a machine where it belongs; it may stand there already, or elsewhere.
    pub(super) fn stand(&mut self, name: GroupName, machine: Machine) {
        let before = self.standing.as_ref().and_then(|standing| standing.machines.get(&machine.id));
        if before.is_some_and(|it| it.group != name || it.launched != machine.launched) {
            self.leave(&machine.id);
        }
        self.unprice(&machine.id);
        if let Some(standing) = &mut self.standing {
            standing.enter(name.clone(), &machine);
        }
        let group = match name {
            GroupName::Type(name) => self.types.entry(name).or_default(),
            GroupName::Retired(name) => self.retired.entry(name).or_default(),
        };
        group.put(machine);
    }

    /// The tasks of a machine changed.
    pub(super) fn touch(&mut self, id: &InstanceId) {
        let stand = self.standing.as_ref().and_then(|standing| standing.machines.get(id));
        let Some(Stand { group: name, launched, .. }) = stand else { return };
        let (name, seat): (_, Seat) = (name.clone(), (*launched, id.clone()));
        if let Some(group) = self.group_mut(&name) {
            group.touch(seat);
        }
    }
}
