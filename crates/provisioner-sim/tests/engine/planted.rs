//! Bugs that are planted on purpose, one at a time: a suite that lets one through proves nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use provisioner_sim::sabotage::Sabotage;

use crate::random_worlds::play;

/// So many random worlds at most until a bug must have been noticed.
const WORLDS: u64 = 60;

/// In which world it is noticed.
fn caught(sabotage: Sabotage) -> Option<u64> {
    (0..WORLDS).find(|seed| catch_unwind(AssertUnwindSafe(|| play(*seed, Some(sabotage)))).is_err())
}

/// The threads of this test, whose panics are what is wanted.
const THREAD: &str = "planted";

/// Each catch is a panic with a long story, which nobody wants to read here; others want theirs read.
fn silence() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(THREAD) {
            hook(info);
        }
    }));
}

#[test]
fn every_planted_bug_is_caught() {
    silence();
    let threads = Sabotage::ALL.map(|sabotage| {
        let thread = std::thread::Builder::new().name(THREAD.to_owned());
        (sabotage, thread.spawn(move || caught(sabotage)).unwrap())
    });
    let caught = threads.map(|(sabotage, thread)| (sabotage, thread.join().unwrap()));
    println!("caught in world {caught:?}");
    let missed: Vec<_> = caught.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}; of {caught:?}");
}
