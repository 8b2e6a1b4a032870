//! Whose requests are served: a browser must not be led to the daemon by another site.
//!
//! A page that somebody reads can send requests to the reader's own machine and networks. Two headers, which
//! scripts cannot forge, reveal it: `Host` names the site that the browser believes to talk to (a foreign name
//! may have been pointed at this address, which is called DNS rebinding), and `Origin` names the page that
//! sends the request.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The name in `Host` is not known to be ours.
    #[error("the Host header must be an address, localhost, or one of server.hosts")]
    Host,
    /// A page of another site sent it.
    #[error("requests from the pages of other sites are refused")]
    Origin,
}

/// Checks the `Host` of a request. `hosts` are the names in `server.hosts`.
pub(crate) fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), Refused> {
    let host = authority(headers).ok_or(Refused::Host)?;
    if is_ours(host.host(), hosts) { Ok(()) } else { Err(Refused::Host) }
}

/// Checks that no page of another site sent a request that changes something.
pub(crate) fn check_origin(headers: &HeaderMap, hosts: &[String]) -> Result<(), Refused> {
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site")) {
        return Err(Refused::Origin);
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    // A page without an origin of its own sends `null`, which is foreign, too.
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.and_then(|origin| origin.into_parts().authority).ok_or(Refused::Origin)?;
    // A proxy may have replaced `Host`, so the configured names count as well.
    let same = authority(headers).is_some_and(|host| host == origin);
    if same || is_named(origin.host(), hosts) { Ok(()) } else { Err(Refused::Origin) }
}

fn authority(headers: &HeaderMap) -> Option<Authority> {
    let mut values = headers.get_all(HOST).iter();
    let host = values.next().filter(|_| values.next().is_none())?;
    host.to_str().ok()?.parse().ok()
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || is_named(host, hosts)
}

fn is_named(host: &str, hosts: &[String]) -> bool {
    let name = host.trim_end_matches('.');
    hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn hosts() -> Vec<String> {
        vec!["provisioner.example".to_owned()]
    }

    #[test]
    fn a_name_that_was_pointed_at_this_address_is_refused() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:3000",
            "[::1]:3000",
            "10.1.2.3:3000",
            "localhost:3000",
            "LOCALHOST.",
            "a.localhost",
            "Provisioner.example:3000",
        ] {
            assert_eq!(check_host(&headers(&[("host", host)]), &hosts()), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "a b"]
        {
            let refused = Err(Refused::Host);
            assert_eq!(check_host(&headers(&[("host", host)]), &hosts()), refused, "{host}");
        }
        assert_eq!(check_host(&HeaderMap::new(), &hosts()), Err(Refused::Host));
        let mut two = headers(&[("host", "localhost")]);
        two.append(HOST, HeaderValue::from_static("evil.example"));
        assert_eq!(check_host(&two, &hosts()), Err(Refused::Host));
    }

    #[test]
    fn pages_of_other_sites_cannot_change_anything() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = headers(pairs);
            headers.insert(HOST, HeaderValue::from_static("127.0.0.1:3000"));
            check_origin(&headers, &hosts())
        };
        for ours in [
            &[][..],
            &[("origin", "http://127.0.0.1:3000")],
            &[("origin", "https://provisioner.example")],
            &[("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:3000")],
            &[("sec-fetch-site", "none")],
        ] {
            assert_eq!(check(ours), Ok(()), "{ours:?}");
        }
        for foreign in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "http://127.0.0.1:8080")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(check(foreign), Err(Refused::Origin), "{foreign:?}");
        }
    }
}
