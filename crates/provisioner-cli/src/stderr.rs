//! Everything that goes to stderr, written by a thread of its own.
//!
//! A write to a pipe that nobody reads, or to a terminal that was stopped by Ctrl-S, blocks for as long as
//! that lasts. The loop and the signals must not wait for it, so lines are queued here and the thread alone
//! blocks. When the queue is full, further lines are dropped and counted, and the log says how many were
//! lost once it can be written again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// The number of bytes that may wait: some thousand lines, which is minutes of a busy log.
const MOST_WAITING: usize = 1 << 20;

/// How long a flush waits for a line to be written before it regards stderr as stuck.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long to wait before the next attempt if stderr does not block but takes nothing: another process may
/// have made the shared descriptor non-blocking.
const RETRY: Duration = Duration::from_millis(10);

static STDERR: OnceLock<Lines> = OnceLock::new();

/// Queues a text, which is written as a whole or not at all.
pub(crate) fn write(text: impl Into<Vec<u8>>) {
    lines().push(text.into());
}

/// Waits until what was queued is written. Returns at once if stderr is stuck, because then nobody reads it.
pub(crate) fn flush() {
    lines().flush();
}

/// Returns the number of texts that were dropped since the start.
#[cfg(feature = "aws")]
pub(crate) fn dropped() -> u64 {
    lines().lock().dropped
}

fn lines() -> &'static Lines {
    STDERR.get_or_init(|| Lines::start(io::stderr()))
}

/// The stderr of the log: each write is a whole line.
pub(crate) struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue and its thread.
#[derive(Clone)]
struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// A line was added, or written.
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the thread is writing a line that it has taken.
    writing: bool,
    /// The number of lines that were written, or could not be.
    ended: u64,
    /// Whether a flush has given up since the last line ended.
    stuck: bool,
    dropped: u64,
    /// The part of `dropped` that the log has not reported yet.
    unreported: u64,
}

impl Lines {
    fn start(out: impl Write + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let writer = lines.clone();
        // Where not even this thread can be made, the runtime cannot start either; the exit code says so.
        let spawned = thread::Builder::new().name("stderr".into()).spawn(move || writer.run(out));
        if spawned.is_err() {
            lines.lock().bytes = MOST_WAITING;
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Vec<u8>) {
        let mut queue = self.lock();
        if queue.bytes.saturating_add(line.len()) > MOST_WAITING {
            queue.drop_one();
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line);
        drop(queue);
        self.0.changed.notify_all();
    }

    fn flush(&self) {
        let mut queue = self.lock();
        while !queue.stuck && (queue.writing || !queue.lines.is_empty()) {
            let ended = queue.ended;
            let (next, timeout) = self
                .0
                .changed
                .wait_timeout_while(queue, PATIENCE, |queue| queue.ended == ended)
                .unwrap_or_else(PoisonError::into_inner);
            queue = next;
            queue.stuck = timeout.timed_out();
        }
    }

    fn run(self, mut out: impl Write) {
        loop {
            let line = self.take();
            let written = write_all(&mut out, &line);
            let mut queue = self.lock();
            queue.writing = false;
            queue.stuck = false;
            queue.ended += 1;
            // After a line that was written, so that a stderr that refuses everything is no endless loop.
            let lost = match written {
                Ok(()) if queue.bytes < MOST_WAITING / 2 => std::mem::take(&mut queue.unreported),
                Ok(()) => 0,
                Err(_) => {
                    queue.drop_one();
                    0
                }
            };
            drop(queue);
            self.0.changed.notify_all();
            if lost > 0 {
                tracing::warn!(
                    lines = lost,
                    "{lost} lines of the log were lost, because they could not be written to stderr"
                );
            }
        }
    }

    fn take(&self) -> Vec<u8> {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                queue.writing = true;
                return line;
            }
            queue = self.0.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    fn drop_one(&mut self) {
        self.dropped += 1;
        self.unreported += 1;
    }
}

fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::{Child, Command, Stdio};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Asks for permission before each write.
    struct Gate(Receiver<io::Result<()>>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap_or(Ok(()))?;
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_counted() {
        let (open, gate) = channel();
        let (written, lines) = channel();
        let stderr = Lines::start(Gate(gate, written));
        let line = vec![b'x'; MOST_WAITING / 4];
        // One is being written, four wait.
        stderr.push(b"first".to_vec());
        while !stderr.lock().writing {
            thread::yield_now();
        }
        for _ in 0..7 {
            stderr.push(line.clone());
        }
        assert_eq!(stderr.lock().dropped, 3);
        stderr.flush();
        assert!(stderr.lock().stuck, "a flush gives up");
        open.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        drop(open);
        for _ in 0..4 {
            assert_eq!(lines.recv().unwrap(), line);
        }
        stderr.flush();
        let queue = stderr.lock();
        assert_eq!(
            (queue.dropped, queue.unreported, queue.bytes),
            (4, 0, 0),
            "and then it is said"
        );
    }

    const CHILD: &str = "STDERR_TEST_CHILD";

    /// Is not a test by itself: the next test runs it as another process.
    #[tokio::test]
    async fn child_logs_more_than_a_pipe_holds() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let globals = crate::args::GlobalArgs::default();
        crate::telemetry::start(
            &globals,
            &std::collections::BTreeMap::new(),
            crate::style::Paint::Plain,
            false,
        )
        .unwrap();
        let token = crate::signals::listen().unwrap();
        // More than the pipe and the queue hold.
        for line in 0..20_000 {
            tracing::info!(
                line,
                "a line that nobody reads, of some hundred bytes with its time and its target"
            );
        }
        println!("\nrounds go on");
        token.cancelled().await;
        println!("\ncancelled");
        std::future::pending::<()>().await;
    }

    fn kill(child: &Child, signal: &str) {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    #[test]
    fn a_stderr_that_nobody_reads_stops_neither_work_nor_signals() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stderr::tests::child_logs_more_than_a_pipe_holds", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "rounds go on"));
        kill(&child, "-TERM");
        assert!(lines.any(|line| line == "cancelled"));
        kill(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(130));
        // What the pipe held is whole lines; the one that was being written may be cut.
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.starts_with("{\"timestamp\":"), "{said:.200}");
    }

    #[test]
    fn lost_lines_are_reported_when_stderr_is_read_again() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stderr::tests::child_logs_more_than_a_pipe_holds", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "rounds go on"));
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut lost = log.lines().map(Result::unwrap).filter(|line| line.contains("were lost"));
        assert!(lost.next().is_some_and(|line| line.contains("\"lines\":")));
        kill(&child, "-KILL");
        child.wait().unwrap();
    }
}
