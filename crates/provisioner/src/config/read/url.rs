//! URLs in the configuration.

use reqwest::Url;

use crate::config::setting::Rejection;
use crate::domain::loopback;

/// Reads an `http` or `https` URL to which a path can be added. Messages do not repeat the URL, because it
/// may contain a password.
pub(super) fn parse(text: &str) -> Result<Url, Rejection> {
    let refuse = |message: &str, hint: &str| Err(Rejection::new(message, hint));
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            return refuse(&format!("not a URL: {error}"), "such as https://queue.example.com/v1");
        }
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return refuse("not an http or https URL", "such as https://queue.example.com/v1");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "the URL holds a user name or password",
            "take them out; for the queue, use token-file",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("the URL has a query or fragment", "end it with the path; /jobs?… is added");
    }
    Ok(url)
}

/// Returns whether a URL leads to this machine, so that nothing goes over a wire.
pub(super) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(loopback::is_loopback)
}
