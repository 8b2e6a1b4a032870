//! The bearer token. It is read for every request, so that a rotated file takes effect at once, and is
//! not kept.

use std::path::Path;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::address;
use super::error::Error;

/// Returns the `Authorization` header for `url`, from the token in `file`.
pub(super) async fn authorization(file: &Path, url: &Url) -> Result<HeaderValue, Error> {
    if url.scheme() != "https" && !address::is_loopback(url) {
        return Err(Error::TokenInTheClear { url: address::shown(url) });
    }
    let token = tokio::fs::read_to_string(file)
        .await
        .map_err(|source| Error::TokenFile { path: file.to_owned(), source })?;
    let unusable = |reason| Error::Token { path: file.to_owned(), reason };
    let token = token.trim();
    if token.is_empty() {
        return Err(unusable("it is empty"));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("it holds more than one word of printable ASCII"));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| unusable("it cannot stand in an HTTP header"))?;
    value.set_sensitive(true);
    Ok(value)
}
