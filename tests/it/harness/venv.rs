//! The Python environment with the pinned moto, made once and shared by all runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the environment's Python, after making the environment if need be.
///
/// It lives in the target directory under the hash of its requirements. Environments cannot be
/// moved, so it is made in place; `.complete`, written last, says that it was finished.
pub(super) fn python() -> PathBuf {
    let requirements = fs::read_to_string(source("requirements.txt")).expect("requirements.txt");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    let home = target.join(format!("moto-venv-{:016x}", fnv(requirements.as_bytes())));
    let python = home.join("bin/python");

    let lock =
        File::create(target.join("moto-venv.lock")).expect("a lock file in the target directory");
    lock.lock().expect("the lock of the virtual environment");
    if home.join(".complete").exists() {
        return python;
    }
    let _ = fs::remove_dir_all(&home);
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&home),
        "these tests need python3 (3.10 or later) with its `venv` module (on Debian: python3-venv)",
    );
    run(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "-r",
            ])
            .arg(source("requirements.txt")),
        "moto's packages could not be installed",
    );
    File::create(home.join(".complete")).expect("the marker of a finished environment");
    python
}

/// A file of `tests/moto`.
pub(super) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moto").join(name)
}

#[track_caller]
fn run(command: &mut Command, hint: &str) {
    let output = command.output().unwrap_or_else(|error| panic!("{hint}: {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{hint}: {command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

/// FNV-1a: the same in every release of Rust, unlike the standard library's hasher.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
