//! The base of the process tests: moto as AWS, a fake queue, processes, and inspection from outside.

mod account;
mod http;
mod moto;
mod process;
mod project;
mod queue;
#[path = "../../support/moto.rs"]
mod stand_in;
mod world;

use std::time::{Duration, Instant};

pub(crate) use account::Account;
pub(crate) use http::{Response, free_port, get, get_metrics, post, post_bearer};
pub(crate) use moto::{MotoServer, lint};
pub(crate) use process::{Daemon, Finished};
pub(crate) use project::{Project, mode};
pub(crate) use queue::{Answer, FakeQueue, task};
pub(crate) use world::World;

/// Where the tests play.
pub(crate) const REGION: &str = "us-west-2";

/// The image of `tests/moto/images.json` for x86.
pub(crate) const IMAGE: &str = "ami-00000000000000b86";

/// Long enough for anything that should happen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Waits until `holds`, looking again every 25 ms.
///
/// # Panics
/// When it does not hold within `limit`.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Asserts that `holds` during all of `span`, to show that something does *not* happen.
#[track_caller]
pub(crate) fn always(what: &str, span: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(holds(), "not any more after {:?}: {what}", start.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
}
