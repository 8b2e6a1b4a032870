//! The programs accept the command lines in the documents.

use std::fs;

use super::documents;
use crate::args::Program;

/// Returns our command lines in the fenced blocks of a document, without pipes, redirections, comments,
/// variables and `sudo`.
fn lines(text: &str) -> Vec<Vec<String>> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| block.lines());
    let line = |line: &str| {
        let line = line.split(" #").next().unwrap_or_default();
        let words = line.split_whitespace();
        let words = words
            .skip_while(|word| ["sudo", "-E"].contains(word) || word.contains('='))
            .take_while(|word| !["|", ">", ">>", "&&", "&", ";"].contains(word));
        let words = words.map(|word| word.trim_matches(['"', '\'']).to_owned());
        let words = words.collect::<Vec<_>>();
        let is_ours = |first: &String| Program::ALL.iter().any(|program| program.name() == first);
        words.first().is_some_and(is_ours).then_some(words)
    };
    lines.filter_map(line).collect()
}

#[test]
fn every_command_line_is_understood() {
    let mut tried = 0;
    for file in documents() {
        for words in lines(&fs::read_to_string(&file).unwrap()) {
            let program = Program::ALL.into_iter().find(|program| program.name() == words[0]);
            let parsed = program.unwrap().command().try_get_matches_from(&words);
            parsed.unwrap_or_else(|error| panic!("{}: {words:?}: {error}", file.display()));
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried} command lines");
}
