//! The recorded load: which tasks came when and how long they ran, one file per worker type.
//!
//! `load/<worker-type>.csv` has a line per task that ended. Lines are appended and never synced: a power cut
//! costs some tasks of a load. A line that was cut off is skipped when the file is read. A file that has
//! reached its maximum size replaces `<worker-type>.old.csv`, so that a worker type takes no more than twice
//! that size. The files are loads that `simulate --load FILE` can read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::StateDirError;
use crate::domain::clock;
use crate::domain::demand::FinishedTask;
use crate::domain::ids::WorkerTypeName;
use crate::files;

/// The folder in the state directory.
const FOLDER: &str = "load";
/// The first line of a file: the two columns that `simulate` requires, how long a task waited, and which
/// task it was.
const HEADER: &str = "created,duration,wait,task\n";
/// The size at which a file becomes the old one: about 90,000 tasks.
const MAX_BYTES: u64 = 4 << 20;
/// The longest file that is read: the tasks of one round may exceed the size above.
const MOST_READ: u64 = 256 << 20;

/// A recorded load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedLoad {
    /// The tasks that ended. A task that ran repeatedly is listed once, as it ran last.
    pub tasks: Vec<FinishedTask>,
    /// The number of lines that could not be read.
    pub unreadable: u64,
}

fn file(folder: &Path, name: &WorkerTypeName, old: bool) -> PathBuf {
    folder.join(format!("{name}{}.csv", if old { ".old" } else { "" }))
}

/// Appends `tasks` to the files of their worker types.
pub(super) fn append(
    state_dir: &Path,
    tasks: &BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
) -> Result<(), StateDirError> {
    append_up_to(state_dir, tasks, MAX_BYTES)
}

fn append_up_to(
    state_dir: &Path,
    tasks: &BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
    most: u64,
) -> Result<(), StateDirError> {
    let folder = state_dir.join(FOLDER);
    for (name, tasks) in tasks {
        let path = file(&folder, name, false);
        let failed = |source| StateDirError::io("write", &path, source);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut open = match files::regular(&mut options, &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&folder)
                    .map_err(failed)?;
                files::regular(&mut options, &path).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        let mut size = open.seek(SeekFrom::End(0)).map_err(failed)?;
        if size >= most {
            fs::rename(&path, file(&folder, name, true)).map_err(failed)?;
            open = files::regular(&mut options, &path).map_err(failed)?;
            size = 0;
        }
        let mut text = String::with_capacity(HEADER.len() + 64 * tasks.len());
        if size == 0 {
            text.push_str(HEADER);
        } else {
            // A process that died while writing a line left it without an end.
            let mut last = [0];
            open.seek(SeekFrom::End(-1)).map_err(failed)?;
            open.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                text.push('\n');
            }
        }
        for task in tasks {
            line(&mut text, task);
        }
        open.write_all(text.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

fn line(text: &mut String, FinishedTask { task, created, started, run_time }: &FinishedTask) {
    let created_at = created.as_millisecond();
    let sign = if created_at < 0 { "-" } else { "" };
    let seconds = created_at.unsigned_abs() / 1000;
    let millis = created_at.unsigned_abs() % 1000;
    let wait = clock::age(*created, *started).as_secs_f64();
    let run_time = run_time.as_secs_f64();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{sign}{seconds}.{millis:03},{run_time:.3},{wait:.3},{task:016x}");
}

fn read_line(line: &str) -> Option<FinishedTask> {
    let mut fields = line.split(',');
    let created = fields
        .next()?
        .parse::<f64>()
        .ok()
        .and_then(|seconds| SignedDuration::try_from_secs_f64(seconds).ok())?;
    let created = Timestamp::UNIX_EPOCH.checked_add(created).ok()?;
    let mut time = || Duration::try_from_secs_f64(fields.next()?.parse().ok()?).ok();
    let run_time = time()?;
    let wait = time()?;
    let task = u64::from_str_radix(fields.next().filter(|hex| hex.len() == 16)?, 16).ok()?;
    fields.next().is_none().then_some(FinishedTask {
        task,
        created,
        started: clock::after(created, wait),
        run_time,
    })
}

/// Reads the load recorded for `name`, which is empty if nothing was recorded.
pub(super) fn read(state_dir: &Path, name: &WorkerTypeName) -> Result<RecordedLoad, StateDirError> {
    let folder = state_dir.join(FOLDER);
    // Keyed by task, because a task that was interrupted and ran again is one task.
    let mut tasks = BTreeMap::new();
    let mut unreadable = 0;
    for path in [file(&folder, name, true), file(&folder, name, false)] {
        let read = files::open_regular(&path).and_then(|file| files::read_up_to(file, MOST_READ));
        let bytes = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|source| StateDirError::io("read", &path, source))?,
        };
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines().filter(|line| !line.is_empty() && *line != HEADER.trim_end()) {
            match read_line(line) {
                Some(task) => {
                    tasks.insert((task.created, task.task), task);
                }
                None => unreadable += 1,
            }
        }
    }
    Ok(RecordedLoad { tasks: tasks.into_values().collect(), unreadable })
}

