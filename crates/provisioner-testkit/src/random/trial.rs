//! Plays many worlds in parallel, and shrinks a failing one.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::{CHAOS, Case, Tries, shrink};

/// A failure in a world.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The description of the failure.
    pub what: String,
    /// The story, one line per event.
    pub story: Vec<String>,
    /// The rounds before which something happened.
    pub happened: BTreeSet<u64>,
}

/// How many lines of a story are shown; its end explains the failure.
const LAST_LINES: usize = 60;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.story.len().saturating_sub(LAST_LINES);
        write!(f, "{}\n{}", self.what, self.story[last..].join("\n"))
    }
}

/// A world that did not fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Played {
    /// The number of launching calls.
    pub calls: usize,
    /// Whether it converged without a pause.
    pub at_once: bool,
}

/// The results of many worlds.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// The number of worlds that were played.
    pub worlds: u64,
    /// The number of launching calls in worlds that did not fail.
    pub calls: u64,
    /// The number of worlds that converged without a pause.
    pub at_once: u64,
    /// The failures by seed.
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
                    Err(failed) => {
                        trial.failed.insert(seed, failed.what);
                    }
                }
            }
        };
        let mut sum = Self::default();
        thread::scope(|scope| {
            let threads = thread::available_parallelism().map_or(1, usize::from);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
            for part in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                sum.worlds += part.worlds;
                sum.calls += part.calls;
                sum.at_once += part.at_once;
                sum.failed.extend(part.failed);
            }
        });
        sum
    }

    /// Shrinks the first failing world; `None` if no world failed.
    pub fn least(
        &self,
        tries: Tries,
        play: &impl Fn(&Case) -> Result<Played, Failed>,
    ) -> Option<(Case, Failed)> {
        let case = Case::new(*self.failed.first_key_value()?.0);
        least(&case, tries, play)
    }
}

/// Shrinks `case` if it fails.
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

/// Plays a world, and turns a panic into a failure.
fn caught(case: &Case, play: &impl Fn(&Case) -> Result<Played, Failed>) -> Result<Played, Failed> {
    catch_unwind(AssertUnwindSafe(|| play(case))).unwrap_or_else(|panic| {
        let what = format!("a panic: {}", message(panic.as_ref()));
        // The events were lost in the panic. No round is shorter than a second.
        Err(Failed { what, story: Vec::new(), happened: (1..=CHAOS.as_secs()).collect() })
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
