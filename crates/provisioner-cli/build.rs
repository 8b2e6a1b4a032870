//! Finds the revision that `--version` and the metrics name.
//!
//! `PROVISIONER_REVISION` wins, for packagers. Otherwise git is asked, but only about a checkout of this
//! project: the sources may lie in somebody else's repository. Without either, the version stands alone.

use std::env;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const VARIABLE: &str = "PROVISIONER_REVISION";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = env::var(VARIABLE).ok().filter(|revision| !revision.is_empty());
    let (revision, date) = match given {
        Some(revision) => (revision, None),
        None => checkout().map_or_else(Default::default, |(revision, date)| (revision, Some(date))),
    };
    let version = env!("CARGO_PKG_VERSION");
    let version = match date {
        _ if revision.is_empty() => version.to_owned(),
        Some(date) => format!("{version} ({revision} {date})"),
        None => format!("{version} ({revision})"),
    };
    println!("cargo::rustc-env=BUILD_REVISION={revision}");
    println!("cargo::rustc-env=BUILD_VERSION={version}");
}

/// Returns the commit that is checked out and its date.
fn checkout() -> Option<(String, String)> {
    if !Path::new(ROOT).join(".git").exists() {
        return None;
    }
    let commit = git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])?;
    let (revision, date) = commit.split_once(' ')?;
    // A commit writes the reflog, also where the branch has no file of its own yet; the other two are for
    // repositories without one. A missing file would rerun this script in every build.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in [Some("logs/HEAD"), Some("HEAD"), branch.as_deref()].into_iter().flatten() {
        let path = git(&["rev-parse", "--git-path", name])?;
        let path = Path::new(ROOT).join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Some((revision.to_owned(), date.to_owned()))
}

/// Returns what git prints, without its last line's end; `None` if it fails or is not installed.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-C", ROOT])
        .args(arguments)
        // Set in hooks, where they may name another repository.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
