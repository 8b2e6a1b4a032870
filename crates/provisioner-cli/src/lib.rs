//! The common parts of the three programs: arguments, output, exit codes, logs, signals, and the commands.
//!
//! Each program's `main` calls one function of this crate. Data goes to stdout and everything else to
//! stderr; errors are printed once, at the boundary ([`exit::Failure`]). Nothing below `commands` reads
//! the environment, and this crate makes no decisions: the library does.
#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod args;
#[cfg(any(feature = "aws", test))]
mod callers;
mod commands;
#[cfg(feature = "aws")]
mod confirm;
#[cfg(feature = "aws")]
mod connect;
#[cfg(any(feature = "aws", test))]
mod connections;
mod context;
#[cfg(feature = "aws")]
mod descriptors;
#[cfg(test)]
mod doc_tests;
pub mod exit;
#[cfg(feature = "aws")]
mod health;
mod load;
mod man;
#[cfg(feature = "aws")]
mod metrics;
#[cfg(feature = "aws")]
mod notify;
mod output;
mod program;
#[cfg(feature = "aws")]
mod reload;
mod render;
mod screen;
#[cfg(feature = "aws")]
mod server;
mod signals;
mod stderr;
mod style;
mod telemetry;
#[cfg(feature = "aws")]
mod workers;

/// The version as `--version` prints it: with the revision and its date where the build knows them.
pub const VERSION: &str = env!("BUILD_VERSION");
/// The commit that the programs were built from; empty where the build did not know it.
#[cfg(feature = "aws")]
const REVISION: &str = env!("BUILD_REVISION");

/// Runs `provisionerd` with this process's arguments and environment.
pub fn provisionerd() -> ExitCode {
    program::run(commands::provisionerd)
}

/// Runs `setup-aws` with this process's arguments and environment.
pub fn setup_aws() -> ExitCode {
    program::run(commands::setup_aws)
}

/// Runs `cleanup-aws` with this process's arguments and environment.
pub fn cleanup_aws() -> ExitCode {
    program::run(commands::cleanup_aws)
}
