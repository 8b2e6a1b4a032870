use std::ffi::OsString;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};

use super::*;

fn error<P: Parser>(args: &[&str]) -> clap::Error {
    match P::try_parse_from(args) {
        Ok(_) => panic!("{args:?} was taken"),
        Err(error) => error,
    }
}

#[test]
fn the_parsers_are_sound() {
    Provisionerd::command().debug_assert();
    SetupAws::command().debug_assert();
    CleanupAws::command().debug_assert();
}

/// Every program and command as help shows it, with the words that call it.
fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut commands = Vec::new();
    for program in Program::ALL {
        let mut command = program.command().disable_help_subcommand(true);
        command.build();
        for inner in command.get_subcommands() {
            let path = [program.name(), inner.get_name()].map(str::to_owned).to_vec();
            commands.push((path, inner.clone()));
        }
        commands.push((vec![program.name().to_owned()], command));
    }
    commands
}

/// The command lines under "Examples:" in the help of a command, without remarks and what the shell
/// does with them.
fn examples(command: &clap::Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().skip(1).take_while(|line| !line.is_empty());
    let line = |line: &str| {
        let line = line.trim().trim_start_matches("source <(");
        let ends = ["  ", " > ", " | ", ")"];
        let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
        line[..end].to_owned()
    };
    lines.map(line).collect()
}

fn parse(line: &str) -> Result<(), clap::Error> {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let program = Program::ALL.into_iter().find(|program| program.name() == words[0]);
    let Some(program) = program else { panic!("no program of ours: {line}") };
    program.command().try_get_matches_from(&words).map(|_| ())
}

