//! Loads: when tasks are created, and how long they run.
//!
//! A load is read from a file ([`Load::read`]), generated ([`Load::synthetic`]) or taken from what a daemon
//! recorded ([`Load::recorded`]). It begins with its first task; the date does not matter to a simulation.

mod captured;
mod synthetic;
mod table;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::FinishedTask;
use provisioner::internal::state_dir::RecordedLoad;

use crate::time::hours;
pub use synthetic::Synthetic;

/// The prefix that distinguishes the name of a generated load from the path of a file.
pub const SYNTHETIC_PREFIX: &str = "synthetic:";

/// One task of a load, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Task {
    /// When it is created, since the beginning of the load.
    pub created: u64,
    /// How long it runs.
    pub duration: u64,
}

/// Tasks in order of their creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    name: String,
    tasks: Vec<Task>,
    others: usize,
}

/// Ten years in milliseconds. A longer time is a mistake in its unit.
const LONGEST_MILLIS: u64 = 3650 * 86_400_000;

impl Load {
    /// Creates a load from tasks in any order.
    pub fn new(name: impl Into<String>, mut tasks: Vec<Task>) -> Self {
        tasks.sort_unstable();
        let first = tasks.first().map_or(0, |task| task.created);
        for task in &mut tasks {
            task.created -= first;
        }
        Self { name: name.into(), tasks, others: 0 }
    }

    /// Reads a file: CSV, JSON Lines, or a capture of taskcluster-provisioning-simulator. The extension
    /// decides which; without a known one the content decides.
    ///
    /// With `worker_type`, tasks that name another worker type are left out.
    pub fn read(path: &Path, worker_type: Option<&str>) -> Result<Self, LoadError> {
        let error = |problem| LoadError { path: path.to_owned(), line: None, problem };
        let bytes = fs::read(path).map_err(|source| error(LoadProblem::Unreadable(source)))?;
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&name, Format::of(path, &bytes), &bytes, worker_type)
            .map_err(|(line, problem)| LoadError { path: path.to_owned(), line, problem })
    }

    fn parse(
        name: &str,
        format: Format,
        bytes: &[u8],
        worker_type: Option<&str>,
    ) -> Result<Self, (Option<usize>, LoadProblem)> {
        let rows = match format {
            Format::Captured => captured::read(bytes)?,
            Format::Csv => table::csv(bytes)?,
            Format::JsonLines => table::json_lines(bytes)?,
        };
        // Times may be negative, since only the distance from the first task matters.
        let first = rows.iter().map(|row| row.created).min().unwrap_or(0);
        let is_ours = |row: &TaskRow| match (worker_type, &row.worker_type) {
            (Some(wanted), Some(named)) => wanted == named,
            _ => true,
        };
        let mut tasks = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| is_ours(row)) {
            let created = u64::try_from(row.created - first).unwrap_or(u64::MAX);
            if created > LONGEST_MILLIS || row.duration > LONGEST_MILLIS {
                return Err((row.line, LoadProblem::TooFar));
            }
            tasks.push(Task { created, duration: row.duration });
        }
        if tasks.is_empty() {
            return Err((None, LoadProblem::NoTasks { others: rows.len() }));
        }
        let others = rows.len() - tasks.len();
        Ok(Self { others, ..Self::new(name, tasks) })
    }

    /// Generates a load. The same seed gives the same load.
    pub fn synthetic(kind: Synthetic, seed: u64) -> Self {
        Self::new(format!("{SYNTHETIC_PREFIX}{kind}"), kind.tasks(seed))
    }

    /// Returns what a daemon recorded about the worker type `name`; `None` if it recorded nothing.
    pub fn recorded(name: &str, recorded: &RecordedLoad) -> Option<Self> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let first = recorded.tasks.iter().map(|task| task.created).min()?;
        let task = |task: &FinishedTask| Task {
            created: millis(clock::age(first, task.created)),
            duration: millis(task.run_time),
        };
        let tasks = recorded.tasks.iter().map(task);
        // Longer times come from a wrong clock.
        let tasks = tasks.filter(|task| task.created.max(task.duration) <= LONGEST_MILLIS);
        Some(Self::new(format!("recorded of {name}"), tasks.collect()))
    }

    /// The file's name without its extension, or `synthetic:…`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tasks, in order of creation.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The number of tasks of other worker types, which were left out.
    pub fn others(&self) -> usize {
        self.others
    }

    /// Leaves out tasks that are created at `until` or later.
    #[must_use]
    pub fn cut(mut self, until: Duration) -> Self {
        self.tasks.retain(|task| u128::from(task.created) < until.as_millis());
        self
    }

    /// The time from the first creation to the last, in milliseconds.
    pub fn span(&self) -> u64 {
        self.tasks.last().map_or(0, |task| task.created)
    }

    /// The same in hours.
    pub fn span_hours(&self) -> f64 {
        hours(self.span())
    }

    /// The sum of all run times, in milliseconds.
    pub fn busy(&self) -> u64 {
        self.tasks.iter().map(|task| task.duration).sum()
    }
}

