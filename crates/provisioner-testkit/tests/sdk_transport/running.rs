//! The daemon's loop, for hours that pass at once.

use std::sync::Arc;
use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::WorkerType;
use provisioner_sim::deployment::{mins, name, secs, settings, start, worker_server, worker_type};
use provisioner_sim::queue::Knowledge;
use provisioner_sim::world::World;

use crate::rig::Rig;

#[tokio::test(start_paused = true)]
async fn a_morning_of_the_loop() {
    let settings = settings([("linux", worker_type(&["c7g.large"], 10))]);
    let mut world = World::new(Arc::new(settings), Knowledge::ByInstance, 1, start());
    let price = provisioner::internal::domain::money::UsdPerHour::from_micros(31_000);
    world.set_price("c7g.large in us-west-2a", start(), price);
    world.add_tasks(&name("linux"), 25, mins(20));
    world.faults.throttled = 5;
    world.faults.lost_after = 5;
    let mut rig = Rig::new(world);
    let (mut turns, mut most, mut priced) = (Vec::new(), 0, false);
    let hours = Duration::from_hours(4);
    rig.run_loop(hours, |turn| {
        turns.push(turn.ended);
        most = most.max(turn.machines.iter().map(|machines| machines.count).sum::<u64>());
        let pool = turn.machines.first().and_then(|machines| machines.pool.as_ref());
        priced |= pool.is_some_and(|pool| turn.prices.price(pool, turn.ended) == Some(price));
    })
    .await;
    assert_eq!(
        rig.transport.clock().now(),
        clock::after(start(), hours),
        "it ends when it is stopped"
    );
    let close = turns.windows(2).find(|pair| clock::age(pair[0], pair[1]) < secs(1));
    assert_eq!(close, None, "never closer than `min-interval`");
    assert!(turns.len() > 4 * 60 * 3 / 2, "{} turns at 20 s in four hours", turns.len());
    assert!(priced, "its prices are those of the market");
    let world = rig.transport.world();
    assert_eq!((most, world.queue.served.finished), (10, 25));
    assert_eq!(world.live().count(), 0, "nothing is left of it");
    drop(world);
    rig.assert_sound("a morning");
}

#[tokio::test(start_paused = true)]
async fn machines_are_ended_when_their_workers_asked_and_agreed() {
    let linux = WorkerType { policy: Policy::default(), ..worker_type(&["c7g.large"], 10) };
    let mut settings = settings([("linux", linux)]);
    settings.server.workers = Some(worker_server());
    let mut world = World::new(Arc::new(settings), Knowledge::Unknown, 1, start());
    world.add_tasks(&name("linux"), 5, mins(20));
    let mut rig = Rig::new(world);
    rig.run_loop(Duration::from_hours(3), |_| {}).await;
    let counts = rig.stop_consent_counts();
    assert_eq!((counts.promised, counts.agreed, counts.wrong_token), (5, 5, 0), "{counts:?}");
    let world = rig.transport.world();
    assert_eq!((world.live().count(), world.queue.served.finished), (0, 5));
    assert_eq!(world.queue.served.lost_runs, 0);
    drop(world);
    rig.assert_sound("workers that ask");
}
