//! A round that is dropped at any point, and a new process that continues from its disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::settings::Settings;
use provisioner_sim::deployment::{at, mins, name, secs, settings, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;

use crate::rig::{Rig, wake};

const TASKS: u64 = 7;

fn deployment() -> Settings {
    let mut settings = settings([
        ("linux", worker_type(&["c7g.large", "c7a.large"], 20)),
        ("large", worker_type(&["c7g.4xlarge"], 20)),
    ]);
    settings.provisioner.visibility_window = mins(1);
    settings
}

/// Returns a world in which the next round has every kind of action to do: it tags instances, cancels
/// requests, ends machines, and requests capacity in a pool that is empty and in one that is not.
async fn busy(lag: Duration) -> Rig {
    let mut world = World::new(
        Arc::new(deployment()),
        Knowledge::ByInstance,
        3,
        provisioner_sim::deployment::start(),
    );
    world.add_tasks(&name("linux"), TASKS, Duration::from_hours(2));
    world.add_tasks(&name("large"), 3, Duration::from_hours(2));
    world.pools.free.insert("c7g.4xlarge in us-west-2a".to_owned(), 1);
    world.pools.free.insert("c7g.4xlarge in us-west-2b".to_owned(), 0);
    world.faults.lag = lag;
    let mut rig = Rig::new(world);
    rig.round().await;
    // By then describe calls show everything.
    rig.wait(at(10)).await;
    {
        let mut world = rig.transport.world();
        world.queue.withdraw(&name("large"), 0);
        world.add_tasks(&name("linux"), 2, Duration::from_hours(2));
        let stray = provisioner::internal::domain::ids::InstanceType::from("c7g.large");
        let tags = provisioner::internal::domain::observed::OwnTags::default();
        world.launch(&provisioner_sim::deployment::key(), None, stray, tags, true);
    }
    rig
}

/// Asserts that in the end there is one tagged machine for each task and nothing else, whatever was dropped.
async fn assert_recovers(rig: &mut Rig, n: u64) {
    let context = format!("dropped at poll {n}");
    for _ in 0..3 {
        let end = rig.round().await;
        rig.wait(wake(&end)).await;
        rig.assert_sound(&context);
    }
    rig.run(at(20 * 60)).await;
    rig.assert_sound(&context);
    let ledger = rig.ledger();
    let world = rig.transport.world();
    let (linux, large) = (world.count(&name("linux")), world.count(&name("large")));
    assert_eq!(linux, TASKS + 2, "{context}: doubled or forgotten\n{}", rig.end_of_story());
    assert_eq!(world.queue.pending(&name("linux")), 0, "{context}");
    assert!(large <= 1, "{context}: {large} left of `large`\n{}", rig.end_of_story());
    assert_eq!(world.open().count(), 0, "{context}\n{}", rig.end_of_story());
    for (id, machine) in world.live() {
        assert_eq!(machine.truth().tags.worker_type, machine.worker_type, "{context}: {id} leaks");
    }
    assert!(ledger.intents.is_empty(), "{context}: {ledger:?}");
    // Every request was needed.
    let made = world.requests.len() as u64;
    assert!(made <= TASKS + 2 + 3, "{context}: {made} requests in all\n{}", rig.end_of_story());
}

async fn dropped_at_every_poll(lag: Duration) {
    for n in 1.. {
        fastrand::seed(n);
        let mut rig = busy(lag).await;
        let Some((end, polls)) = rig.round_until(n).await else {
            tokio::time::sleep(secs(2)).await;
            assert_recovers(&mut rig, n).await;
            continue;
        };
        let kinds: BTreeSet<_> =
            rig.plan.actions.iter().map(|action| action.kind.as_str()).collect();
        let all = BTreeSet::from(["cancel", "request", "tag", "terminate"]);
        assert_eq!(kinds, all, "\n{}", rig.end_of_story());
        assert!(polls < n && polls >= 15, "{polls} polls of a busy round");
        rig.wait(wake(&end)).await;
        return assert_recovers(&mut rig, n).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_round_dropped_at_any_poll_doubles_and_leaks_nothing() {
    dropped_at_every_poll(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_round_doubles_and_leaks_nothing_where_describe_calls_lag() {
    dropped_at_every_poll(secs(8)).await;
}