/// One task in a file, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TaskRow {
    line: Option<usize>,
    created: i64,
    duration: u64,
    worker_type: Option<String>,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Captured,
    Csv,
    JsonLines,
}

impl Format {
    fn of(path: &Path, bytes: &[u8]) -> Self {
        let extension = path.extension().map(|name| name.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("dat") => Self::Captured,
            Some("csv") => Self::Csv,
            Some("jsonl" | "ndjson" | "json") => Self::JsonLines,
            _ => Self::by_content(bytes),
        }
    }

    fn by_content(bytes: &[u8]) -> Self {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Self::JsonLines,
            // A capture begins with the high byte of a small number, which is no printable character.
            Some(byte) if byte.is_ascii_graphic() || *byte == 0xef => Self::Csv,
            _ => Self::Captured,
        }
    }
}

/// A load that cannot be read.
#[derive(Debug, thiserror::Error)]
pub struct LoadError {
    path: PathBuf,
    line: Option<usize>,
    #[source]
    problem: LoadProblem,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to read the load {}", self.path.display())?;
        match self.line {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

impl LoadError {
    /// How to fix it.
    pub fn hint(&self) -> &'static str {
        self.problem.hint()
    }
}

#[derive(Debug, thiserror::Error)]
enum LoadProblem {
    #[error("the file cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("there are no tasks in it{}", of_others(*others))]
    NoTasks { others: usize },
    #[error("{0} bytes are no whole number of records of 8 bytes")]
    CutOff(usize),
    #[error("it is not UTF-8 text")]
    NotText,
    #[error("the first line names no column `{0}`")]
    NoColumn(&'static str),
    #[error("there is no `{0}`")]
    Missing(&'static str),
    #[error("`created` is `{0}`, neither seconds nor a time in RFC 3339")]
    Created(String),
    #[error("`duration` is `{0}`, not a number of seconds from 0")]
    Duration(String),
    #[error("it is not a JSON object")]
    NotJson(#[source] serde_json::Error),
    #[error("the task is more than ten years long, or that far from the first")]
    TooFar,
}

fn of_others(others: usize) -> String {
    if others == 0 {
        return String::new();
    }
    format!(" for this worker type, but {others} for others")
}

impl LoadProblem {
    fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => {
                "--load takes a file, or synthetic: with steady, bursty-ci, nightly-batch, \
                 flash-crowd or mixed"
            }
            Self::NoTasks { .. } => "a load needs at least one task",
            Self::CutOff(_) => {
                "a capture holds two big-endian u32 per task, creation and run time in \
                 milliseconds; name the file .csv or .jsonl if it is one"
            }
            Self::NotText | Self::NotJson(_) => {
                "JSON Lines hold one object per line: {\"created\": 12.5, \"duration\": 300}"
            }
            Self::NoColumn(_) => {
                "CSV begins with the line `created,duration` or `created,duration,worker_type`"
            }
            Self::Missing(_) | Self::Created(_) | Self::Duration(_) | Self::TooFar => {
                "`created` is in seconds from anywhere, or RFC 3339; `duration` is in seconds"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        name: &str,
        text: &[u8],
        worker_type: Option<&str>,
    ) -> Result<Load, (Option<usize>, LoadProblem)> {
        Load::parse("x", Format::of(Path::new(name), text), text, worker_type)
    }

    fn tasks(name: &str, text: &str) -> Vec<(u64, u64)> {
        let load = parse(name, text.as_bytes(), None).unwrap();
        load.tasks().iter().map(|task| (task.created, task.duration)).collect()
    }

    fn error(name: &str, text: &str) -> (Option<usize>, String) {
        let (line, problem) = parse(name, text.as_bytes(), None).unwrap_err();
        assert!(!problem.hint().is_empty());
        (line, problem.to_string())
    }

    const ALIKE: [(u64, u64); 2] = [(0, 300_000), (1_500, 250)];

    #[test]
    fn the_formats_say_the_same() {
        assert_eq!(tasks("a.csv", "created,duration\n101.5,0.25\n100,300\n"), ALIKE);
        assert_eq!(
            tasks(
                "a.csv",
                "\u{feff}duration , created,x\r\n300,100,\r\n\r\n.25,101.5,\"a,\"\"b\"\r\n"
            ),
            ALIKE
        );
        let dates =
            "created,duration\n2026-11-23T12:00:00Z,300\n2026-11-23T13:00:01.5+01:00,0.25\n";
        assert_eq!(tasks("a.csv", dates), ALIKE);
        let lines = "{\"created\":100,\"duration\":300}\n\n{\"created\":101.5,\"duration\":0.25,\"y\":[1]}\n";
        assert_eq!(tasks("a.jsonl", lines), ALIKE);
        let lines = "{\"created\":\"2026-11-23T12:00:00Z\",\"duration\":300}\n{\"duration\":\"0.25\",\"created\":\"2026-11-23T12:00:01.500Z\"}";
        assert_eq!(tasks("a", lines), ALIKE);
        let mut bytes = Vec::new();
        for word in [101_500_u32, 250, 100_000, 300_000] {
            bytes.extend(word.to_be_bytes());
        }
        for name in ["a.dat", "a"] {
            let load = parse(name, &bytes, None).unwrap();
            assert_eq!(
                load.tasks(),
                [Task { created: 0, duration: 300_000 }, Task { created: 1_500, duration: 250 }]
            );
        }
    }

    #[test]
    fn tasks_of_other_worker_types_are_left_out_and_counted() {
        let text = "created,duration,worker_type\n0,1,linux\n1,2,windows\n2,3,\n";
        let load = parse("a.csv", text.as_bytes(), Some("linux")).unwrap();
        assert_eq!((load.tasks().len(), load.others()), (2, 1));
        let load = parse("a.csv", text.as_bytes(), None).unwrap();
        assert_eq!((load.tasks().len(), load.others()), (3, 0));
        let (_, problem) =
            parse("a.csv", b"created,duration,worker_type\n0,1,linux\n", Some("mac")).unwrap_err();
        assert!(problem.to_string().contains("but 1 for others"), "{problem}");
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(error("a.csv", "created,duration\n1,2\n\nx,3\n").0, Some(4));
        assert_eq!(error("a.csv", "created,duration\n1,-2\n").0, Some(2));
        assert_eq!(error("a.csv", "created,duration\n1,nan\n").0, Some(2));
        assert_eq!(
            error("a.csv", "created,duration\n1\n"),
            (Some(2), "there is no `duration`".to_owned())
        );
        assert_eq!(error("a.csv", "created,duration\n\"1,2\n").0, Some(2));
        assert_eq!(error("a.csv", "created,duration\n1e30,2\n").0, Some(2));
        assert_eq!(error("a.csv", "created,duration\n0,2\n1e10,2\n").0, Some(3));
        assert_eq!(
            error("a.csv", "started,duration\n1,2\n"),
            (Some(1), "the first line names no column `created`".to_owned())
        );
        assert_eq!(error("a.jsonl", "{\"created\":1,\"duration\":2}\n[]\n").0, Some(2));
        assert_eq!(error("a.jsonl", "{\"created\":1}\n").0, Some(1));
        assert_eq!(error("a.jsonl", "{\"created\":true,\"duration\":1}\n").0, Some(1));
        assert_eq!(
            error("a.csv", "created,duration\n"),
            (None, "there are no tasks in it".to_owned())
        );
        assert_eq!(
            error("a.dat", "seven b"),
            (None, "7 bytes are no whole number of records of 8 bytes".to_owned())
        );
        assert!(parse("a.csv", b"created,duration\n\xff,1\n", None).is_err());
    }

    #[test]
    fn a_load_that_is_not_there_says_what_can_be_named() {
        let error = Load::read(Path::new("/nonexistent/load.csv"), None).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/load.csv"), "{error}");
        assert!(error.hint().contains("synthetic:"), "{}", error.hint());
    }
}
