//! moto as AWS on this machine: its Python environment, its server, and children talked to in JSON.
//!
//! Shared with `examples/quickstart.rs` by `#[path]`; so errors are text for the user, and nothing panics.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;

/// The error is a message for the user.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Returns the Python of a virtual environment with the pinned moto, made once under the target
/// directory and shared by all runs. `making` is called before it is made.
///
/// It is named by the hash of its requirements. Environments cannot be moved, so it is made in place;
/// `.complete`, written last, says that it was finished.
pub(crate) fn python(target: &Path, making: impl FnOnce()) -> Result<PathBuf> {
    let requirements = source("requirements.txt");
    let pinned = fs::read(&requirements)
        .map_err(|error| format!("failed to read {}: {error}", requirements.display()))?;
    let home = target.join(format!("moto-venv-{:016x}", fnv(&pinned)));
    let python = home.join("bin/python");

    let lock = target.join("moto-venv.lock");
    let lock = File::create(&lock)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|error| format!("failed to lock {}: {error}", lock.display()))?;
    let complete = home.join(".complete");
    if complete.exists() {
        return Ok(python);
    }
    making();
    let _ = fs::remove_dir_all(&home);
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&home),
        "moto needs python3 (3.10 or later) with its `venv` module (on Debian: python3-venv)",
    )?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"];
    run(
        Command::new(&python).args(pip).arg(requirements),
        "moto's packages could not be installed",
    )?;
    File::create(&complete)
        .map_err(|error| format!("failed to make {}: {error}", complete.display()))?;
    drop(lock);
    Ok(python)
}

fn run(command: &mut Command, hint: &str) -> Result<()> {
    let output = command.output().map_err(|error| format!("{hint}: {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{hint}: {command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ))
}

/// FNV-1a: the same in every release of Rust, unlike the standard library's hasher.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A file of `tests/moto`.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto").join(name)
}

/// Starts moto with `tests/moto/server.py` around it; returns its process and its port.
///
/// It ends when its standard input closes: with this process, however this process ends.
pub(crate) fn start_server(python: &Path, stderr: Stdio) -> Result<(Talker, u16)> {
    let mut talker = Talker::start(python, "server.py", stderr)?;
    let hello = talker.hear()?;
    let port = hello["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    Ok((talker, port.ok_or_else(|| format!("moto's server names no port: {hello}"))?))
}

/// A child that is talked to in lines of JSON. It ends when its standard input closes.
pub(crate) struct Talker {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Talker {
    /// Starts a script of `tests/moto`.
    pub(crate) fn start(python: &Path, script: &str, stderr: Stdio) -> Result<Self> {
        let mut child = Command::new(python)
            .args(["-B", "-u"])
            .arg(source(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| format!("failed to start {}: {error}", python.display()))?;
        let to = child.stdin.take();
        let from = child.stdout.take().ok_or("the child's standard output is not a pipe")?;
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    /// Says one thing and returns the answer.
    pub(crate) fn ask(&mut self, question: &Value) -> Result<Value> {
        let to = self.to.as_mut().ok_or("the child's standard input is closed")?;
        writeln!(to, "{question}")
            .and_then(|()| to.flush())
            .map_err(|error| format!("the child does not listen: {error}"))?;
        self.hear()
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.from
            .read_line(&mut line)
            .map_err(|error| format!("the child says nothing: {error}"))?;
        serde_json::from_str(&line).map_err(|error| format!("not JSON ({error}): {line:?}"))
    }

    /// Closes the child's standard input and waits for its end.
    pub(crate) fn hang_up(mut self) -> std::io::Result<ExitStatus> {
        drop(self.to.take());
        self.child.wait()
    }
}
