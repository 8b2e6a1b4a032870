//! Turns the SDK's errors into ours. No other file knows their shape.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;

use crate::domain::refusal::{
    NO_ANSWER, NO_CREDENTIALS, Refusal, RefusalClass, TIMEOUT, UNREADABLE, UNRESOLVED,
    classify_answer,
};
use crate::domain::shown::shown;

/// The code of a call that could not be built.
const NOT_SENT: &str = "not-sent";

/// A call to AWS that failed.
///
/// The SDK's own error is not kept: its text is "service error", and its `Debug` the raw answer. The
/// [`Refusal`] holds what it knows, so this error has no source to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The API call (`TerminateInstances`).
    pub operation: &'static str,
    /// The subject of the call (``key pair `x` ``).
    pub resource: String,
    /// The answer of AWS, with its class.
    pub refusal: Refusal,
}

impl Error {
    /// Extracts the refusal from an SDK error.
    #[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
    pub(crate) fn new<E>(
        operation: &'static str,
        resource: impl Into<String>,
        error: SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        Self { operation, resource: resource.into(), refusal: refusal(&error) }
    }

    /// Returns the error for an answer that lacks a required part. Whether the call was carried out is
    /// unknown.
    pub(crate) fn incomplete(
        operation: &'static str,
        resource: impl Into<String>,
        problem: &str,
    ) -> Self {
        let refusal = Refusal {
            class: RefusalClass::Transient,
            code: NO_ANSWER.to_owned(),
            message: problem.to_owned(),
            request_id: None,
        };
        Self { operation, resource: resource.into(), refusal }
    }

    /// Returns the error for a call that could not be built. Nothing was sent.
    pub(crate) fn not_sent(
        operation: &'static str,
        resource: impl Into<String>,
        error: &dyn StdError,
    ) -> Self {
        let refusal = Refusal {
            class: RefusalClass::Invalid,
            code: NOT_SENT.to_owned(),
            message: error.to_string(),
            request_id: None,
        };
        Self { operation, resource: resource.into(), refusal }
    }

    /// Returns the error for a configured name that means nothing in AWS, or several things.
    pub(crate) fn unresolved(
        operation: &'static str,
        resource: impl Into<String>,
        why: String,
    ) -> Self {
        let refusal = Refusal {
            class: RefusalClass::NotFound,
            code: UNRESOLVED.to_owned(),
            message: why,
            request_id: None,
        };
        Self { operation, resource: resource.into(), refusal }
    }

    /// Returns AWS's error code, or our own if there was no answer (`timeout`, `no-answer`,
    /// `no-credentials`, `http-500`) or an unusable one (`unresolved`).
    pub fn code(&self) -> &str {
        &self.refusal.code
    }

    /// Returns the class of the refusal.
    pub fn class(&self) -> RefusalClass {
        self.refusal.class
    }

    /// Returns what the user can do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.refusal.hint()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, resource, refusal } = self;
        let message = shown(&refusal.message);
        write!(f, "{operation} for {} ", shown(resource))?;
        match refusal.code.as_str() {
            TIMEOUT => write!(f, "got no answer in time: {message}"),
            NO_ANSWER => write!(f, "got no answer: {message}"),
            UNREADABLE => write!(f, "got an answer that is not from AWS: {message}"),
            UNRESOLVED => write!(f, "found nothing to use: {message}"),
            NO_CREDENTIALS => write!(f, "was not tried: {message}"),
            _ => write!(f, "was refused: {refusal}"),
        }
    }
}

impl StdError for Error {}

