//! Process tests of everything that works without AWS, in builds with and without it.

#![expect(clippy::expect_used, reason = "a test that cannot go on panics")]

mod colour;
mod demo;
mod reload;
mod simulate;

use std::process::{Command, Output};

/// `provisionerd`, where no configuration of the machine or the user is found.
fn provisionerd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provisionerd"));
    command.args(args).env_clear().current_dir(std::env::temp_dir());
    command
}

/// Runs it to its end.
fn run(args: &[&str]) -> Output {
    provisionerd(args).output().expect("provisionerd runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
