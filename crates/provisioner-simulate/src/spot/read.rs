//! Reads a market from files `<zone>_<type>.json`, or from any folder above them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use provisioner_sim::world::trace::{Trace, TraceError};

use super::{Market, SpotPool};

/// How many levels of folders are searched. Deeper trees are a mistake or a loop.
const MAX_DEPTH: u32 = 8;

impl Market {
    /// Reads one trace, or all traces in a folder as the pools of one market.
    ///
    /// If several folders below `path` hold traces, only one is read: a folder of types without GPUs rather
    /// than with, and then the one with the most zones.
    ///
    /// # Errors
    ///
    /// There is no trace, or a file is not a trace.
    pub fn read(path: &Path) -> Result<(Self, MarketSource), SpotError> {
        let error = |path: &Path, problem| SpotError { path: path.to_owned(), problem };
        let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
        if path.is_file() {
            folders.entry(path.to_owned()).or_default().push(path.to_owned());
        } else {
            find(path, MAX_DEPTH, &mut folders).map_err(|(path, e)| error(&path, e.into()))?;
        }
        let order = |(_, files): &(&PathBuf, &Vec<PathBuf>)| {
            // Most zones first; `min_by_key` returns the first of equals.
            (files.iter().any(|file| has_gpu(file)), usize::MAX - zones(files))
        };
        let Some(taken) = folders.iter().min_by_key(order).map(|(folder, _)| folder.clone()) else {
            return Err(error(path, Problem::Nothing));
        };
        let files = folders.remove(&taken).unwrap_or_default();
        let mut pools = Vec::with_capacity(files.len());
        for file in files {
            let text = fs::read_to_string(&file).map_err(|e| error(&file, e.into()))?;
            let trace = Trace::parse(&text, jiff::Timestamp::UNIX_EPOCH)
                .map_err(|source| error(&file, Problem::Trace(source)))?;
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (gap, samples) = trace.samples();
            let pool = SpotPool::new(name, gap, samples);
            pools.push(pool.ok_or_else(|| error(&file, Problem::Trace(TraceError::Empty)))?);
        }
        let others = folders.into_keys().collect();
        Ok((Self::new(pools, None), MarketSource { from: taken, others }))
    }
}

/// The source of a market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketSource {
    /// The folder or file that was read.
    pub from: PathBuf,
    /// Other folders with traces, which were not read.
    pub others: Vec<PathBuf>,
}

fn find(
    folder: &Path,
    depth: u32,
    found: &mut BTreeMap<PathBuf, Vec<PathBuf>>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let at = |error| (folder.to_owned(), error);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(at)? {
        paths.push(entry.map_err(at)?.path());
    }
    // The order in a folder depends on the file system.
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                find(&path, depth - 1, found)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "json") {
            found.entry(folder.to_owned()).or_default().push(path);
        }
    }
    Ok(())
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Counts the zones in the names of the files.
fn zones(files: &[PathBuf]) -> usize {
    let mut zones: Vec<_> = files
        .iter()
        .map(|file| stem(file).split('_').next().unwrap_or_default().to_owned())
        .collect();
    zones.dedup();
    zones.len()
}

/// Returns whether the file's name contains one of the GPU models that the traces name.
fn has_gpu(file: &Path) -> bool {
    stem(file).split('_').any(|word| matches!(word, "v100" | "k80" | "a100" | "t4"))
}

/// Spot traces that cannot be read.
#[derive(Debug, thiserror::Error)]
pub struct SpotError {
    path: PathBuf,
    #[source]
    problem: Problem,
}

impl fmt::Display for SpotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read spot traces from `{}`", self.path.display())
    }
}

impl SpotError {
    /// How to fix it.
    pub fn hint(&self) -> &'static str {
        match self.problem {
            Problem::Unreadable(_) | Problem::Nothing => {
                "--spot-traces takes a folder with one file per zone and instance type, named \
                 <zone>_<type>.json"
            }
            Problem::Trace(_) => {
                "`data` holds one whole number per sample, the number of instances from 0; \
                 `gap_seconds` is the time between samples, from 1"
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it cannot be read")]
    Unreadable(#[from] std::io::Error),
    #[error("there is no .json file in it")]
    Nothing,
    #[error(transparent)]
    Trace(TraceError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"{"metadata": {"gap_seconds": 60}, "data": [1, 0, 1]}"#;

    #[test]
    fn a_folder_is_a_market_and_of_several_the_one_with_most_zones_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, TRACE).unwrap();
        };
        for name in ["gpu/a_v100_1.json", "gpu/b_v100_1.json", "gpu/c_v100_1.json"] {
            write(name);
        }
        for name in ["cpu/b_intel_64.json", "cpu/a_intel_64.json", "one/a_intel_64.json"] {
            write(name);
        }
        let (market, taken) = Market::read(home.path()).unwrap();
        let names: Vec<_> = market.pools().iter().map(|pool| &*pool.name).collect();
        assert_eq!(names, ["a_intel_64", "b_intel_64"]);
        assert_eq!(taken.from, home.path().join("cpu"));
        assert_eq!(taken.others.len(), 2);
        let (market, _) = Market::read(&home.path().join("gpu")).unwrap();
        assert_eq!(market.pools().len(), 3);
        let (market, _) = Market::read(&home.path().join("gpu/b_v100_1.json")).unwrap();
        assert_eq!(market.pools().len(), 1);
    }

    #[test]
    fn what_is_no_market_is_refused_with_its_name() {
        let home = tempfile::tempdir().unwrap();
        let error = Market::read(home.path()).unwrap_err();
        assert!(error.to_string().contains(&home.path().display().to_string()), "{error}");
        assert!(error.hint().contains("<zone>_<type>.json"));
        fs::write(home.path().join("a_x.json"), "{}").unwrap();
        let error = Market::read(home.path()).unwrap_err();
        assert!(error.to_string().contains("a_x.json"), "{error}");
        assert!(Market::read(Path::new("/nonexistent")).is_err());
    }
}
