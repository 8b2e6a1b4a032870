//! `provisionerd validate`: would `provisionerd run` take this configuration? Asks nobody.

use std::fmt;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use provisioner::config::{ConfigError, Warning};
use provisioner::settings::Settings;
use serde::Serialize;

use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use crate::output::Report;

/// Checks the configuration and prints what it amounts to.
pub(super) fn validate(mut context: Context) -> Result<ExitStatus, Failure> {
    let loaded = match load::load_quietly(&context) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&mut context, &error),
    };
    let settings = &loaded.settings;
    let mut warnings = loaded.warnings.iter().map(Finding::from).collect::<Vec<_>>();
    warnings.extend(doubts(settings, &context));
    let report = Verdict {
        ok: true,
        files: loaded.files_read.clone(),
        worker_types: worker_types(settings),
        warnings,
        problems: Vec::new(),
    };
    let problems = refusals(settings);
    match problems.into_iter().reduce(Failure::and) {
        None => {
            context.output.report(&report)?;
            Ok(ExitStatus::DONE)
        }
        Some(failure) => {
            context.output.report(&Verdict { ok: false, ..report })?;
            Err(failure)
        }
    }
}
