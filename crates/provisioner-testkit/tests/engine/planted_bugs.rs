//! Bugs that are planted on purpose, one at a time. A test suite that lets one through proves nothing.

use std::collections::BTreeSet;
use std::thread;

use provisioner_testkit::planted_bugs::PlantedBug;
use provisioner_testkit::random::{self, Case, Failed, Played};

use crate::random_worlds::{SEEDS, TRIES, command, play};

/// Plays a world with a bug.
fn played(case: &Case, bug: PlantedBug) -> Result<Played, Failed> {
    let played = play(case, Some(bug));
    played.map(|(driver, at_once)| Played { calls: driver.world.calls.len(), at_once })
}

/// Returns the first of the worlds in every test run that catches the bug.
fn caught(bug: PlantedBug) -> Option<u64> {
    (0..SEEDS).find(|seed| played(&Case::new(*seed), bug).is_err())
}

#[test]
fn every_planted_bug_is_caught() {
    let threads = PlantedBug::ALL.map(|bug| (bug, thread::spawn(move || caught(bug))));
    let caught = threads.map(|(bug, thread)| (bug, thread.join().unwrap()));
    println!("caught in world {caught:?}");
    let missed: Vec<_> = caught.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}; of {caught:?}");
}

#[test]
fn a_caught_bug_is_shrunk_and_replayed_by_one_command() {
    let bug = PlantedBug::AskTwice;
    let seed = caught(bug).unwrap();
    let original = played(&Case::new(seed), bug).unwrap_err();
    let (least, failed) =
        random::least(&Case::new(seed), TRIES, &|case| played(case, bug)).unwrap();
    // The second launch shows with the first request, without any fault.
    let kept = least.keep.as_ref().map_or(usize::MAX, BTreeSet::len);
    assert!(kept <= 3 && kept < original.happened.len(), "{least}");
    assert_eq!(least.without.len(), Case::kinds().count(), "{least}");
    assert!(failed.story.len() < original.story.len() || original.story.len() < 20, "{least}");
    let command = command(&least);
    let (_, written) = command.split_once('\'').unwrap();
    let (written, _) = written.split_once('\'').unwrap();
    let again = played(&written.parse().unwrap(), bug).unwrap_err();
    assert_eq!((again.what, again.story), (failed.what, failed.story));
    let other = PlantedBug::ForgetLedger;
    assert!(played(&least, other).is_ok(), "a bug that shows after a crash only: {least}");
}
