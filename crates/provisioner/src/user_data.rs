//! The user data of a worker type: the bytes as configured, and the template that fills in names.
//!
//! Deliberately not here: base64 (the adapter's) and gzip (nobody's; EC2 takes bytes).

use std::fmt;
use std::time::Duration;

use crate::config::duration;

/// What the configuration says to start a machine with.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData {
    /// As written, before base64.
    pub raw: Vec<u8>,
    /// Whether `${{ name }}` is to be replaced.
    pub template: bool,
}

impl fmt::Debug for UserData {
    /// Without the content: user data tends to carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { raw, template } = self;
        write!(f, "UserData(<{} bytes>, template: {template})", raw.len())
    }
}

/// What the names of a template stand for.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `${{ key_name }}`; `None` where there is none yet, which is an error only if it is used.
    pub key_name: Option<&'a str>,
    /// `${{ worker_type }}`.
    pub worker_type: &'a str,
    /// `${{ region }}`.
    pub region: &'a str,
    /// `${{ queue_url }}`: without a slash at the end.
    pub queue_url: &'a str,
    /// `${{ idle_timeout }}`: written in seconds, `900s`.
    pub idle_timeout: Duration,
}

/// User data that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserDataError {
    /// A name nobody defined.
    #[error("undefined template name `{name}` in the user data (known: {})", NAMES.join(", "))]
    UndefinedName {
        /// As written, without braces.
        name: String,
    },
    /// `${{` without `}}`.
    #[error("`${{{{` without `}}}}` on line {line} of the user data")]
    Unclosed {
        /// Of the user data, from 1.
        line: usize,
    },
    /// `${{ key_name }}` without a key-name.
    #[error(
        "the user data uses `key_name`, but there is no `provisioner.key-name` (run setup-aws)"
    )]
    NoKeyName,
    /// More than EC2 takes.
    #[error("the user data has {len} bytes; EC2 takes at most {} (16 KiB)", UserData::MAX_LEN)]
    TooLong {
        /// In bytes, templates filled in, before base64.
        len: usize,
    },
}

const NAMES: [&str; 5] = ["key_name", "worker_type", "region", "queue_url", "idle_timeout"];
const OPEN: &[u8] = b"${{";
const CLOSE: &[u8] = b"}}";

impl UserData {
    /// The most EC2 takes, in bytes before base64 (EC2 User Guide, "Run commands when you launch an
    /// EC2 instance with user data input").
    pub const MAX_LEN: usize = 16 * 1024;

    /// Returns the bytes to send (before base64).
    pub fn render(&self, variables: &Variables<'_>) -> Result<Vec<u8>, UserDataError> {
        let Self { raw, template } = self;
        let rendered = if *template { fill_in(raw, variables)? } else { raw.clone() };
        if rendered.len() > Self::MAX_LEN {
            return Err(UserDataError::TooLong { len: rendered.len() });
        }
        Ok(rendered)
    }
}

/// Works on bytes: user data need not be UTF-8.
fn fill_in(raw: &[u8], variables: &Variables<'_>) -> Result<Vec<u8>, UserDataError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(open) = find(&raw[at..], OPEN) {
        let name_at = at + open + OPEN.len();
        let Some(len) = find(&raw[name_at..], CLOSE) else {
            let line = raw[..name_at].split(|&byte| byte == b'\n').count();
            return Err(UserDataError::Unclosed { line });
        };
        out.extend_from_slice(&raw[at..at + open]);
        let name = String::from_utf8_lossy(&raw[name_at..name_at + len]);
        out.extend_from_slice(value_of(name.trim(), variables)?.as_bytes());
        at = name_at + len + CLOSE.len();
    }
    out.extend_from_slice(&raw[at..]);
    Ok(out)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn value_of(name: &str, variables: &Variables<'_>) -> Result<String, UserDataError> {
    let Variables { key_name, worker_type, region, queue_url, idle_timeout } = variables;
    match name {
        "key_name" => key_name.map(str::to_owned).ok_or(UserDataError::NoKeyName),
        "worker_type" => Ok((*worker_type).to_owned()),
        "region" => Ok((*region).to_owned()),
        "queue_url" => Ok((*queue_url).to_owned()),
        "idle_timeout" => Ok(duration::in_seconds(*idle_timeout)),
        _ => Err(UserDataError::UndefinedName { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: Variables<'_> = Variables {
        key_name: Some("provisioner-test-1"),
        worker_type: "linux",
        region: "us-west-2",
        queue_url: "http://localhost:8314/0.1.0",
        idle_timeout: Duration::from_mins(15),
    };

    fn render(raw: &str) -> Result<String, UserDataError> {
        UserData { raw: raw.into(), template: true }
            .render(&VARIABLES)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn every_name_is_filled_in() {
        let raw = "${{ key_name }} ${{worker_type}} ${{ region }} ${{ queue_url }} ${{ idle_timeout }} $ {{ }}";
        assert_eq!(
            render(raw).unwrap(),
            "provisioner-test-1 linux us-west-2 http://localhost:8314/0.1.0 900s $ {{ }}"
        );
        for name in NAMES {
            assert!(render(&format!("${{{{ {name} }}}}")).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_undefined_name_is_named_with_the_known_ones() {
        let message = render("echo ${{ regoin }}").unwrap_err().to_string();
        assert!(message.contains("`regoin`") && message.contains("key_name, worker_type, region"));
        assert_eq!(render("a\nb ${{ region }\n"), Err(UserDataError::Unclosed { line: 2 }));
        assert_eq!(
            UserDataError::Unclosed { line: 2 }.to_string(),
            "`${{` without `}}` on line 2 of the user data"
        );
    }

    #[test]
    fn without_template_the_bytes_stay() {
        let raw = vec![0xff, b'$', b'{', b'{', b' ', 0];
        let data = UserData { raw: raw.clone(), template: false };
        assert_eq!(data.render(&VARIABLES).unwrap(), raw);
    }

    #[test]
    fn a_missing_key_name_matters_only_where_it_is_used() {
        let without = Variables { key_name: None, ..VARIABLES };
        let data = |raw: &str| UserData { raw: raw.into(), template: true };
        assert!(data("${{ region }}").render(&without).is_ok());
        assert_eq!(data("${{ key_name }}").render(&without), Err(UserDataError::NoKeyName));
    }

    #[test]
    fn the_limit_holds_after_filling_in() {
        let exact = "x".repeat(UserData::MAX_LEN);
        assert!(render(&exact).is_ok());
        let grows = format!("{}${{{{ queue_url }}}}", "x".repeat(UserData::MAX_LEN - 16));
        assert_eq!(render(&grows), Err(UserDataError::TooLong { len: UserData::MAX_LEN + 11 }));
    }

    #[test]
    fn debug_output_has_no_content() {
        let data = UserData { raw: b"password".to_vec(), template: false };
        assert_eq!(format!("{data:?}"), "UserData(<8 bytes>, template: false)");
    }
}
