//! Running the programs: to their end, or in the background.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing takes longer than this; `cleanup-aws` takes a minute and a half where machines end as slowly as in EC2.
const LIMIT: Duration = Duration::from_mins(4);

/// The output of a program so far.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Reads a pipe to its end, in the background.
    fn collect(&self, mut pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let kept = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..n]);
            }
        })
    }
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    what: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(expected),
            "{} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.code(0)
    }

    /// Asserts that it ended by itself and not well.
    #[track_caller]
    pub(crate) fn fails(self) -> Self {
        assert!(
            self.status.code().is_some_and(|code| code != 0 && code != 101),
            "{} ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.what,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that standard error mentions each of these, in any case.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        mentions(&self.what, &self.stderr, words);
        self
    }

    /// Asserts that standard output mentions each of these, in any case.
    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        mentions(&self.what, &self.stdout, words);
        self
    }

    /// Standard output as the one JSON object it must be.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{}: not JSON ({error}): {:?}", self.what, self.stdout));
        assert_eq!(value["version"], 1, "{}: {value}", self.what);
        value
    }
}

#[track_caller]
fn mentions(what: &str, text: &str, words: &[&str]) {
    let lower = text.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{what} does not mention {word:?}:\n{text}");
    }
}

/// A program in the background. It is killed when the test ends.
pub(crate) struct Daemon {
    what: String,
    child: Child,
    stdout: Output,
    stderr: Output,
    readers: Vec<JoinHandle<()>>,
}

impl Daemon {
    pub(super) fn spawn(command: &mut Command) -> Self {
        let what = format!("{command:?}").rsplit('/').next().unwrap_or_default().to_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = Output::default();
        let stderr = Output::default();
        let readers = vec![
            stdout.collect(child.stdout.take().expect("a pipe")),
            stderr.collect(child.stderr.take().expect("a pipe")),
        ];
        Self { what, child, stdout, stderr, readers }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Standard error so far.
    pub(crate) fn said(&self) -> String {
        self.stderr.text()
    }

    /// Asserts that it has not ended by itself.
    #[track_caller]
    pub(crate) fn still_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            panic!("{} ended with {status}; stderr ends:\n{}", self.what, tail(&self.said()));
        }
    }

    /// Waits until `holds`.
    ///
    /// # Panics
    /// Panics with the output of the program if it does not hold soon, or if the program ends first.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = Instant::now();
        while !holds() {
            let ended = self.child.try_wait().expect("a child");
            let late = start.elapsed() > super::SOON;
            assert!(
                ended.is_none() && !late,
                "{}: {what}: not {}; stderr ends:\n{}",
                self.what,
                ended.map_or_else(
                    || "in time".to_owned(),
                    |status| format!("before its end ({status})")
                ),
                tail(&self.stderr.text()),
            );
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// Sends a signal by name: `TERM`, `INT`, `KILL`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.expect("the kill command").success(), "kill -{name}");
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub(crate) fn kill(mut self) -> Finished {
        self.child.kill().expect("a child that can be killed");
        self.finish(LIMIT)
    }

    /// Ends it as a service manager does, and asserts that it ends well within ten seconds.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Finished {
        self.signal("TERM");
        self.finish(Duration::from_secs(10)).ok()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Finished {
        self.finish(LIMIT)
    }

    #[track_caller]
    fn finish(&mut self, limit: Duration) -> Finished {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if start.elapsed() > limit {
                drop(self.child.kill());
                panic!(
                    "{} has not ended in {limit:?}; stderr ends:\n{}",
                    self.what,
                    tail(&self.stderr.text())
                );
            }
            thread::sleep(Duration::from_millis(5));
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        Finished {
            what: self.what.clone(),
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Waits until `count` more rounds have begun.
    #[track_caller]
    pub(crate) fn rounds(&mut self, queue: &super::FakeQueue, count: usize) {
        let goal = queue.rounds() + count;
        self.until(&format!("{count} more rounds"), || queue.rounds() >= goal);
    }

    /// Waits until its output so far satisfies a condition.
    #[track_caller]
    pub(crate) fn until_it_prints(&mut self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let stdout = self.stdout.clone();
        self.until(what, || holds(&stdout.text()));
    }

    /// Waits until standard error mentions `word`.
    #[track_caller]
    pub(crate) fn until_it_says(&mut self, word: &str) {
        let stderr = self.stderr.clone();
        let word = word.to_lowercase();
        self.until(&format!("says {word:?}"), || stderr.text().to_lowercase().contains(&word));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already in most tests.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
