//! The lock that the daemon and the workers' listener share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::domain::ids::InstanceId;
use crate::engine::{StopAnswer, StopAskError, StopConsent, StopConsentCounts, WorkerReport};

/// Where workers ask whether to stop: shared by the driver of an engine and by the server that hears the
/// workers. The default hears no worker.
#[derive(Clone, Debug, Default)]
pub struct StopListener(Arc<Mutex<StopConsent>>);

impl StopListener {
    /// Shares `consent`.
    pub fn new(consent: StopConsent) -> Self {
        Self(Arc::new(Mutex::new(consent)))
    }

    /// Hears a worker that shows the token from its user data, and asks `from` an address that EC2 names for
    /// its machine.
    ///
    /// # Errors
    /// The instance is not known, was not launched with that token, or has another address; nothing is changed
    /// then.
    pub fn hear(
        &self,
        instance: &InstanceId,
        token: &str,
        from: IpAddr,
        report: WorkerReport,
        now: Timestamp,
    ) -> Result<StopAnswer, StopAskError> {
        self.lock().hear(instance, token, from, report, now)
    }

    /// What was heard and answered since the start.
    pub fn counts(&self) -> StopConsentCounts {
        self.lock().counts()
    }

    /// Locks the state, for the engine to decide a round with.
    pub fn lock(&self) -> MutexGuard<'_, StopConsent> {
        let Self(consent) = self;
        consent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
