//! The man pages, generated from the command lines, the exit codes and the keys of the configuration.

mod command;
mod configuration;
mod markup;
mod surroundings;

use serde::Serialize;

use crate::args::Program;

/// The text at the foot of every page.
const SOURCE: &str = concat!("provisioner ", env!("CARGO_PKG_VERSION"));
/// The text at the head of every page.
const MANUAL: &str = "EC2 capacity provisioner";
/// The pages have no date, because they belong to a version. An empty text would not be quoted, and the next
/// field would take its place.
const NO_DATE: &str = " ";

/// A man page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    /// The name without the section (`provisionerd-run`).
    pub(crate) name: String,
    /// The section: 1 for commands, 5 for files.
    pub(crate) section: u8,
    /// The source that `man` reads.
    pub(crate) roff: String,
}

impl Page {
    fn new(name: impl Into<String>, section: u8, roff: &str) -> Self {
        Self { name: name.into(), section, roff: markup::ascii(roff) }
    }

    /// Returns the name of its file.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }
}

/// Generates every page.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for program in Program::ALL {
        // The command `help` is clap's and needs no page.
        let mut command = program.command().disable_help_subcommand(true);
        command.build();
        pages.push(command::page(&command));
        pages.extend(command.get_subcommands().map(command::page));
    }
    pages.push(configuration::page());
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_with_every_section() {
        let pages = pages();
        let names = pages.iter().map(Page::file_name).collect::<Vec<_>>();
        for program in Program::ALL {
            assert!(names.contains(&format!("{}.1", program.name())), "{names:?}");
            for command in program.command().get_subcommands() {
                let name = format!("{}-{}.1", program.name(), command.get_name());
                assert!(names.contains(&name), "{name}");
            }
        }
        for Page { name, roff, .. } in pages.iter().filter(|page| page.section == 1) {
            for section in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "ENVIRONMENT", "FILES", "SEE ALSO"]
            {
                let heading = format!(".SH {section}\n").replace("SEE ALSO", "\"SEE ALSO\"");
                assert!(roff.contains(&heading), "{name}: {section}");
            }
            assert!(roff.contains(".SH \"EXIT STATUS\"\n"), "{name}");
            for (status, _) in crate::exit::ExitStatus::ALL {
                assert!(roff.contains(&format!("\n\\fB{}\\fR\n", status.code())), "{name}");
            }
        }
        for Page { name, section, roff } in &pages {
            let title = format!("\n.TH {name} {section} \" \" \"{SOURCE}\" \"{MANUAL}\"\n");
            assert!(roff.contains(&title), "{name}: {roff:.300}");
            assert!(roff.is_ascii() && !roff.contains('`'), "{name}");
        }
    }

    #[test]
    fn the_file_has_a_page_with_every_key() {
        let pages = pages();
        let page = pages.iter().find(|page| page.file_name() == "provisioner.toml.5").unwrap();
        let text = page.roff.replace("\\-", "-");
        for key in provisioner::internal::config::keys() {
            let name = key.path.rsplit('.').next().unwrap();
            assert!(text.contains(name), "{}", key.path);
        }
    }
}