fn refusal<E>(error: &SdkError<E, HttpResponse>) -> Refusal
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let request_id = error.request_id().map(str::to_owned);
    let own = |class, code: &str, message| Refusal {
        class,
        code: code.to_owned(),
        message,
        request_id: request_id.clone(),
    };
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let metadata = answer.err().meta();
            let message = metadata.message().unwrap_or_default().trim().to_owned();
            let Some(code) = metadata.code() else {
                return match status {
                    200..300 => own(
                        RefusalClass::Transient,
                        UNREADABLE,
                        format!("HTTP status {status}, but not the document that was asked for"),
                    ),
                    _ => own(by_status(status), &format!("http-{status}"), without_code(message)),
                };
            };
            // EC2 documents its request id in the body, where the SDK does not look.
            let in_body = || element(answer.raw().body().bytes()?, "RequestID");
            let request_id = request_id.clone().or_else(in_body);
            let class = classify_answer(code, &message).unwrap_or_else(|| by_status(status));
            Refusal { class, code: code.to_owned(), message, request_id }
        }
        _ if is_credentials(error) => {
            own(RefusalClass::Unauthorized, NO_CREDENTIALS, without_credentials(&causes(error)))
        }
        SdkError::ConstructionFailure(_) => own(RefusalClass::Invalid, NOT_SENT, causes(error)),
        SdkError::TimeoutError(_) => own(RefusalClass::Transient, TIMEOUT, causes(error)),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            own(RefusalClass::Transient, TIMEOUT, causes(error))
        }
        SdkError::ResponseError(_) => {
            tracing::debug!("the SDK could not read an answer: {}", causes(error));
            own(RefusalClass::Transient, UNREADABLE, "it is cut off or garbled".to_owned())
        }
        _ => own(RefusalClass::Transient, NO_ANSWER, causes(error)),
    }
}

/// Returns the text of the first element called `name` in an XML answer.
pub(super) fn element(body: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inside, _) = rest.split_once('<')?;
    Some(inside.trim().to_owned())
}

/// Returns the class of an error answer.
pub(super) fn class_of_answer(status: u16, code: Option<&str>, message: &str) -> RefusalClass {
    code.and_then(|code| classify_answer(code, message)).unwrap_or_else(|| by_status(status))
}

