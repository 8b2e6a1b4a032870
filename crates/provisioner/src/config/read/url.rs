//! URLs in the configuration.

use std::net::IpAddr;

use reqwest::Url;

use crate::config::setting::Refusal;

/// Reads an `http` or `https` URL to add a path to. Messages do not repeat the URL: it may hold a
/// password.
pub(super) fn parse(text: &str) -> Result<Url, Refusal> {
    let refuse = |message: &str, hint: &str| Err(Refusal::new(message, hint));
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

/// Whether a URL leads to this machine, so that nothing goes over a wire.
pub(super) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
