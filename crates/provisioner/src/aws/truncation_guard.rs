//! Refuses answers whose end is missing.
//!
//! The SDK's XML reader takes the end of a truncated answer for the end of the list: half a page of
//! instances would pass for all of them, and half of the granted requests for all of them. HTTP itself
//! notices most truncations, but not one that a proxy forwards as complete. A
//! [`Listing`](super::listing) that cannot be read is truncated on purpose and ends up here, too.

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

/// Fails a call whose answer is truncated.
#[derive(Debug)]
pub(crate) struct TruncationGuard;

#[derive(Debug, thiserror::Error)]
#[error("the answer is truncated, or is not from EC2")]
struct TruncatedAnswer;

impl Intercept for TruncationGuard {
    fn name(&self) -> &'static str {
        "TruncationGuard"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // An error stays an error even if some of its text is missing.
        if !response.status().is_success() {
            return Ok(());
        }
        match response.body().bytes() {
            // A call that needs an answer has failed in the SDK by now.
            Some([]) => Ok(()),
            Some(body) if !is_untruncated(body) => Err(TruncatedAnswer.into()),
            _ => Ok(()),
        }
    }
}

/// Returns whether the last tag ends EC2's outermost element, which is called `<…Response>`.
fn is_untruncated(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    let Some(start) = body.iter().rposition(|byte| *byte == b'<') else { return false };
    let tag = &body[start + 1..];
    if let Some(name) = tag.strip_prefix(b"/") {
        return name
            .strip_suffix(b">")
            .is_some_and(|name| name.trim_ascii_end().ends_with(b"Response"));
    }
    let name = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next();
    tag.ends_with(b"/>") && name.is_some_and(|name| name.ends_with(b"Response"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_outermost_element() {
        for complete in [
            "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>",
            "<?xml version=\"1.0\"?>\n<XResponse xmlns=\"http://x/\"><a>1</a></XResponse >\r\n",
            "<XResponse/>",
            "<XResponse xmlns=\"http://x/\" />",
        ] {
            assert!(is_untruncated(complete.as_bytes()), "{complete}");
        }
        let complete = "<XResponse><aSet><item><id>i-1</id></item></aSet></XResponse>";
        for end in 0..complete.len() {
            assert!(!is_untruncated(&complete.as_bytes()[..end]), "{}", &complete[..end]);
        }
    }
}
