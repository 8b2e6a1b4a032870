//! `provisionerd plan`: what the next round would do, and why.

use crate::args::PlanArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// Plans from AWS and the queue, or from a snapshot.
#[expect(clippy::unused_async, reason = "the driver comes next")]
pub(super) async fn plan(args: PlanArgs, _context: Context) -> Result<ExitStatus, Failure> {
    #[cfg(not(feature = "aws"))]
    if args.snapshot.is_none() {
        return Err(super::needs_aws("`provisionerd plan` without `--snapshot`"));
    }
    drop(args);
    Err(Failure::failed("`plan` is not part of this build yet"))
}