/// Removes the recorded loads. Other files in the folder stay, and so does the folder then.
pub(super) fn remove(state_dir: &Path) -> Result<(), StateDirError> {
    let folder = state_dir.join(FOLDER);
    let failed = |source| StateDirError::io("remove", &folder, source);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "csv") {
            fs::remove_file(&path).map_err(|source| StateDirError::io("remove", &path, source))?;
        }
    }
    // If this fails, the folder contains files that are not ours.
    let _ = fs::remove_dir(&folder);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: u64) -> FinishedTask {
        let created = clock::after(
            Timestamp::UNIX_EPOCH,
            Duration::from_millis(1_800_000_000_250 + 1000 * n),
        );
        FinishedTask {
            task: n,
            created,
            started: clock::after(created, Duration::from_millis(1_500)),
            run_time: Duration::from_millis(60_125),
        }
    }

    fn add(dir: &Path, tasks: &[FinishedTask]) {
        let all = BTreeMap::from([(WorkerTypeName::from("linux"), tasks.to_vec())]);
        append_up_to(dir, &all, 400).unwrap();
    }

    fn all(dir: &Path) -> RecordedLoad {
        read(dir, &WorkerTypeName::from("linux")).unwrap()
    }

    #[test]
    fn what_is_recorded_is_read_back() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(all(home.path()), RecordedLoad::default());
        add(home.path(), &[task(1), task(2)]);
        add(home.path(), &[task(3)]);
        assert_eq!(all(home.path()).tasks, [task(1), task(2), task(3)]);
        let text = fs::read_to_string(home.path().join("load/linux.csv")).unwrap();
        assert!(
            text.starts_with("created,duration,wait,task\n1800000001.250,60.125,1.500,"),
            "{text}"
        );
    }

    #[test]
    fn a_task_that_ran_twice_counts_once_as_it_ran_last() {
        let home = tempfile::tempdir().unwrap();
        add(home.path(), &[task(1)]);
        let again = FinishedTask { run_time: Duration::from_secs(9), ..task(1) };
        add(home.path(), &[again]);
        assert_eq!(all(home.path()).tasks, [again]);
    }

    #[test]
    fn a_line_cut_off_costs_itself_alone() {
        let home = tempfile::tempdir().unwrap();
        add(home.path(), &[task(1), task(2)]);
        let path = home.path().join("load/linux.csv");
        let whole = fs::read(&path).unwrap();
        for cut in HEADER.len() + 1..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            add(home.path(), &[task(3)]);
            let load = all(home.path());
            assert_eq!(load.tasks.last(), Some(&task(3)), "cut off after {cut} bytes");
            assert!(load.unreadable <= 1);
        }
        fs::write(&path, b"\xff\xfe\n,,,\nnan,inf,-1,zz\n").unwrap();
        assert_eq!(all(home.path()).unreadable, 3);
    }

    #[test]
    fn it_takes_no_more_than_twice_its_size() {
        let home = tempfile::tempdir().unwrap();
        for n in 0..100 {
            add(home.path(), &[task(n)]);
        }
        let size = |name: &str| fs::metadata(home.path().join("load").join(name)).unwrap().len();
        assert!(size("linux.csv") < 500 && size("linux.old.csv") < 500);
        let tasks = all(home.path()).tasks;
        assert!(tasks.len() > 6 && tasks.last() == Some(&task(99)), "{}", tasks.len());
        remove(home.path()).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        remove(home.path()).unwrap();
    }
}
