//! Counts the calls to AWS: every attempt, including the SDK's own repetitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_ec2::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use super::error;
use crate::domain::refusal::RefusalClass;

/// The number of attempts, by API operation and class of refusal; `None` counts the successes.
pub type CallCounts = BTreeMap<(String, Option<RefusalClass>), u64>;

/// Counts the attempts of all clones of a [`Client`](super::Client).
///
/// It does not see the calls by which the SDK fetches credentials.
#[derive(Clone, Debug, Default)]
pub struct CallCounter(Arc<Mutex<CallCounts>>);

impl CallCounter {
    /// Returns the counts so far.
    pub fn counts(&self) -> CallCounts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts one attempt.
    pub fn add(&self, operation: &str, class: Option<RefusalClass>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((operation.to_owned(), class)).or_default() += 1;
    }
}

/// Puts a [`CallCounter`] into an SDK client, and keeps the SDK's trait off the public type.
#[derive(Debug)]
pub(super) struct CountingInterceptor(pub(super) CallCounter);

impl Intercept for CountingInterceptor {
    fn name(&self) -> &'static str {
        "CountingInterceptor"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(metadata) = config.load::<Metadata>() else { return Ok(()) };
        let class = match context.output_or_error() {
            Some(Ok(_)) => None,
            Some(Err(cause)) => Some(match context.response() {
                Some(answer) => {
                    let body = answer.body().bytes().unwrap_or_default();
                    let message = error::element(body, "Message").unwrap_or_default();
                    let status = answer.status().as_u16();
                    error::class_of_answer(status, code(body).as_deref(), &message)
                }
                None => error::class_of_no_answer(cause),
            }),
            None => Some(RefusalClass::Transient),
        };
        self.0.add(metadata.name(), class);
        Ok(())
    }
}

/// Returns the error code of an answer in XML (EC2, STS, IAM) or JSON (SSM). The SDK has parsed it too, but
/// hides it in an error type per operation.
fn code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if text.trim_start().starts_with('{') {
        let body: serde_json::Value = serde_json::from_str(&text).ok()?;
        let name = body.get("__type").or_else(|| body.get("code"))?.as_str()?;
        return Some(name.rsplit('#').next().unwrap_or(name).to_owned());
    }
    error::element(body, "Code")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_in_both_protocols() {
        let xml = b"<Response><Errors><Error><Code> RequestLimitExceeded</Code><Message/></Error>";
        assert_eq!(code(xml).as_deref(), Some("RequestLimitExceeded"));
        let json = br#"{"__type":"com.amazonaws.ssm#ThrottlingException","message":"slow"}"#;
        assert_eq!(code(json).as_deref(), Some("ThrottlingException"));
        for other in [&b""[..], b"<html>", b"{", b"{}", b"\xff<Code>", b"[]"] {
            assert_eq!(code(other), None, "{other:?}");
        }
    }
}
