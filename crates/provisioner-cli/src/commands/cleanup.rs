//! `cleanup-aws`.

use crate::args::CleanupAws;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Says what is missing.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "as with AWS")]
pub(super) async fn cleanup(_args: CleanupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`cleanup-aws`"))
}

/// Removes everything under the key-names.
#[cfg(feature = "aws")]
#[expect(clippy::unused_async, reason = "the library's part comes next")]
pub(super) async fn cleanup(_args: CleanupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(Failure::failed("`cleanup-aws` is not part of this build yet"))
}
