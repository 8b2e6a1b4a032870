//! `[queue]`.

use std::net::Ipv6Addr;
use std::time::Duration;

use reqwest::Url;

use super::url;
use crate::config::key::KeyKind;
use crate::config::section::Section;
use crate::config::setting::{Rejection, Setting};
use crate::config::tree::NodeValue;
use crate::settings::{AskRunning, QueueSettings};

const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 8314;
const DEFAULT_VERSION: &str = "0.1.0";
const DEFAULT_POINTER: &str = "/workerType";

pub(super) fn read(section: &Section<'_>) -> QueueSettings {
    let url = base_url(section);
    let token_file = section.path(
        "token-file",
        "A file with a bearer token, which is sent only over https or to this machine, and never after a redirect",
    );
    if let Some(url) = &url {
        check_transport(section, url, token_file.is_some());
    }
    QueueSettings {
        base_url: url.map(|url| url.as_str().trim_end_matches('/').to_owned()).unwrap_or_default(),
        running: section.value(
            "running",
            AskRunning::Auto,
            "Whether `…/jobs?state=RUNNING` is requested too; `\"auto\"`: if the queue offers it",
        ),
        worker_type_pointer: pointer(section),
        timeout: section.positive_duration(
            "timeout",
            Duration::from_secs(10),
            "The timeout for one complete answer",
        ),
        token_file,
    }
}

fn base_url(section: &Section<'_>) -> Option<Url> {
    // An empty URL is unset, but a refused one is set and still replaces the other keys.
    let url = section.checked(
        "url",
        "Replaces `host`, `port` and `version`, set or not: `<url>/jobs?state=PENDING`",
        |text| Ok(url::parse(text)),
    );
    let Some(url) = url else { return from_parts(section) };
    section.replaced::<String>("host");
    section.replaced::<u16>("port");
    section.replaced::<String>("version");
    url.map_err(|Rejection { message, hint }| section.problem("url", message, hint)).ok()
}

fn from_parts(section: &Section<'_>) -> Option<Url> {
    let host = section.value(
        "host",
        DEFAULT_HOST.to_owned(),
        "The host of `http://<host>:<port>/<version>/jobs?state=PENDING`",
    );
    let port = section.value("port", DEFAULT_PORT, "The port");
    let version =
        section.value("version", DEFAULT_VERSION.to_owned(), "The version, a part of the path");
    if port == 0 {
        section.problem("port", "port 0 cannot be connected to", "1 to 65535");
    }
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
    // These characters would make a part of the host the port, path or user name of the URL.
    if host.is_empty() || host.contains(['/', '@', '?', '#', '\\']) || is_host_with_port(&host) {
        let hint = "a host name or address alone; for more, use queue.url";
        section.problem("host", "not a host name", hint);
        return None;
    }
    if version.contains(['?', '#']) {
        section.problem("version", "not a part of a path", "such as 0.1.0");
        return None;
    }
    let version = version.trim_matches('/');
    match url::parse(&format!("http://{host}:{port}/{version}")) {
        Ok(url) => Some(url),
        Err(Rejection { message, hint: _ }) => {
            section.problem("host", message, "a host name or address");
            None
        }
    }
}

fn is_host_with_port(host: &str) -> bool {
    host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))
}

fn check_transport(section: &Section<'_>, url: &Url, has_token: bool) {
    if url.scheme() == "https" && !cfg!(feature = "tls") {
        section.problem(
            "url",
            "this build has no TLS, so it cannot ask an https queue",
            "build with `--features tls`, or use http",
        );
    }
    if has_token && url.scheme() == "http" && !url::is_loopback(url) {
        section.problem(
            "token-file",
            "the token would go over the network in the clear",
            "use an https queue.url, or a queue on this machine",
        );
    }
}

fn pointer(section: &Section<'_>) -> Vec<String> {
    let text = section.value(
        "worker-type-pointer",
        DEFAULT_POINTER.to_owned(),
        "The JSON pointer (RFC 6901) to the worker type in a task",
    );
    match parse_pointer(&text) {
        Some(segments) => segments,
        None => {
            section.problem(
                "worker-type-pointer",
                format!("`{text}` is not a JSON pointer to a field"),
                "such as /workerType or /task/worker~1type (RFC 6901)",
            );
            Vec::new()
        }
    }
}

/// Splits a JSON pointer (RFC 6901). The empty pointer is refused: it means the complete task, which is not
/// a text.
fn parse_pointer(text: &str) -> Option<Vec<String>> {
    let unescape = |segment: &str| {
        let bad = segment.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
        (!bad).then(|| segment.replace("~1", "/").replace("~0", "~"))
    };
    text.strip_prefix('/')?.split('/').map(unescape).collect()
}

impl Setting for AskRunning {
    fn kind() -> KeyKind {
        KeyKind::OneOf(["\"auto\"", "true", "false"].map(str::to_owned).to_vec())
    }

    fn read(value: &NodeValue) -> Result<Self, Rejection> {
        match value {
            NodeValue::Boolean(true) => Ok(Self::Always),
            NodeValue::Boolean(false) => Ok(Self::Never),
            NodeValue::String(text) if text == "auto" => Ok(Self::Auto),
            NodeValue::Raw(text) => match text.trim() {
                "auto" => Ok(Self::Auto),
                "true" => Ok(Self::Always),
                "false" => Ok(Self::Never),
                _ => Err(Rejection::new("expected \"auto\", true, or false", "")),
            },
            NodeValue::String(_) => Err(Rejection::new(
                "expected \"auto\", true, or false",
                "true and false without quotes",
            )),
            _ => Err(Rejection::kind("\"auto\", true, or false", value)),
        }
    }

    fn show(&self) -> serde_json::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Always => true.into(),
            Self::Never => false.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_split_and_unescaped() {
        let split = |text: &str| parse_pointer(text).map(|segments| segments.join(" "));
        assert_eq!(split("/workerType").as_deref(), Some("workerType"));
        assert_eq!(split("/a/b~1c/d~0e/~01").as_deref(), Some("a b/c d~e ~1"));
        for bad in ["", "workerType", "/a~", "/a~2"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        let loopback = |text: &str| url::is_loopback(&Url::parse(text).unwrap());
        for here in ["http://localhost:1", "http://127.0.0.9", "http://[::1]:2/x"] {
            assert!(loopback(here), "{here}");
        }
        for there in ["http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.nip.io"]
        {
            assert!(!loopback(there), "{there}");
        }
    }
}
