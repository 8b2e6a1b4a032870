//! `provisionerd run` as a process: its configuration, and what can be read of it from outside.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use provisioner_sim::deployment::{GROUP, IMAGE, key};
use provisioner_sim::query_api::{ACCOUNT, REGION};
use tempfile::TempDir;

use super::http::Client;
use super::openmetrics;
use super::stand_in::StandIn;
use super::world::{INSTANCE_TYPES, WORKER_TYPES, ZONES, worker_type};

/// As it was built for this run.
pub(crate) const BUILT: &str = env!("CARGO_BIN_EXE_provisionerd");

/// Nothing here takes longer, with as many rounds as anybody asks for.
const LIMIT: Duration = Duration::from_mins(20);
/// So many bytes of the log's end are shown when something went wrong.
const LOG_SHOWN: usize = 4096;

/// The two keys of `[provisioner]` that set the pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: &'static str,
    pub(crate) min_interval: &'static str,
}

/// A daemon in the background. It is killed at the end.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    url: String,
    dir: TempDir,
}

/// What `/proc` says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// `VmHWM`: the largest resident set so far, in KiB.
    pub(crate) peak_kib: u64,
    /// `VmRSS`: the resident set, in KiB.
    pub(crate) resident_kib: u64,
    /// `RssFile`: of that, the program's own file, in KiB.
    pub(crate) file_kib: u64,
    /// Processor time so far.
    pub(crate) processor: Duration,
}

/// Rounds so far, and how long they took together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rounds {
    pub(crate) count: f64,
    pub(crate) seconds: f64,
}

impl Daemon {
    /// Starts one on `stand_in`; there is room for `spare` more machines than there are.
    pub(crate) fn start(program: &str, stand_in: &StandIn, pace: Pace, spare: usize) -> Self {
        let dir = TempDir::with_prefix("provisioner-scale-").expect("a temporary directory");
        let config = dir.path().join("provisioner.toml");
        fs::write(&config, configuration(stand_in, pace, spare, &dir)).expect("the configuration");
        let log = File::create(dir.path().join("log")).expect("the log");
        let child = Command::new(program)
            .args(["run", "--assume-clean", "--config"])
            .arg(&config)
            .current_dir(dir.path())
            .env_clear()
            .env("HOME", dir.path())
            .env("AWS_ACCESS_KEY_ID", "bench")
            .env("AWS_SECRET_ACCESS_KEY", "bench")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(std::env::vars().filter(|(name, _)| name.starts_with("MALLOC_")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut daemon = Self { child, url: String::new(), dir };
        let url = daemon.until("listens", |daemon| {
            let log = daemon.log();
            let (_, rest) = log.split_once("listening on ")?;
            rest.split_once('"').map(|(url, _)| url.to_owned())
        });
        daemon.url = url;
        daemon
    }

    /// Waits until `found` finds something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut found: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && began.elapsed() < LIMIT,
                "the daemon never {what}; its log ends with:\n{}",
                self.log_end()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The last of it.
    pub(crate) fn log_end(&self) -> String {
        let log = self.log();
        let from = log.len().saturating_sub(LOG_SHOWN);
        log[log.ceil_char_boundary(from)..].to_owned()
    }

    /// The size of the soft state on disk, and when it was last written.
    pub(crate) fn memory_file(&self) -> Option<fs::Metadata> {
        let deployment = format!("{ACCOUNT}-{REGION}-{}", key());
        let path: PathBuf = [deployment.as_str(), "memory.json"].iter().collect();
        self.dir.path().join("state").join(path).metadata().ok()
    }

    pub(crate) fn usage(&self) -> Usage {
        let proc = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).expect("Linux's /proc")
        };
        let status = proc("status");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
        };
        // Its name, in brackets, may hold blanks. User and system time are the 14th and 15th field
        // (proc_pid_stat(5)), in hundredths of a second on every Linux.
        let stat = proc("stat");
        let fields: Vec<&str> =
            stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks: u64 =
            fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
        Usage {
            peak_kib: kib("VmHWM"),
            resident_kib: kib("VmRSS"),
            file_kib: kib("RssFile"),
            processor: Duration::from_millis(10 * ticks),
        }
    }

    pub(crate) fn rounds(&self, client: &Client) -> Rounds {
        let text = client.get(&format!("{}/metrics", self.url));
        let families = openmetrics::parse(&text).expect("OpenMetrics");
        let sample = |name: &str| {
            let samples = families.iter().flat_map(|family| &family.samples);
            samples.filter(|sample| sample.name == name).map(|sample| sample.value).sum()
        };
        let failed: f64 = families
            .iter()
            .flat_map(|family| &family.samples)
            .filter(|sample| sample.name == "provisioner_reconcile_total")
            .filter(|sample| sample.labels.get("outcome").is_none_or(|outcome| outcome != "done"))
            .map(|sample| sample.value)
            .sum();
        assert!(failed < 1.0, "rounds failed:\n{}", self.log_end());
        Rounds {
            count: sample("provisioner_reconcile_duration_seconds_count"),
            seconds: sample("provisioner_reconcile_duration_seconds_sum"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already, if something went wrong.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configuration(stand_in: &StandIn, pace: Pace, spare: usize, dir: &TempDir) -> String {
    let Pace { interval, min_interval } = pace;
    let most = stand_in.machines().div_ceil(WORKER_TYPES) + spare;
    let mut text = format!(
        r#"[provisioner]
key-name = "{key}"
interval = "{interval}"
min-interval = "{min_interval}"
state-dir = "{state}"

[aws]
region = "{REGION}"
account-id = "{ACCOUNT}"
endpoint-url = "{ec2}"

[queue]
host = "127.0.0.1"
port = {port}

[server]
listen = "127.0.0.1:0"

[worker-defaults]
image-id = "{IMAGE}"
instance-types = {INSTANCE_TYPES:?}
availability-zones = {ZONES:?}
security-groups = ["{GROUP}"]
max-price = 0.10
max-instances = {most}
tags = {{ team = "ci" }}
"#,
        key = key(),
        state = dir.path().join("state").display(),
        ec2 = stand_in.ec2(),
        port = stand_in.queue().port(),
    );
    for number in 0..WORKER_TYPES {
        let _ = writeln!(text, "\n[worker-types.{}]", worker_type(number));
    }
    text
}
