//! The man pages, made from the command lines, the exit codes and the configuration's keys.

mod command;
mod configuration;
mod markup;
mod surroundings;

use serde::Serialize;

use crate::args::Program;

/// What stands at the foot of every page.
const SOURCE: &str = concat!("provisioner ", env!("CARGO_PKG_VERSION"));
/// What stands at the head.
const MANUAL: &str = "EC2 capacity provisioner";
/// The pages are as old as the program. Empty, it would not be quoted, and what follows would move up.
const NO_DATE: &str = " ";

/// One page.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Page {
    /// Without the section (`provisionerd-run`).
    pub(crate) name: String,
    /// 1: commands, 5: files.
    pub(crate) section: u8,
    /// What `man` reads.
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

/// Makes every page.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = Vec::new();
    for program in Program::ALL {
        // `help` is a command of clap's and teaches nothing.
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
