//! The command lines of the three programs.

mod cleanup;
mod global;
mod provisionerd;
mod setup;
#[cfg(test)]
mod tests;

pub use cleanup::CleanupAws;
pub(crate) use global::CONFIG_VARIABLE;
pub use global::{Colour, GlobalArgs, LogFormat, OutputFormat};
pub use provisionerd::{Command, PlanArgs, Provisionerd, RunArgs};
pub use setup::SetupAws;
