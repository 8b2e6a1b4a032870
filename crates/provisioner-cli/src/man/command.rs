//! The page of a command.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{MANUAL, NO_DATE, Page, SOURCE, markup, surroundings};

/// Generates the page of a command that has been built.
pub(super) fn page(command: &Command) -> Page {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let man = Man::new(command.clone()).date(NO_DATE).source(SOURCE).manual(MANUAL);
    let mut start = Vec::new();
    let AfterHelp { examples, remarks } = AfterHelp::of(command);
    // Writing to memory cannot fail.
    let _ = generated(&man, command, &mut start);
    let mut roff = Roff::new();
    if !remarks.is_empty() {
        roff.control("SH", ["NOTES"]);
        for remark in remarks {
            roff.control("PP", []);
            roff.text(markup::inline(&remark));
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    for example in examples {
        roff.control("nf", []);
        roff.text([roman(example)]);
        roff.control("fi", []);
    }
    surroundings::sections(&mut roff);
    roff.control("SH", ["SEE ALSO"]);
    let others = ["provisionerd(1)", "setup-aws(1)", "cleanup-aws(1)", "provisioner.toml(5)"];
    let others = others.into_iter().filter(|other| *other != format!("{name}(1)"));
    roff.text([roman(others.collect::<Vec<_>>().join(", "))]);
    let start = markup::without_backticks(&String::from_utf8_lossy(&start));
    Page::new(name, 1, &(start + &roff.render()))
}

fn generated(man: &Man, command: &Command, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    description(command).to_writer(page)?;
    man.render_options_section(page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    Ok(())
}

/// Returns the long text of the help. Its first paragraph is the short text, which lacks its full stop.
fn description(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let text = command.get_long_about().or(command.get_about());
    let text = text.map(ToString::to_string).unwrap_or_default();
    for paragraph in text.split("\n\n") {
        roff.control("PP", []);
        let stop = if paragraph.ends_with('.') { "" } else { "." };
        roff.text(markup::inline(&format!("{paragraph}{stop}")));
    }
    roff
}

/// The text below the options in `--help`.
#[derive(Debug, Default, PartialEq, Eq)]
struct AfterHelp {
    /// The command lines, some with a remark.
    examples: Vec<String>,
    /// The paragraphs, without the exit codes, which have their own section.
    remarks: Vec<String>,
}

impl AfterHelp {
    fn of(command: &Command) -> Self {
        let long = command.get_after_long_help().or(command.get_after_help());
        long.map(|text| Self::parse(&text.to_string())).unwrap_or_default()
    }

    fn parse(text: &str) -> Self {
        let mut parsed = Self::default();
        for paragraph in text.split("\n\n") {
            let lines = paragraph.lines().map(str::trim).filter(|line| !line.is_empty());
            if paragraph.starts_with("Example") {
                parsed.examples.extend(lines.skip(1).map(str::to_owned));
            } else if !paragraph.starts_with("Exit codes:") {
                parsed.remarks.extend([lines.collect::<Vec<_>>().join(" ")]);
            }
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_split_into_examples_and_remarks() {
        let text = "Examples:\n  a b    c\n  d\n\nOne\ntwo\n\nExit codes: 0 done";
        let AfterHelp { examples, remarks } = AfterHelp::parse(text);
        assert_eq!(examples, ["a b    c", "d"]);
        assert_eq!(remarks, ["One two"]);
    }
}
