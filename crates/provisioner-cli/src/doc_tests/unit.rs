//! The systemd unit matches the program.

use super::{assigned, is_a_key, read};
use crate::args::Program;
use crate::exit::ExitStatus;

const FILE: &str = "examples/systemd/provisionerd.service";

fn only<'a>(unit: &'a str, key: &'a str) -> &'a str {
    let mut values = assigned(unit, key);
    let value = values.next().unwrap_or_else(|| panic!("no {key}"));
    assert_eq!(values.next(), None, "{key} twice");
    value
}

#[test]
fn its_command_lines_are_understood() {
    let unit = read(FILE);
    for start in ["ExecStart", "ExecStartPre"] {
        for line in assigned(&unit, start) {
            let (path, args) = line.split_once(' ').unwrap();
            let program = path.rsplit('/').next().unwrap();
            assert_eq!(program, Program::Provisionerd.name());
            let words = std::iter::once(program).chain(args.split_whitespace());
            Program::Provisionerd.command().try_get_matches_from(words).unwrap();
        }
    }
    assert!(only(&unit, "ExecStart").ends_with("provisionerd run"));
    assert_eq!(only(&unit, "Type"), "notify");
    assert_eq!(only(&unit, "ExecReload"), "/usr/local/bin/provisionerd reload");
}

#[test]
fn its_variables_are_keys_of_the_configuration() {
    let unit = read(FILE);
    let mut state_dir = None;
    for assignment in assigned(&unit, "Environment") {
        let (variable, value) = assignment.split_once('=').unwrap();
        assert!(is_a_key(variable), "{variable}");
        if variable == "PROVISIONER__PROVISIONER__STATE_DIR" {
            state_dir = value.strip_prefix("%S/");
        }
        if variable == "PROVISIONER__QUEUE__TOKEN_FILE" {
            let credential = value.strip_prefix("%d/").unwrap();
            let loaded = only(&unit, "LoadCredential");
            assert_eq!(loaded.split(':').next(), Some(credential));
        }
    }
    // systemd makes only this directory writable.
    assert_eq!(state_dir, Some(only(&unit, "StateDirectory")));
}

#[test]
fn a_configuration_error_is_not_restarted() {
    let unit = read(FILE);
    assert_eq!(only(&unit, "Restart"), "on-failure");
    let never = only(&unit, "RestartPreventExitStatus").split_whitespace();
    let never = never.map(|code| code.parse::<u8>().unwrap()).collect::<Vec<_>>();
    assert_eq!(never, [ExitStatus::USAGE.code()]);
}
