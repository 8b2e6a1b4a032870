//! A user's working directory: a configuration file, an account, a queue, and the three programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use toml::{Table, Value};

use super::process::{Daemon, Finished};
use super::{Account, FakeQueue, IMAGE, REGION, World, free_port};

/// A user's working directory. Nothing of the machine's own configuration reaches the programs.
pub(crate) struct Project {
    pub(crate) account: Account,
    pub(crate) queue: FakeQueue,
    dir: TempDir,
}

impl Project {
    /// A configuration with the worker type `linux`, without a key-name; AWS has not been touched.
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("provisioner-it-").expect("a temporary directory");
        for name in ["home", "config", "state", "work"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let project = Self { account: Account::new(), queue: FakeQueue::start(), dir };
        let text = format!(
            r#"# The tests' own.
[provisioner]
interval = "1s"
min-interval = "100ms"
state-dir = "{state}"

[aws]
region = "{REGION}"

[queue]
host = "127.0.0.1"
port = {port}
timeout = "2s"

[server]
listen = ""

[worker-types.linux]
image-id = "{IMAGE}"
instance-types = ["m5.large"]
availability-zones = ["{REGION}a"]
max-price = 0.1
max-instances = 20
"#,
            state = project.state_dir().display(),
            port = project.queue.port(),
        );
        project.write_config(&text);
        project
    }

    /// The same after `setup-aws`.
    #[track_caller]
    pub(crate) fn set_up() -> Self {
        let project = Self::new();
        project.setup_aws(&[]).ok();
        project
    }

    /// The same with a daemon that listens on the port returned.
    #[track_caller]
    pub(crate) fn listening() -> (Self, u16) {
        let project = Self::set_up();
        let port = free_port();
        project.set("server.listen", format!("127.0.0.1:{port}"));
        (project, port)
    }

    /// The same with a key pair of the user's own making instead.
    #[track_caller]
    pub(crate) fn with_key_pair_by_hand(name: &str) -> Self {
        let project = Self::new();
        project.account.make_key_pair(name);
        project.set("provisioner.key-name", name);
        project.set("aws.account-id", project.account.number.as_str());
        project
    }

    /// Where the programs run; `provisioner.toml` is here.
    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// `provisioner.toml`.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.work().join("provisioner.toml")
    }

    /// `provisioner.state-dir`.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// `$XDG_CONFIG_HOME`.
    pub(crate) fn xdg_config(&self) -> PathBuf {
        self.dir.path().join("config")
    }

    /// Where this project's ledger is, once it has one.
    #[track_caller]
    pub(crate) fn ledger_dir(&self) -> PathBuf {
        self.state_dir().join(format!("{}-{REGION}-{}", self.account.number, self.key_name()))
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.config_path()).expect("provisioner.toml")
    }

    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.config_path(), text).expect("provisioner.toml");
    }

    /// The value at a dotted key, if it is there.
    pub(crate) fn value(&self, key: &str) -> Option<Value> {
        let mut value = Value::Table(self.config().parse().expect("TOML"));
        for part in key.split('.') {
            value = value.get(part)?.clone();
        }
        Some(value)
    }

    /// Sets the value at a dotted key. Comments are lost.
    #[track_caller]
    pub(crate) fn set(&self, key: &str, value: impl Into<Value>) {
        self.edit(key, Some(value.into()));
    }

    /// Removes the value at a dotted key.
    #[track_caller]
    pub(crate) fn unset(&self, key: &str) {
        self.edit(key, None);
    }

    #[track_caller]
    fn edit(&self, key: &str, value: Option<Value>) {
        let mut root: Table = self.config().parse().expect("TOML");
        let mut table = &mut root;
        let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
        for part in parents.split('.').filter(|part| !part.is_empty()) {
            let next = table.entry(part).or_insert_with(|| Value::Table(Table::new()));
            table = next.as_table_mut().expect("a table");
        }
        match value {
            Some(value) => table.insert(last.to_owned(), value),
            None => table.remove(last),
        };
        self.write_config(&root.to_string());
    }

    /// Adds a worker type like `linux`.
    pub(crate) fn add_worker_type(&self, name: &str) {
        let linux = self.value("worker-types.linux").expect("the worker type `linux`");
        self.set(&format!("worker-types.{name}"), linux);
    }

    /// The key-name in the configuration.
    #[track_caller]
    pub(crate) fn key_name(&self) -> String {
        let name = self.value("provisioner.key-name").expect("a key-name in provisioner.toml");
        name.as_str().expect("text").to_owned()
    }

    pub(crate) fn world(&self) -> World {
        self.account.world()
    }

    /// How many instances under our key-name live, and how many requests are open.
    #[track_caller]
    pub(crate) fn live_and_open(&self) -> (usize, usize) {
        let world = self.world();
        let key_name = self.key_name();
        (world.live(&key_name).len(), world.open(&key_name).len())
    }

    /// A program of ours, to be run here, in this account.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let path = match program {
            "setup-aws" => env!("CARGO_BIN_EXE_setup-aws"),
            "cleanup-aws" => env!("CARGO_BIN_EXE_cleanup-aws"),
            "provisionerd" => env!("CARGO_BIN_EXE_provisionerd"),
            other => panic!("no such program: {other}"),
        };
        let mut command = Command::new(path);
        command.args(args).current_dir(self.work()).env_clear();
        for kept in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
            .env("HOME", self.dir.path().join("home"))
            .env("XDG_CONFIG_HOME", self.xdg_config())
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .env("RUST_BACKTRACE", "1")
            .envs(self.account.env());
        command
    }

    /// Runs a program to its end.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Finished {
        Self::finish(&mut self.command(program, args))
    }

    /// Runs a prepared command to its end.
    #[track_caller]
    pub(crate) fn finish(command: &mut Command) -> Finished {
        Daemon::spawn(command).wait()
    }

    #[track_caller]
    pub(crate) fn setup_aws(&self, args: &[&str]) -> Finished {
        self.run("setup-aws", args)
    }

    #[track_caller]
    pub(crate) fn cleanup_aws(&self, args: &[&str]) -> Finished {
        self.run("cleanup-aws", args)
    }

    #[track_caller]
    pub(crate) fn provisionerd(&self, args: &[&str]) -> Finished {
        self.run("provisionerd", args)
    }

    /// One round: `provisionerd run --once`.
    #[track_caller]
    pub(crate) fn round(&self) -> Finished {
        self.provisionerd(&["run", "--once"])
    }

    /// Starts `provisionerd run`.
    #[track_caller]
    pub(crate) fn daemon(&self) -> Daemon {
        Daemon::spawn(&mut self.command("provisionerd", &["run"]))
    }

    /// Starts a prepared command in the background.
    #[expect(
        clippy::unused_self,
        reason = "it runs in the project's directory, which must outlive it"
    )]
    pub(crate) fn spawn(&self, command: &mut Command) -> Daemon {
        Daemon::spawn(command)
    }

    /// The names of the files beside the configuration, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.work()).expect("the working directory");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Writes a file beside the configuration; returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        fs::write(&path, text).expect("a file");
        path
    }
}

/// The mode bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
