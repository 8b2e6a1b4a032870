//! `provisionerd completions`: scripts with which a shell completes command lines.

use std::fmt;

use clap_complete::Shell;
use serde::Serialize;

use crate::args::{CompletionsArgs, Program};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::output::Report;

/// Prints the script.
pub(super) fn completions(
    args: CompletionsArgs,
    mut context: Context,
) -> Result<ExitStatus, Failure> {
    let CompletionsArgs { shell, program } = args;
    context.output.report(&Completions::of(shell, program))?;
    Ok(ExitStatus::DONE)
}

#[derive(Serialize)]
struct Completions {
    program: &'static str,
    shell: String,
    script: String,
}

impl Completions {
    fn of(shell: Shell, program: Program) -> Self {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut program.command(), program.name(), &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        Self { program: program.name(), shell: shell.to_string(), script }
    }
}

impl Report for Completions {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.script)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_has_a_script_for_every_program() {
        for program in Program::ALL {
            for shell in Shell::value_variants() {
                let Completions { script, .. } = Completions::of(*shell, program);
                for word in [program.name(), "endpoint-url", "output"] {
                    assert!(script.contains(word), "{shell} {}: {word}", program.name());
                }
                let commands = program.command();
                for command in commands.get_subcommands() {
                    assert!(script.contains(command.get_name()), "{shell} {}", command.get_name());
                }
            }
        }
    }

    /// Returns what bash offers at the end of a command line.
    fn offered(program: Program, words: &[&str]) -> Vec<String> {
        let Completions { script, .. } = Completions::of(Shell::Bash, program);
        // Calls the completion as readline does: with the command, the word and the word before it.
        let ask = r#"
            eval "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            registered=$(complete -p "$1")
            function=${registered#*-F }
            "${function%% *}" "$1" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let output = Command::new("bash")
            .args(["--norc", "--noprofile", "-c", ask, "bash", &script, program.name()])
            .args(words)
            .output()
            .expect("these tests need bash");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_command_lines() {
        assert_eq!(offered(Program::Provisionerd, &["pl"]), ["plan"]);
        assert_eq!(
            offered(Program::Provisionerd, &["run", "--assume"]),
            ["--assume-clean", "--assume-alone"]
        );
        assert_eq!(offered(Program::Provisionerd, &["plan", "--output", ""]), ["text", "json"]);
        assert_eq!(offered(Program::SetupAws, &["--publ"]), ["--public-key"]);
        assert_eq!(offered(Program::CleanupAws, &["--ti"]), ["--timeout"]);
    }
}
