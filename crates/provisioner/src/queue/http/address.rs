//! Addresses of servers: how they are read, and how messages show them.

use reqwest::Url;

use crate::domain::loopback;

use super::error::Error;

/// Reads a base URL.
pub(crate) fn parse(base_url: &str) -> Result<Url, Error> {
    match Url::parse(base_url) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(Error::Address { url: shown(&url) }),
        Err(_) => Err(Error::Address { url: shown_text(base_url) }),
    }
}

/// Returns the URL of the tasks in `state`.
pub(super) fn jobs(base: &Url, state: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/jobs", base.path().trim_end_matches('/')));
    url.query_pairs_mut().append_pair("state", state);
    url
}

/// Returns `url` as messages show it, without user name and password.
pub(crate) fn shown(url: &Url) -> String {
    without_user(url.clone()).to_string()
}

/// Returns a text that should be a URL as messages show it.
pub fn shown_text(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if url.has_host() => shown(&url),
        // What is not a URL cannot be redacted by its parts; a password would stand before the `@`.
        Ok(_) | Err(_) => text.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Returns `url` without user name and password.
pub(super) fn without_user(mut url: Url) -> Url {
    // Only URLs without a host refuse this, and they have no user either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Returns whether requests to `url` stay on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(loopback::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_under_the_base() {
        for (base, jobs_at) in [
            ("http://localhost:8314/0.1.0", "http://localhost:8314/0.1.0/jobs?state=PENDING"),
            ("https://queue.example.com", "https://queue.example.com/jobs?state=PENDING"),
            ("https://q.example.com/v1/?a=b", "https://q.example.com/v1/jobs?a=b&state=PENDING"),
        ] {
            assert_eq!(jobs(&parse(base).unwrap(), "PENDING").as_str(), jobs_at);
        }
    }

    #[test]
    fn messages_name_no_user() {
        let url = parse("http://me:secret@example.com/v1").unwrap();
        assert_eq!(shown(&url), "http://example.com/v1");
        for bad in
            ["ftp://me:secret@example.com/", "http://me:secret@example.com:port/", "nonsense"]
        {
            let message = parse(bad).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn loopback_is_by_address_or_localhost() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://LOCALHOST/", true),
            ("http://127.0.0.1/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:80/", true),
            ("http://10.0.0.1/", false),
            ("http://[::2]/", false),
            ("http://localhost.example.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://localhost@example.com/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
