//! The command lines of the three programs.

mod cleanup;
mod global;
mod provisionerd;
mod setup;
#[cfg(test)]
mod tests;

pub use cleanup::CleanupAws;
pub use global::{Colour, GlobalArgs, LogFormat, OutputFormat};
pub use provisionerd::{Command, PlanArgs, Provisionerd, RunArgs};
pub use setup::SetupAws;