#[test]
fn every_command_teaches_by_examples_that_work() {
    for (path, command) in commands() {
        let name = path.join(" ");
        assert!(command.get_about().is_some(), "{name} has no about");
        let help = command.get_after_help().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(help.starts_with("Example"), "{name}: {help}");
        let examples = examples(&command);
        assert!(!examples.is_empty(), "{name}: {help}");
        for line in examples {
            let words = line.split_whitespace().collect::<Vec<_>>();
            assert!(path.iter().all(|part| words.contains(&part.as_str())), "{name}: {line}");
            parse(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

#[test]
fn every_argument_has_help() {
    for (name, command) in commands() {
        for arg in command.get_arguments() {
            assert!(arg.get_help().is_some(), "{name:?}: {}", arg.get_id());
        }
    }
}

#[test]
fn help_fits_a_terminal() {
    for (name, mut command) in commands() {
        for (help, most) in [
            (command.render_help(), 100),
            (command.render_long_help(), 100),
            (command.get_after_help().cloned().unwrap_or_default(), 80),
        ] {
            for line in help.to_string().lines() {
                assert!(line.chars().count() <= most, "{name:?}: {line}");
            }
        }
    }
}

#[test]
fn options_may_stand_before_and_after_the_command() {
    for args in [
        ["provisionerd", "--region", "us-west-2", "--output", "json", "-v", "validate"],
        ["provisionerd", "validate", "--region", "us-west-2", "--output", "json", "-v"],
    ] {
        let parsed = Provisionerd::try_parse_from(args).unwrap();
        assert_eq!(parsed.globals.region.as_deref(), Some("us-west-2"));
        assert_eq!(parsed.globals.output, OutputFormat::Json);
        assert_eq!(parsed.globals.verbose, 1);
    }
}

#[test]
fn the_flags_of_run_and_plan() {
    let args = ["provisionerd", "run", "--once", "--dry-run", "--assume-clean"];
    let Command::Run(run) = Provisionerd::try_parse_from(args).unwrap().command else {
        panic!("not run");
    };
    assert!(run.once && run.dry_run && run.assume_clean);
    let args = ["provisionerd", "plan", "--exit-code", "--snapshot", "x.json"];
    let Command::Plan(plan) = Provisionerd::try_parse_from(args).unwrap().command else {
        panic!("not plan");
    };
    assert!(plan.exit_code && plan.snapshot.is_some() && plan.save_snapshot.is_none());
    error::<Provisionerd>(&["provisionerd", "plan", "--snapshot", "x", "--save-snapshot", "y"]);
}

#[test]
fn the_flags_of_setup_and_cleanup() {
    let setup = SetupAws::try_parse_from(["setup-aws"]).unwrap();
    assert_eq!(setup.prefix, "provisioner-test-");
    assert!(!setup.force && !setup.dry_run && setup.public_key.is_none());

    let cleanup = CleanupAws::try_parse_from(["cleanup-aws"]).unwrap();
    assert_eq!(cleanup.timeout, Duration::from_mins(10));
    assert!(!cleanup.yes && !cleanup.dry_run && cleanup.key_names.is_empty());
    let args = ["cleanup-aws", "--key-name", "a", "--key-name", "b", "--timeout", "1m30s", "--yes"];
    let cleanup = CleanupAws::try_parse_from(args).unwrap();
    assert_eq!(cleanup.timeout, Duration::from_secs(90));
    assert_eq!(cleanup.key_names.len(), 2);
}

#[test]
fn a_role_is_named_or_given_by_arn() {
    let taken = |role: &str| {
        let args = ["provisionerd", "iam-policy", "--worker-role", role];
        Provisionerd::try_parse_from(args).is_ok()
    };
    for role in ["worker", "a+=,.@_-9", "arn:aws:iam::1:role/worker", "arn:aws:iam::1:role/a/b"] {
        assert!(taken(role), "{role}");
    }
    for role in ["", "a/b", "a*", "arn:aws:iam::1:instance-profile/x", "arn:aws:iam::1:role/a*"] {
        assert!(!taken(role), "{role}");
    }
}

#[test]
fn the_flags_of_status() {
    let status = |args: &[&str]| {
        let args = ["provisionerd", "status"].iter().chain(args);
        match Provisionerd::try_parse_from(args).map(|parsed| parsed.command) {
            Ok(Command::Status(status)) => Ok(status),
            Ok(other) => panic!("not status: {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let once = status(&[]).unwrap();
    assert!(!once.watch && once.url.is_none());
    let watch = status(&["--watch", "--interval", "1m", "--url", "http://x/"]).unwrap();
    assert_eq!((watch.watch, watch.interval), (true, Duration::from_mins(1)));
    assert!(status(&["--interval", "1m"]).unwrap_err().contains("--watch"));
    for (interval, why) in [("0s", "the shortest is 1s"), ("5", "`5` is not a duration")] {
        let error = status(&["--watch", "--interval", interval]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    for args in [
        &["provisionerd", "runn"][..],
        &["provisionerd"],
        &["provisionerd", "run", "--twice"],
        &["provisionerd", "validate", "--output", "xml"],
    ] {
        assert_eq!(error::<Provisionerd>(args).exit_code(), 2, "{args:?}");
    }
    for args in [
        &["setup-aws", "--prefix", "a b"][..],
        &["setup-aws", "--prefix", "a-prefix-that-is-one-too-long"],
    ] {
        assert!(error::<SetupAws>(args).to_string().contains("28 characters"), "{args:?}");
    }
    for args in [
        &["cleanup-aws", "--timeout", "ten"][..],
        &["cleanup-aws", "--timeout", "10"],
        &["cleanup-aws", "--key-name", "a/b"],
    ] {
        assert_eq!(error::<CleanupAws>(args).exit_code(), 2, "{args:?}");
    }
    for flag in ["-h", "--help", "-V", "--version"] {
        assert_eq!(error::<SetupAws>(&["setup-aws", flag]).exit_code(), 0);
        assert_eq!(error::<Provisionerd>(&["provisionerd", flag]).exit_code(), 0);
    }
    let version = error::<CleanupAws>(&["cleanup-aws", "-V"]);
    assert_eq!(version.kind(), ErrorKind::DisplayVersion);
    assert_eq!(version.to_string(), format!("cleanup-aws {}\n", crate::VERSION));
    let (number, revision) = crate::VERSION.split_once(' ').unwrap_or((crate::VERSION, ""));
    assert_eq!(number, env!("CARGO_PKG_VERSION"));
    assert!(revision.is_empty() || revision.starts_with('(') && revision.ends_with(')'));
}

#[test]
fn the_colour_is_known_before_the_arguments_are_understood() {
    let asked = |line: &str| {
        let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        Colour::asked_for(&words)
    };
    for (line, colour) in [
        ("provisionerd --help", Colour::Auto),
        ("provisionerd --color never --help", Colour::Never),
        ("provisionerd run --bad --color=always", Colour::Always),
        ("provisionerd --color", Colour::Auto),
        ("provisionerd --color blue", Colour::Auto),
        ("provisionerd --colour=never", Colour::Auto),
        ("provisionerd -- --color=never", Colour::Auto),
    ] {
        assert_eq!(asked(line), colour, "{line}");
    }
}
