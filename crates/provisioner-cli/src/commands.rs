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
mod run;
mod setup;
mod simulate;
mod status;
#[cfg(test)]
mod tests;
mod validate;

use crate::args::{CleanupAws, Command, Provisionerd, SetupAws};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// `provisionerd`.
pub(crate) async fn provisionerd(
    args: Provisionerd,
    context: Context,
) -> Result<ExitStatus, Failure> {
    let Provisionerd { globals, command } = args;
    match command {
        // Large futures are kept on the heap.
        Command::Run(args) => Box::pin(run::run(args, context)).await,
        Command::Plan(args) => plan::plan(args, context).await,
        Command::Status(args) => Box::pin(status::status(args, context)).await,
        Command::Validate(args) => Box::pin(validate::validate(args, context)).await,
        Command::Config => config::config(context),
        Command::IamPolicy(args) => iam_policy::iam_policy(&args, context),
        Command::Demo(args) => Box::pin(demo::demo(args, context)).await,
        Command::Simulate(args) => simulate::simulate(&args, &globals, context),
        Command::Completions(args) => completions::completions(args, context),
        Command::Man(args) => man::man(&args, context),
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
