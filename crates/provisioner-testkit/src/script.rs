//! Scenarios that a person can read: a script of events, and what the provisioner does about them.
//!
//! ```text
//! worker-type linux c7g.large m7g.large max 20
//! demand linux 10
//! capacity us-west-2a c7g.large none
//! round
//! advance 2m
//! show
//! ```
//!
//! The first lines set the stage ([`Stage`]); from the first event on, all lines are played in order. `#`
//! begins a comment, which is printed too. The output repeats each line after `> ` and says below it what
//! was done and why.

mod command;
mod play;
mod stage;

use std::fmt::Write as _;

use command::Command;
use play::Play;

pub use stage::Stage;

/// A line that cannot be played.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ScriptError {
    /// Its number, from 1.
    pub line: usize,
    /// The problem.
    pub problem: String,
}

/// Plays a script and returns the output.
///
/// # Errors
///
/// A line cannot be parsed, or cannot be played where it stands.
pub fn play(script: &str) -> Result<String, ScriptError> {
    let mut stage = Stage::default();
    let mut play: Option<Play> = None;
    let mut output = String::new();
    for (i, line) in script.lines().enumerate() {
        let at = |problem: String| ScriptError { line: i + 1, problem };
        let words = line.split('#').next().unwrap_or_default().trim();
        if words.is_empty() {
            output.push_str(line.trim_end());
            output.push('\n');
            continue;
        }
        let command = Command::parse(words).map_err(at)?;
        let lines = match (command, &mut play) {
            (Command::Stage(set), None) => {
                stage.set(set);
                Vec::new()
            }
            (Command::Stage(_), Some(_)) => {
                return Err(at("the stage is set before anything happens".to_owned()));
            }
            (Command::Play(act), started) => {
                started.get_or_insert_with(|| Play::begin(&stage)).act(act).map_err(at)?
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(output, "> {}", line.trim());
        for line in lines {
            let _ = writeln!(output, "  {line}");
        }
    }
    if let Some(play) = play {
        for violation in &play.driver.world.violations {
            let _ = writeln!(output, "VIOLATION: {violation}");
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_what_is_done_and_why() {
        let output = play("worker-type linux c7g.large\ndemand linux 2\nround\n").unwrap();
        assert_eq!(
            output,
            "> worker-type linux c7g.large\n> demand linux 2\n> round\n  \
             0s request 2 linux (c7g.large in us-west-2a): 2 tasks wait, none on the way; no room on \
             instances\n"
        );
    }

    #[test]
    fn lines_that_make_no_sense_are_named() {
        for (script, line, part) in [
            ("worker-type linux c7g.large\ndemnad linux 1", 2, "`demnad`"),
            ("demand linux", 1, "demand NAME N"),
            ("advance soon", 1, "`soon`"),
            ("worker-type linux c7g.large\nround\nzones a", 3, "before anything happens"),
            ("worker-type linux c7g.large max many", 1, "`many`"),
            ("worker-type linux c7g.large\ndemand windows 1", 2, "`windows`"),
            ("fault gremlins 3", 1, "`gremlins`"),
        ] {
            let error = play(script).unwrap_err();
            assert_eq!(error.line, line, "{script}: {error}");
            assert!(error.to_string().contains(part), "{script}: {error}");
        }
    }
}
