//! Takes an answer only whole.
//!
//! The SDK's XML reader takes the end of a cut-off answer for the end of the list: half a page of
//! instances would pass for all there are, and half of the requests granted for all of them. HTTP
//! notices most cuts itself, but not one that a proxy hands on as complete. A [`Listing`](super::listing)
//! that cannot be read lacks its end, too.

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

/// Fails a call whose answer lacks its end.
#[derive(Debug)]
pub(crate) struct WholeAnswers;

#[derive(Debug, thiserror::Error)]
#[error("the answer is cut off, or not what EC2 writes")]
struct CutOff;

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        // An error is one whether or not all of its text came.
        if !response.status().is_success() {
            return Ok(());
        }
        match response.body().bytes() {
            // What needs an answer has failed by now for want of one.
            Some([]) => Ok(()),
            Some(body) if !is_whole(body) => Err(CutOff.into()),
            _ => Ok(()),
        }
    }
}

/// Whether the last tag ends EC2's outermost element, which is `<…Response>`.
fn is_whole(body: &[u8]) -> bool {
    let body = body.trim_ascii_end();
    let Some(start) = body.iter().rposition(|byte| *byte == b'<') else { return false };
    let tag = &body[start + 1..];
    if let Some(name) = tag.strip_prefix(b"/") {
        return name
            .strip_suffix(b">")
            .is_some_and(|it| it.trim_ascii_end().ends_with(b"Response"));
    }
    let name = tag.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next();
    tag.ends_with(b"/>") && name.is_some_and(|name| name.ends_with(b"Response"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_outermost_element() {
        for whole in [
            "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>",
            "<?xml version=\"1.0\"?>\n<XResponse xmlns=\"http://x/\"><a>1</a></XResponse >\r\n",
            "<XResponse/>",
            "<XResponse xmlns=\"http://x/\" />",
        ] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        let whole = "<XResponse><aSet><item><id>i-1</id></item></aSet></XResponse>";
        for end in 0..whole.len() {
            assert!(!is_whole(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
    }
}
