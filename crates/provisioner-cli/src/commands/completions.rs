//! `provisionerd completions`: scripts with which a shell completes command lines.

use std::fmt;

use clap_complete::Shell;
use serde::Serialize;

use crate::args::{CompletionsArgs, LoadNames, Program};
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
        let script = with_names(shell, program, &String::from_utf8_lossy(&script));
        Self { program: program.name(), shell: shell.to_string(), script }
    }
}

/// Lists the worker types of the configuration in force.
const WORKER_TYPES: &str = "provisionerd config 2>/dev/null | \
                            sed -n 's/^worker-types\\.\\([a-z0-9-]*\\)\\..*/\\1/p' | sort -u";

/// Has the script offer what only the configuration knows, and files beside the names of loads.
fn with_names(shell: Shell, program: Program, script: &str) -> String {
    if program != Program::Provisionerd {
        return script.to_owned();
    }
    let loads = LoadNames::ALL.join(" ");
    let mut option = "";
    let mut lines: Vec<String> = Vec::new();
    for line in script.lines() {
        lines.push(match shell {
            Shell::Bash => {
                if let Some(name) = line.trim().strip_suffix(')').filter(|it| it.starts_with("--"))
                {
                    option = name;
                }
                match option {
                    "--worker-type" => line.replace(
                        "compgen -f \"${cur}\"",
                        "compgen -W \"$(_provisionerd_worker_types)\" -- \"${cur}\"",
                    ),
                    "--load" => {
                        line.replace("\"${cur}\"))", "\"${cur}\"; compgen -f -- \"${cur}\"))")
                    }
                    _ => line.to_owned(),
                }
            }
            Shell::Zsh if line.trim_start().starts_with("'--worker-type=") => {
                line.replace(":NAME:_default'", ":NAME:_provisionerd_worker_types'")
            }
            Shell::Zsh if line.trim_start().starts_with("'--load=") => {
                let end = line.find(":LOAD:").map_or(line.len(), |at| at + ":LOAD:".len());
                format!("{}_provisionerd_loads' \\", &line[..end])
            }
            Shell::Fish if line.contains(" -l worker-type ") => {
                format!("{line} -f -a \"({WORKER_TYPES})\"")
            }
            Shell::Fish if line.contains(" -l load ") => line.replace(" -r -f -a ", " -r -F -a "),
            _ => line.to_owned(),
        });
    }
    let functions = match shell {
        Shell::Bash => format!("_provisionerd_worker_types() {{ {WORKER_TYPES}; }}\n"),
        Shell::Zsh => format!(
            "_provisionerd_worker_types() {{ compadd -- ${{(f)\"$({WORKER_TYPES})\"}} }}\n\
             _provisionerd_loads() {{ compadd -- {loads}; _files }}\n"
        ),
        _ => String::new(),
    };
    // zsh reads the first line of a script, so the functions come after it.
    let at = usize::from(lines.first().is_some_and(|line| line.starts_with("#compdef")));
    lines.insert(at, functions);
    lines.join("\n") + "\n"
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
        offered_on(&std::env::var("PATH").unwrap(), program, words)
    }

    fn offered_on(path: &str, program: Program, words: &[&str]) -> Vec<String> {
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
            .env("PATH", path)
            .output()
            .expect("these tests need bash");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn worker_types_and_loads_are_completed() {
        let simulate =
            |words: &[&str]| offered(Program::Provisionerd, &[&["simulate"], words].concat());
        assert!(simulate(&["--load", "syn"]).contains(&"synthetic:bursty-ci".to_owned()));
        assert!(simulate(&["--load", "rec"]).contains(&"recorded".to_owned()));
        // There is no provisionerd on the path of these tests but this one.
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("provisionerd");
        let config = "worker-types.linux.image-id = 1\nworker-types.linux.tags = 2\n\
                      worker-types.win-11.image-id = 1\naws.region = 3";
        std::fs::write(&fake, format!("#!/bin/sh\ncat <<'END'\n{config}\nEND\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&fake, mode).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let words = ["simulate", "--worker-type", ""];
        assert_eq!(offered_on(&path, Program::Provisionerd, &words), ["linux", "win-11"]);
        for (shell, parts) in [
            (Shell::Zsh, [":NAME:_provisionerd_worker_types'", ":LOAD:_provisionerd_loads' \\"]),
            (Shell::Fish, ["-a \"(provisionerd config", " -r -F -a \"synthetic"]),
        ] {
            let Completions { script, .. } = Completions::of(shell, Program::Provisionerd);
            for part in parts {
                assert!(script.contains(part), "{shell}: {part}");
            }
        }
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
