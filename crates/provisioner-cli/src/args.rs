//! The command lines of the three programs.

mod cleanup;
mod global;
mod iam_policy;
mod program;
mod provisionerd;
mod setup;
mod simulate;
mod status;
#[cfg(test)]
mod tests;

pub use cleanup::CleanupAws;
pub(crate) use global::CONFIG_VARIABLE;
pub use global::{Colour, GlobalArgs, LogFormat, OutputFormat};
pub use iam_policy::{IamPolicyArgs, PolicyFor};
pub use program::Program;
pub(crate) use program::without_meaningless;
pub use provisionerd::{
    Command, CompletionsArgs, DemoArgs, ManArgs, PlanArgs, Provisionerd, RunArgs, Speed,
    ValidateArgs,
};
pub use setup::{KeyTypeArg, SetupAws};
pub use simulate::{BootTime, KnowledgeArg, Patience, SimulateArgs, WorldArg};
pub(crate) use simulate::{LoadNames, RECORDED};
pub use status::StatusArgs;
