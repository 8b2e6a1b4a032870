//! The order in which an excess is removed: open requests first, then booting instances, then idle ones,
//! and last those that run tasks or may, of each kind the youngest first.

use std::collections::BTreeSet;

use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine, OpenRequest};

/// Requests and machines in the order in which they are removed, each with whether it goes already.
pub(in crate::engine) struct RemovalOrder<'a> {
    requests: Vec<(&'a OpenRequest, bool)>,
    machines: Vec<(&'a Machine, bool)>,
}

impl<'a> RemovalOrder<'a> {
    pub(in crate::engine) fn new(
        groups: impl IntoIterator<Item = &'a Group>,
        cancelled: &BTreeSet<SpotRequestId>,
        ended: &BTreeSet<InstanceId>,
    ) -> Self {
        let mut removal = Self { requests: Vec::new(), machines: Vec::new() };
        for group in groups {
            for request in group.open.iter().filter(|request| request.touchable) {
                let going = request.cancelled || cancelled.contains(&request.id);
                removal.requests.push((request, going));
            }
            for machine in &group.machines {
                if machine.may_be_ended() {
                    removal.machines.push((machine, ended.contains(&machine.id)));
                }
            }
        }
        removal.requests.sort_by_key(|(request, _)| std::cmp::Reverse(request.asked));
        removal.machines.sort_by(|(a, _), (b, _)| {
            (rank(a), std::cmp::Reverse(a.launched), &a.id).cmp(&(
                rank(b),
                std::cmp::Reverse(b.launched),
                &b.id,
            ))
        });
        removal
    }

    /// Takes requests until `over` is covered, then instances, but of these no more than
    /// `machines_over`: launches in flight are removed before any instance, once they can be seen and
    /// cancelled. Each weighs what `weigh` makes of its price, and what goes already counts first.
    pub(in crate::engine) fn take(
        self,
        over: u64,
        machines_over: u64,
        weigh: impl Fn(Option<UsdPerHour>) -> u64,
    ) -> (Vec<&'a OpenRequest>, Vec<&'a Machine>) {
        let cancelled: u64 = self
            .requests
            .iter()
            .filter(|(_, going)| *going)
            .map(|(request, _)| weigh(request.price))
            .sum();
        let ended: u64 = self
            .machines
            .iter()
            .filter(|(_, going)| *going)
            .map(|(machine, _)| weigh(machine.price))
            .sum();
        let mut left = over.saturating_sub(cancelled + ended);
        let wanted = |left: &mut u64, price| {
            let weight = weigh(price);
            let take = *left > 0 && weight > 0;
            if take {
                *left = left.saturating_sub(weight);
            }
            take
        };
        let requests = self
            .requests
            .into_iter()
            .filter(|(request, going)| !going && wanted(&mut left, request.price))
            .map(|(request, _)| request)
            .collect();
        let mut left = left.min(machines_over.saturating_sub(ended));
        let machines = self
            .machines
            .into_iter()
            .filter(|(machine, going)| !going && wanted(&mut left, machine.price))
            .map(|(machine, _)| machine)
            .collect();
        (requests, machines)
    }
}

/// The lowest rank is removed first.
fn rank(machine: &Machine) -> u8 {
    match machine.class {
        // These serve nobody already.
        Class::Stopping => 0,
        Class::Booting | Class::Overdue => {
            if machine.state == InstanceState::Pending {
                1
            } else {
                2
            }
        }
        Class::Idle | Class::Aged if machine.positively_idle => 3,
        // Presumed idle, or in no running task for a moment.
        Class::Idle => 4,
        Class::Unknown | Class::Busy | Class::Aged => 5,
    }
}