/// Returns the class of an attempt without an answer.
pub(super) fn class_of_no_answer(cause: &(dyn StdError + 'static)) -> RefusalClass {
    if is_credentials(cause) { RefusalClass::Unauthorized } else { RefusalClass::Transient }
}

/// Returns the class of an answer without a known code. A 4xx is definite; otherwise the call may have been
/// carried out.
fn by_status(status: u16) -> RefusalClass {
    match status {
        429 => RefusalClass::Throttled,
        401 | 403 => RefusalClass::Unauthorized,
        400..500 => RefusalClass::Invalid,
        _ => RefusalClass::Transient,
    }
}

/// Returns a message for an error answer without a code, which AWS itself never gives.
fn without_code(message: String) -> String {
    if message.is_empty() {
        "the answer has no error code, so it may come from a proxy or another server".to_owned()
    } else {
        message
    }
}

/// Returns why there are no credentials. The SDK's list of all the places where it looked is only logged.
fn without_credentials(causes: &str) -> String {
    if !causes.contains("no providers in chain") {
        return causes.to_owned();
    }
    tracing::debug!("the SDK looked for credentials: {}", shown(causes));
    "there are no credentials in the environment, in AWS's files, or from this machine's role (-v shows \
     the places that were tried)"
        .to_owned()
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

fn is_credentials(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(<dyn StdError>::is::<CredentialsError>)
}

/// Returns the texts of the sources of an SDK error, whose own text says nothing.
///
/// Unlike [`error_chain`](crate::domain::error_chain), it has to repair them: some SDK layers repeat the
/// text of the layer beneath, some span several lines, and one consists of the word `other`.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in chain(error).skip(1) {
        // The list of tried credentials providers has a line for each of them.
        let text = cause
            .to_string()
            .lines()
            .map(str::trim)
            .collect::<Vec<_>>()
            .join("; ")
            .replace(":; ", ": ");
        if text != "other" && !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::config::http::HttpResponse;
    use aws_sdk_ec2::error::{ConnectorError, ErrorMetadata};
    use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesError;
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn answered(status: u16, code: Option<&str>) -> Error {
        let mut metadata = ErrorMetadata::builder().message("because");
        if let Some(code) = code {
            metadata = metadata.code(code);
        }
        let raw = HttpResponse::new(status.try_into().unwrap(), SdkBody::from("<html>"));
        let error = TerminateInstancesError::generic(metadata.build());
        Error::new("TerminateInstances", "2 instances", SdkError::service_error(error, raw))
    }

    #[test]
    fn an_answer_is_classed_by_code_then_by_status() {
        assert_eq!(answered(503, Some("RequestLimitExceeded")).class(), RefusalClass::Throttled);
        assert_eq!(answered(400, Some("SomethingNew")).class(), RefusalClass::Invalid);
        assert_eq!(answered(500, Some("SomethingNew")).class(), RefusalClass::Transient);
        let uncoded = answered(500, None);
        assert_eq!((uncoded.class(), uncoded.code()), (RefusalClass::Transient, "http-500"));
    }

    #[test]
    fn an_answer_that_is_not_from_aws_is_told_in_our_words() {
        let page = answered(200, None);
        assert_eq!((page.class(), page.code()), (RefusalClass::Transient, "unreadable"));
        assert_eq!(
            page.to_string(),
            "TerminateInstances for 2 instances got an answer that is not from AWS: HTTP status 200, but \
             not the document that was asked for"
        );
        assert!(page.hint().is_some());
    }

    #[test]
    fn the_text_says_what_was_tried_and_never_the_raw_answer() {
        assert_eq!(
            answered(400, Some("InvalidInstanceID.NotFound")).to_string(),
            "TerminateInstances for 2 instances was refused: InvalidInstanceID.NotFound: because"
        );
    }

    #[test]
    fn the_request_id_is_taken_from_where_it_is() {
        let error = || {
            let metadata = ErrorMetadata::builder().code("X").build();
            TerminateInstancesError::generic(metadata)
        };
        let body = "<Response><Errors/><RequestID>in-body</RequestID></Response>";
        let mut raw = HttpResponse::new(400.try_into().unwrap(), SdkBody::from(body));
        let in_body = lost(SdkError::service_error(error(), raw));
        assert_eq!(in_body.refusal.request_id.as_deref(), Some("in-body"));
        raw = HttpResponse::new(400.try_into().unwrap(), SdkBody::from(body));
        raw.headers_mut().insert("x-amzn-requestid", "in-header");
        let in_header = lost(SdkError::service_error(error(), raw));
        assert_eq!(in_header.refusal.request_id.as_deref(), Some("in-header"));
    }

    fn lost(error: SdkError<TerminateInstancesError, HttpResponse>) -> Error {
        Error::new("TerminateInstances", "2 instances", error)
    }

    #[test]
    fn no_answer_leaves_the_call_open() {
        let error = lost(SdkError::timeout_error("too slow"));
        assert_eq!((error.class(), error.code()), (RefusalClass::Transient, "timeout"));
        let error = lost(SdkError::dispatch_failure(ConnectorError::io("connection reset".into())));
        assert_eq!((error.class(), error.code()), (RefusalClass::Transient, "no-answer"));
        assert!(error.to_string().contains("connection reset"), "{error}");
        let error = lost(SdkError::construction_failure("bad"));
        assert_eq!(error.class(), RefusalClass::Invalid);
    }

    #[test]
    fn missing_credentials_are_distinguished_from_a_missing_network() {
        let cause = CredentialsError::not_loaded("no providers in chain provided credentials");
        let error = lost(SdkError::dispatch_failure(ConnectorError::other(cause.into(), None)));
        assert_eq!(error.class(), RefusalClass::Unauthorized);
        let text = error.to_string();
        assert!(text.contains("there are no credentials in"), "{text}");
        assert!(!text.contains("providers"), "the SDK's inner words: {text}");
        assert!(error.hint().is_some());
    }
}
