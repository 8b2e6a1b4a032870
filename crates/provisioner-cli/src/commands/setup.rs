//! `setup-aws`.

use crate::args::SetupAws;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Says what is missing.
#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "as with AWS")]
pub(super) async fn setup(_args: SetupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`setup-aws`"))
}

/// Makes a key-name.
#[cfg(feature = "aws")]
#[expect(clippy::unused_async, reason = "the library's part comes next")]
pub(super) async fn setup(_args: SetupAws, _context: Context) -> Result<ExitStatus, Failure> {
    Err(Failure::failed("`setup-aws` is not part of this build yet"))
}
