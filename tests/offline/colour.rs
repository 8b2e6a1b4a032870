//! `--color`, which also help and usage errors obey.

use crate::{provisionerd, text};

/// Whether the output for these arguments and this environment has control sequences.
fn coloured(args: &[&str], environment: &[(&str, &str)]) -> bool {
    let output = provisionerd(args).envs(environment.iter().copied()).output();
    let output = output.expect("provisionerd runs");
    (text(&output.stdout) + &text(&output.stderr)).contains('\x1b')
}

#[test]
fn help_and_usage_errors_obey_it() {
    // Some programs treat this variable like a terminal.
    let terminal = ("CLICOLOR_FORCE", "1");
    for args in [&["--help"][..], &["run", "--help"], &["run", "--no-such-flag"], &["runn"]] {
        let with = |colour: &'static str| [&[colour], args].concat();
        assert!(!coloured(args, &[]), "{args:?}: no terminal");
        assert!(coloured(args, &[terminal]), "{args:?}");
        assert!(!coloured(&with("--color=never"), &[terminal]), "{args:?}");
        assert!(coloured(&with("--color=always"), &[]), "{args:?}");
        assert!(coloured(&with("--color=always"), &[("NO_COLOR", "1")]), "{args:?}");
    }
}

#[test]
fn on_the_command_line_it_wins_over_the_environment() {
    let refused = ["config", "--config", "/nowhere/provisioner.toml"];
    let with = |colour: &'static str| [&refused[..], &["--color", colour]].concat();
    assert!(!coloured(&refused, &[]));
    assert!(coloured(&with("always"), &[("NO_COLOR", "1")]));
    assert!(!coloured(&with("auto"), &[("NO_COLOR", "1")]));
}
