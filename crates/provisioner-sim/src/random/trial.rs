//! Plays many worlds at once, and makes a failing one small.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{CHAOS, Case, Tries, shrink};

/// What is wrong in a world.
#[derive(Clone, Debug)]
pub struct Failed {
    /// In a sentence or more.
    pub what: String,
    /// What happened in it, a line each.
    pub story: Vec<String>,
    /// Before which rounds something happened from outside.
    pub happened: BTreeSet<u64>,
}

/// The end of a story is what explains a failure.
const LAST_LINES: usize = 60;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.story.len().saturating_sub(LAST_LINES);
        write!(f, "{}\n{}", self.what, self.story[last..].join("\n"))
    }
}

/// A world in which nothing was wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Played {
    /// Its launching calls.
    pub calls: usize,
    /// It settled without a pause.
    pub at_once: bool,
}

/// What came of many worlds.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// How many were played.
    pub worlds: u64,
    /// Launching calls in all of those that did not fail.
    pub calls: u64,
    /// Those that settled without a pause.
    pub at_once: u64,
    /// What is wrong in those that failed, by seed.
    pub failed: BTreeMap<u64, String>,
}

impl Trial {
    /// Plays the worlds of seeds 0 to `seeds`, on all processors.
    pub fn run(seeds: u64, play: &(impl Fn(&Case) -> Result<Played, Failed> + Sync)) -> Self {
        let next = AtomicU64::new(0);
        let some = || {
            let mut trial = Self::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return trial;
                }
                trial.worlds += 1;
                match caught(&Case::new(seed), play) {
                    Ok(Played { calls, at_once }) => {
                        trial.calls += calls as u64;
                        trial.at_once += u64::from(at_once);
                    }
                    Err(failed) => drop(trial.failed.insert(seed, failed.what)),
                }
            }
        };
        let mut whole = Self::default();
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
            for part in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                whole.worlds += part.worlds;
                whole.calls += part.calls;
                whole.at_once += part.at_once;
                whole.failed.extend(part.failed);
            }
        });
        whole
    }

    /// Makes the first failing world small. `None`: none failed.
    pub fn least(
        &self,
        tries: Tries,
        play: &impl Fn(&Case) -> Result<Played, Failed>,
    ) -> Option<(Case, Failed)> {
        let case = Case::new(*self.failed.first_key_value()?.0);
        least(&case, tries, play)
    }
}

/// Makes `case` small, if it fails.
pub fn least(
    case: &Case,
    tries: Tries,
    play: &impl Fn(&Case) -> Result<Played, Failed>,
) -> Option<(Case, Failed)> {
    let failed = caught(case, play).err()?;
    let least = shrink(case, &failed.happened, tries, |case| caught(case, play).is_err());
    let failed = caught(&least, play).err().unwrap_or(failed);
    Some((least, failed))
}

/// A panic is a failure too.
fn caught(case: &Case, play: &impl Fn(&Case) -> Result<Played, Failed>) -> Result<Played, Failed> {
    catch_unwind(AssertUnwindSafe(|| play(case))).unwrap_or_else(|panic| {
        let what = format!("a panic: {}", message(panic.as_ref()));
        // What happened was lost with it: no round is shorter than a second.
        Err(Failed { what, story: Vec::new(), happened: (1..=CHAOS.as_secs()).collect() })
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
