//! Reads a response of a queue with 100,000 tasks and 60 MB, and compares the time with that of `serde_json`;
//! also measures the memory that this takes.
//!
//! `cargo bench -p provisioner --no-default-features --bench queue`; with `-- --memory`, only the memory.
#![expect(clippy::print_stdout, reason = "the figures are what a benchmark is for")]
#![expect(clippy::disallowed_methods, reason = "measures real time")]
#![expect(clippy::expect_used, reason = "a benchmark has nobody to report errors to")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::queue::http::{PendingResponse, TaskFilter};
use serde::de::IgnoredAny;

const TASKS: u64 = 100_000;
const CHUNK: usize = 16 << 10;
const RUNS: usize = 11;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--memory-child") {
        memory_child();
        return;
    }
    if !has("--memory") {
        time();
    }
    memory();
}

fn time() {
    let answer: Vec<u8> = chunks().flatten().collect();
    println!("answer: {TASKS} tasks, {:.1} MB", megabytes(answer.len()));

    // The three take turns, so that other load on the machine disturbs them alike.
    let mut ours = Vec::new();
    let mut slice = Vec::new();
    let mut reader = Vec::new();
    for _ in 0..RUNS {
        ours.push(timed(|| read(answer.chunks(CHUNK))));
        slice.push(timed(|| {
            serde_json::from_slice::<IgnoredAny>(black_box(&answer)).expect("valid JSON")
        }));
        reader.push(timed(|| {
            serde_json::from_reader::<_, IgnoredAny>(black_box(answer.as_slice()))
                .expect("valid JSON")
        }));
    }
    let ours = median(ours);
    let slice = median(slice);
    let reader = median(reader);
    let line = |name: &str, time: Duration| {
        let rate = megabytes(answer.len()) / time.as_secs_f64();
        println!("{name:<44} {:>7.1} ms  {rate:>6.0} MB/s", time.as_secs_f64() * 1e3);
    };
    line("PendingResponse, 16 KiB chunks", ours);
    line("serde_json::from_slice::<IgnoredAny>", slice);
    line("serde_json::from_reader::<_, IgnoredAny>", reader);
    println!("ratio to from_slice:  {:.2} (target: at most 5)", ours.div_duration_f64(slice));
    println!("ratio to from_reader: {:.2} (target: at most 1.5)", ours.div_duration_f64(reader));
}

/// Measures the memory in a separate process, which has never held a complete response.
fn memory() {
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).arg("--memory-child").status().expect("it starts again");
    assert!(status.success(), "the memory run failed");
}

fn memory_child() {
    let before = peak_kib();
    let mut bytes = 0;
    read(chunks().inspect(|chunk| bytes += chunk.len()));
    let after = peak_kib();
    println!(
        "peak memory: {after} KiB after {:.1} MB in 16 KiB chunks, {before} KiB before: {} KiB more (target: under 8192)",
        megabytes(bytes),
        after - before,
    );
}

/// Returns `VmHWM`, the largest resident set so far. A counting allocator would need `unsafe`.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("needs Linux's /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("has VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn read<C: AsRef<[u8]>>(chunks: impl Iterator<Item = C>) {
    let names = ["linux", "windows"].map(|name| (name.to_owned(), WorkerTypeName::from(name)));
    let filter = TaskFilter::new(vec!["workerType".to_owned()], BTreeMap::from(names), None);
    let mut response = PendingResponse::new(&filter);
    for chunk in chunks {
        response.feed(black_box(chunk.as_ref())).expect("valid JSON");
    }
    let (pending, skipped) = response.finish().expect("a complete array");
    assert_eq!(pending.values().map(|tasks| tasks.count).sum::<u64>(), TASKS / 3 * 2 + 1);
    assert_eq!(skipped.unknown_worker_types.values().sum::<u64>(), TASKS / 3);
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "for show")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Returns the response in chunks of [`CHUNK`] bytes, which are generated on demand.
fn chunks() -> impl Iterator<Item = Vec<u8>> {
    let mut tasks = 0..TASKS;
    let mut made: Vec<u8> = Vec::new();
    let mut ended = false;
    std::iter::from_fn(move || {
        while made.len() < CHUNK && !ended {
            match tasks.next() {
                Some(number) => {
                    made.push(if number == 0 { b'[' } else { b',' });
                    made.extend(task(number).bytes());
                }
                None => {
                    made.push(b']');
                    ended = true;
                }
            }
        }
        let chunk: Vec<u8> = made.drain(..made.len().min(CHUNK)).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Returns a task like those of CI queues: 600 bytes, most of them payload.
fn task(number: u64) -> String {
    let worker_type = ["linux", "windows", "unheard-of"][usize::try_from(number % 3).unwrap_or(0)];
    let minute = number / 60 % 60;
    let second = number % 60;
    format!(
        r#"{{"taskId":"fN1SbArXTPSVFNUvaOl{number:06}","provisionerId":"aws-provisioner","workerType":"{worker_type}","created":"2026-03-14T09:{minute:02}:{second:02}.250Z","deadline":"2026-03-15T09:{minute:02}:{second:02}.250Z","priority":5,"expectedDuration":1800.5,"retries":5,"routes":["index.project.build.{number}"],"payload":{{"image":"builder:24.04","command":["/bin/bash","-c","git clone \"$REPO\" src && cd src && make -j4 check"],"env":{{"REPO":"https://git.example.com/project","LEVEL":"3"}},"maxRunTime":7200}},"metadata":{{"name":"build and test","description":"optimised, x86_64","owner":"ci@example.com","source":"https://git.example.com/project/.ci.yml"}}}}"#
    )
}
