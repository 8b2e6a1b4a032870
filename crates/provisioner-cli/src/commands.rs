//! The commands: each loads what it needs, calls the library, and reports.

mod cleanup;
mod completions;
mod config;
mod demo;
mod iam_policy;
#[cfg(feature = "aws")]
mod local;
mod man;
mod plan;
mod reload;
mod run;
mod setup;
mod simulate;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use crate::args::{CleanupAws, Command, GlobalArgs, Provisionerd, SetupAws};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// `provisionerd`.
pub(crate) async fn provisionerd(
    args: Provisionerd,
    context: Context,
) -> Result<ExitStatus, Failure> {
    let Provisionerd { globals, command } = args;
    refuse_meaningless(&globals, &command)?;
    match command {
        // Large futures are kept on the heap.
        Command::Run(args) => Box::pin(run::run(args, context)).await,
        Command::Plan(args) => plan::plan(args, context).await,
        Command::Status(args) => Box::pin(status::status(args, context)).await,
        Command::Reload => reload::reload(&context).await,
        Command::Validate(args) => Box::pin(validate::validate(args, context)).await,
        Command::Config => config::config(context),
        Command::IamPolicy(args) => iam_policy::iam_policy(&args, context),
        Command::Demo(args) => Box::pin(demo::demo(args, context)).await,
        Command::Simulate(args) => simulate::simulate(&args, &globals, context),
        Command::Completions(args) => completions::completions(args, context),
        Command::Man(args) => man::man(&args, context),
    }
}

/// Refuses options that would change nothing. What the environment sets for other commands is no mistake.
fn refuse_meaningless(globals: &GlobalArgs, command: &Command) -> Result<(), Failure> {
    let name = match command {
        Command::Demo(_) => "demo",
        Command::Completions(_) => "completions",
        Command::Man(_) => "man",
        Command::Run(_)
        | Command::Plan(_)
        | Command::Status(_)
        | Command::Reload
        | Command::Validate(_)
        | Command::Config
        | Command::IamPolicy(_)
        | Command::Simulate(_) => return Ok(()),
    };
    let GlobalArgs { config, region, profile, endpoint_url, .. } = globals;
    let given = [
        ("--config", config.is_some()),
        ("--region", region.is_some()),
        ("--profile", profile.is_some()),
        ("--endpoint-url", endpoint_url.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(Failure::usage(format!("{option} means nothing to `{name}`"))
            .with_hint(format!(
                "`provisionerd {name}` reads no configuration and does not ask AWS"
            ))),
        None => Ok(()),
    }
}

/// `setup-aws`.
pub(crate) async fn setup_aws(args: SetupAws, context: Context) -> Result<ExitStatus, Failure> {
    setup::setup(args, context).await
}

/// `cleanup-aws`.
pub(crate) async fn cleanup_aws(args: CleanupAws, context: Context) -> Result<ExitStatus, Failure> {
    cleanup::cleanup(args, context).await
}

/// The failure of a build without AWS where AWS is needed.
#[cfg(not(feature = "aws"))]
fn needs_aws(what: &str) -> Failure {
    Failure::usage(format!("{what} needs AWS, and this program was built without it"))
        .with_hint("build it with `cargo build --release`, or `cargo install --path .`")
}
