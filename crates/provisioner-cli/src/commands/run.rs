//! `provisionerd run`: the loop.

use crate::args::RunArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Runs rounds until interrupted, or one.
#[cfg(feature = "aws")]
#[expect(clippy::unused_async, reason = "the driver comes next")]
pub(super) async fn run(_args: RunArgs, _context: Context) -> Result<ExitStatus, Failure> {
    Err(Failure::failed("`run` is not part of this build yet"))
}

/// Says what is missing.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "as with AWS")]
pub(super) async fn run(_args: RunArgs, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`provisionerd run`"))
}
