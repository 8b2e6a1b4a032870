//! Loads the configuration for every command.

use std::path::{Path, PathBuf};

use provisioner::internal::aws::shared_config::SharedConfig;
use provisioner::internal::config::{
    self, ConfigError, Loaded, Origin, Override, Sources, Warning,
};
use provisioner::internal::domain::ids::KeyName;
use provisioner::internal::settings::Settings;

use crate::args::GlobalArgs;
use crate::context::Context;
use crate::exit::Failure;

/// Loads the configuration and prints its warnings on stderr.
pub(crate) fn load_config(context: &Context) -> Result<Loaded, Failure> {
    let loaded = load_quietly(context).map_err(|error| {
        warn(context, &error.warnings);
        failure(&error)
    })?;
    warn(context, &loaded.warnings);
    for file in &loaded.files_read {
        tracing::debug!(file = %file.display(), "read configuration from `{}`", file.display());
    }
    Ok(loaded)
}

/// Loads another file as the configuration; the environment and the flags apply to it too.
pub(crate) fn load_other(context: &Context, file: &Path) -> Result<Loaded, Failure> {
    let loaded = from(context, Some(file.to_owned())).map_err(|error| {
        warn(context, &error.warnings);
        failure(&error)
    })?;
    warn(context, &loaded.warnings);
    Ok(loaded)
}

/// Loads the configuration and leaves its warnings to the caller.
pub(crate) fn load_quietly(context: &Context) -> Result<Loaded, ConfigError> {
    from(context, context.globals.config.clone())
}

fn from(context: &Context, explicit_file: Option<PathBuf>) -> Result<Loaded, ConfigError> {
    let mut sources = Sources::new(context.current_dir.clone());
    sources.explicit_file = explicit_file;
    sources.environment.clone_from(&context.environment);
    sources.overrides = overrides(&context.globals);
    config::load(&sources)
}

fn warn(context: &Context, warnings: &[Warning]) {
    for Warning { message, hint } in warnings {
        context.notices.warning(message, hint);
    }
}

fn overrides(globals: &GlobalArgs) -> Vec<Override> {
    [
        ("aws.region", "--region", &globals.region),
        ("aws.profile", "--profile", &globals.profile),
        ("aws.endpoint-url", "--endpoint-url", &globals.endpoint_url),
    ]
    .into_iter()
    .filter_map(|(key, flag, value)| {
        let value = value.clone()?;
        Some(Override { key: key.to_owned(), value, flag: flag.to_owned() })
    })
    .collect()
}

/// Returns all problems of a configuration, each with its place and fix.
pub(crate) fn failure(error: &ConfigError) -> Failure {
    error
        .problems
        .iter()
        .map(|problem| {
            let config::ConfigProblem { origin, key, message, hint } = problem;
            let key = if key.is_empty() { String::new() } else { format!("`{key}`: ") };
            Failure::usage(format!("{origin}: {key}{message}")).with_hint(hint.clone())
        })
        .reduce(Failure::and)
        .unwrap_or_else(|| Failure::usage("the configuration is not usable"))
}

/// Refuses a configured AWS profile that does not exist. The SDK itself checks one that only `AWS_PROFILE`
/// names.
pub(crate) fn known_profile(loaded: &Loaded, context: &Context) -> Result<(), Failure> {
    let Some(profile) = &loaded.settings.aws.profile else { return Ok(()) };
    SharedConfig::read(&context.environment).check(profile).map_err(|error| {
        let named = loaded.entries.iter().find(|entry| entry.key == "aws.profile");
        let origin = named.map_or(&Origin::Default, |entry| &entry.origin);
        Failure::usage(format!("{origin}: `aws.profile`: {error}")).with_hint(error.hint())
    })
}

/// Returns the key-name, which marks everything in AWS that is ours.
pub(crate) fn key_name(settings: &Settings) -> Result<&KeyName, Failure> {
    settings.provisioner.key_name.as_ref().ok_or_else(no_key_name)
}

/// Returns the failure of a configuration without a key-name.
pub(crate) fn no_key_name() -> Failure {
    Failure::usage("`provisioner.key-name` is not set")
        .with_hint("run `setup-aws`: it creates a key-name and saves it")
}

/// Refuses a region other than the one that `setup-aws` saved, where our resources are.
pub(crate) fn same_region(settings: &Settings, in_force: &str) -> Result<(), Failure> {
    match &settings.aws.saved_region {
        Some(saved) if saved != in_force => Err(Failure::usage(format!(
            "the region in force is `{in_force}`, but the key-name was created in `{saved}`; nothing was changed"
        ))
        .with_hint(format!(
            "use `--region {saved}`, or another configuration file with a key-name of its own"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::style::Paint;

    #[test]
    fn flags_become_overrides() {
        let globals = GlobalArgs { region: Some("eu-west-1".to_owned()), ..GlobalArgs::default() };
        let overrides = overrides(&globals);
        assert_eq!(overrides.len(), 1);
        assert_eq!(overrides[0].key, "aws.region");
        assert_eq!(overrides[0].flag, "--region");
        assert_eq!(overrides[0].value, "eu-west-1");
    }

    #[test]
    fn every_problem_is_printed() {
        let mut sources = Sources::new("/nowhere");
        sources.overrides = ["a.b", "c.d"]
            .map(|key| Override {
                key: key.to_owned(),
                value: "1".to_owned(),
                flag: "--x".to_owned(),
            })
            .to_vec();
        sources.system_file = "/nowhere/x".into();
        let failure = failure(&config::load(&sources).unwrap_err());
        assert_eq!(failure.status().code(), 2);
        assert!(failure.render(Paint::Plain).matches("error: --x: ").count() >= 2);
    }
}
