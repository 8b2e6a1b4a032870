//! Bugs that are planted around the real adapter and daemon. The random worlds must catch them.

use std::thread;

use provisioner_sim::query_api::{self, Delivery};
use provisioner_sim::world::World;
use provisioner_testkit::planted_bugs::PlantedBug;
use provisioner_testkit::random::Case;

use crate::random_worlds::in_its_own_time;
use crate::rig::Rig;

/// The number of worlds, the first of those in every test run, that must catch each bug.
const WORLDS: u64 = 100;

/// The bugs that can be planted below the adapter or on the daemon's disk.
const BUGS: [PlantedBug; 3] =
    [PlantedBug::DropPage, PlantedBug::ForgetLedger, PlantedBug::AskTwice];

/// Plants a bug.
pub(crate) fn plant(rig: &mut Rig, bug: PlantedBug) {
    match bug {
        PlantedBug::ForgetLedger => rig.forgets_ledger = true,
        PlantedBug::DropPage => rig.transport.deliver_by(Box::new(only_the_first_page)),
        PlantedBug::AskTwice => rig.transport.deliver_by(Box::new(|world, body| {
            let delivery = query_api::deliver(world, body);
            let again = with_another_token(body);
            if again != body {
                query_api::deliver(world, &again);
            }
            delivery
        })),
        other => panic!("{other:?} cannot be planted here"),
    }
}

/// Delivers a call such that instances after the second are never read.
fn only_the_first_page(world: &mut World, body: &str) -> Delivery {
    if !body.contains("Action=DescribeInstances&") {
        return query_api::deliver(world, body);
    }
    let page_size = std::mem::replace(&mut world.page, 2);
    let mut delivery = query_api::deliver(world, body);
    world.page = page_size;
    if let Delivery::Answered(answer, _) = &mut delivery
        && let Some((before, rest)) = answer.body.split_once("<nextToken>")
        && let Some((_, after)) = rest.split_once("</nextToken>")
    {
        answer.body = format!("{before}{after}");
    }
    delivery
}

/// Changes the client token of a launching call, and returns any other call unchanged.
fn with_another_token(body: &str) -> String {
    match body.split_once("&ClientToken=") {
        Some((before, rest)) => format!("{before}&ClientToken=again-{rest}"),
        None => body.to_owned(),
    }
}

/// Returns the first world that catches the bug.
fn caught(bug: PlantedBug) -> Option<u64> {
    (0..WORLDS).find(|seed| in_its_own_time(&Case::new(*seed), Some(bug)).is_err())
}

#[test]
fn bugs_planted_around_the_adapter_and_the_daemon_are_caught() {
    let threads = BUGS.map(|bug| (bug, thread::spawn(move || caught(bug))));
    let caught = threads.map(|(bug, thread)| (bug, thread.join().unwrap()));
    println!("caught in world {caught:?}");
    let missed: Vec<_> = caught.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}; of {caught:?}");
}
