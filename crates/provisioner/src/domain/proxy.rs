//! When no proxy is used, for the queue and for AWS alike.
//!
//! The HTTP clients of both read `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` in the same way, in
//! which `NO_PROXY=*` means all names, but no address: the metadata service of an instance and a queue at an
//! address would still be asked through the proxy. People mean that there shall be no proxy at all.

use std::ffi::OsString;

/// Returns whether `NO_PROXY` in `environment` means that no proxy is used for anything.
pub(crate) fn is_off(mut environment: impl Iterator<Item = (OsString, OsString)>) -> bool {
    environment.any(|(name, value)| {
        let everything = |hosts: &str| hosts.split(',').any(|host| host.trim() == "*");
        (name == "NO_PROXY" || name == "no_proxy") && value.to_str().is_some_and(everything)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_no_proxy_means_no_proxy_at_all() {
        let off = |name: &str, value: &str| is_off([(name.into(), value.into())].into_iter());
        assert!(off("NO_PROXY", "*") && off("no_proxy", "localhost, *"));
        for (name, value) in [("NO_PROXY", ""), ("NO_PROXY", "*.example.com"), ("HTTP_PROXY", "*")]
        {
            assert!(!off(name, value), "{name}={value}");
        }
    }
}
