//! `provisionerd man`: the man pages.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::args::ManArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::man::{self, Page};
use crate::output::Report;

/// Prints a page, or writes all of them.
pub(super) fn man(args: &ManArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let pages = man::pages();
    match &args.dir {
        Some(dir) => {
            let written = write(&pages, &context.current_dir.join(dir))?;
            context.output.report(&Written { written })?;
        }
        None => context.output.report(&Shown { page: find(pages, &args.page)? })?,
    }
    Ok(ExitStatus::DONE)
}

/// Finds a page by its name, with or without its section, or by the command that it describes.
fn find(pages: Vec<Page>, name: &str) -> Result<Page, Failure> {
    let names = pages.iter().map(|page| page.name.clone()).collect::<Vec<_>>().join(", ");
    let of_command = format!("provisionerd-{name}");
    let matches =
        |page: &Page| page.name == name || page.name == of_command || page.file_name() == name;
    pages.into_iter().find(matches).ok_or_else(|| {
        Failure::usage(format!("there is no page `{name}`"))
            .with_hint(format!("the pages are {names}"))
    })
}

/// Writes every page to the place below `dir` where `man` finds it, and returns the files.
fn write(pages: &[Page], dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for page in pages {
        let dir = dir.join(format!("man{}", page.section));
        let file = dir.join(page.file_name());
        fs::create_dir_all(&dir).and_then(|()| fs::write(&file, &page.roff)).map_err(|error| {
            Failure::failed(format!("failed to write {}", file.display())).caused_by(&error)
        })?;
        written.push(file);
    }
    Ok(written)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    page: Page,
}

impl Report for Shown {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.page.roff)
    }
}

#[derive(Serialize)]
struct Written {
    written: Vec<PathBuf>,
}

impl Report for Written {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.iter().try_for_each(|file| writeln!(f, "{}", file.display()))
    }
}
