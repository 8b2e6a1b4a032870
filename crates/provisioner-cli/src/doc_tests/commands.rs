//! The programs accept the command lines in the documents.

use std::fs;

use clap::error::ErrorKind;

use super::documents;
use crate::args::Program;

/// Returns the words of a command of ours, without pipes, redirections, comments, variables and `sudo`.
fn words(command: &str) -> Option<Vec<String>> {
    let command = command.split(" #").next().unwrap_or_default();
    let words = command.split_whitespace();
    let words = words
        .skip_while(|word| ["sudo", "-E"].contains(word) || word.contains('='))
        .take_while(|word| !["|", ">", ">>", "&", ";"].contains(word));
    let words = words.map(|word| word.trim_matches(['"', '\'']).to_owned());
    let words = words.collect::<Vec<_>>();
    let is_ours = |first: &String| Program::ALL.iter().any(|program| program.name() == first);
    words.first().is_some_and(is_ours).then_some(words)
}

/// Returns our commands in the fenced blocks of a document.
fn typed(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    lines.flat_map(|line| line.split(" && ")).filter_map(words).collect()
}

/// Returns our commands in the text of a document, which may be incomplete.
fn mentioned(text: &str) -> Vec<Vec<String>> {
    let outside = text.split("```").step_by(2).flat_map(str::lines);
    let spans = outside.flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.filter_map(words).collect()
}

fn parsed(words: &[String]) -> Result<(), clap::Error> {
    let program = Program::ALL.into_iter().find(|program| program.name() == words[0]);
    program.unwrap().command().try_get_matches_from(words).map(drop)
}

#[test]
fn every_command_line_is_understood() {
    let mut tried = 0;
    for file in documents() {
        for words in typed(&fs::read_to_string(&file).unwrap()) {
            parsed(&words).unwrap_or_else(|error| panic!("{}: {words:?}: {error}", file.display()));
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried} command lines");
}

#[test]
fn the_options_and_subcommands_that_the_text_mentions_exist() {
    let mut tried = 0;
    for file in documents() {
        for words in mentioned(&fs::read_to_string(&file).unwrap()) {
            if let Err(error) = parsed(&words) {
                let is_unknown = matches!(
                    error.kind(),
                    ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
                );
                assert!(!is_unknown, "{}: {words:?}: {error}", file.display());
            }
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried} commands");
}
