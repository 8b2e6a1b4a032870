//! Waits for IAM, whose changes are not visible at once (IAM User Guide, "Changes that I make are not
//! always immediately visible").

use std::time::Duration;

use crate::aws::Error;

/// The pauses between tries, half a minute in all. Our own choice: IAM usually needs some seconds.
pub(crate) const PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// Repeats a call while its error may come from IAM lagging behind an earlier call.
pub(super) async fn patiently<T>(
    may_be_lag: impl Fn(&Error) -> bool,
    call: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    for pause in PAUSES {
        match call().await {
            Err(error) if may_be_lag(&error) => {
                tracing::debug!(%error, "IAM may lag; tried again");
                tokio::time::sleep(pause).await;
            }
            other => return other,
        }
    }
    call().await
}

/// Returns whether IAM still shows what was detached before, or is busy with the same resource.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error.code(), "DeleteConflict" | "ConcurrentModification")
}
