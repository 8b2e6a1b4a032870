//! What goes first where there is too much: open requests, then booting, then idle instances, then,
//! the youngest first, those that run tasks or may.

use std::collections::BTreeSet;

use crate::domain::ids::{InstanceId, SpotRequestId};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;
use crate::engine::state::group::Group;
use crate::engine::state::machine::{Class, Machine, OpenRequest};

/// Candidates in the order they go, and what goes already.
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
        let mut shed = Self { requests: Vec::new(), machines: Vec::new() };
        for group in groups {
            for request in group.open.iter().filter(|request| request.touchable) {
                let going = request.cancelled || cancelled.contains(&request.id);
                shed.requests.push((request, going));
            }
            for machine in &group.machines {
                if machine.may_be_ended() {
                    shed.machines.push((machine, ended.contains(&machine.id)));
                }
            }
        }
        shed.requests.sort_by_key(|(request, _)| std::cmp::Reverse(request.asked));
        shed.machines.sort_by(|(a, _), (b, _)| {
            (order(a), std::cmp::Reverse(a.launched), &a.id).cmp(&(
                order(b),
                std::cmp::Reverse(b.launched),
                &b.id,
            ))
        });
        shed
    }

    /// Takes requests until `over` is covered, each weighing what `weigh` makes of its price, then
    /// instances, but of these no more than `machines_over`: what is still in flight goes before any
    /// instance, once it can be seen and cancelled. What goes already counts first.
    pub(in crate::engine) fn take(
        self,
        over: u64,
        machines_over: u64,
        weigh: impl Fn(Option<UsdPerHour>) -> u64,
    ) -> (Vec<&'a OpenRequest>, Vec<&'a Machine>) {
        let going_requests = self.requests.iter().filter(|(_, going)| *going);
        let going_machines = self.machines.iter().filter(|(_, going)| *going);
        let going: u64 = going_requests
            .map(|(request, _)| weigh(request.price))
            .chain(going_machines.map(|(machine, _)| weigh(machine.price)))
            .sum();
        let ending: u64 = self
            .machines
            .iter()
            .filter(|(_, going)| *going)
            .map(|(machine, _)| weigh(machine.price))
            .sum();
        let mut left = over.saturating_sub(going);
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
        let mut left = left.min(machines_over.saturating_sub(ending));
        let machines = self
            .machines
            .into_iter()
            .filter(|(machine, going)| !going && wanted(&mut left, machine.price))
            .map(|(machine, _)| machine)
            .collect();
        (requests, machines)
    }
}

fn order(machine: &Machine) -> u8 {
    match machine.class {
        // It serves nobody already; a stopped one is ended for that, a stopping one soon.
        Class::Stopping => 0,
        Class::Booting | Class::Overdue => {
            if machine.state == InstanceState::Pending {
                1
            } else {
                2
            }
        }
        Class::Idle => 3,
        Class::Unknown | Class::Busy | Class::Aged => 4,
    }
}
