//! The user data of a worker type: the bytes as configured, and the template that fills in names.
//!
//! Compression is deliberately absent: EC2 takes any bytes, so users can compress them themselves.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::duration;
use crate::domain::stop_secret::StopSecret;

/// The user data of a worker type as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct UserData {
    /// The bytes as written, before base64.
    pub raw: Vec<u8>,
    /// Whether `${{ name }}` is to be replaced.
    pub template: bool,
}

impl fmt::Debug for UserData {
    /// Leaves out the content, because user data often contains secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { raw, template } = self;
        write!(f, "UserData(<{} bytes>, template: {template})", raw.len())
    }
}

/// The values that the names of a template stand for.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `${{ key_name }}`. `None` if there is no key-name yet, which is an error only if it is used.
    pub key_name: Option<&'a str>,
    /// `${{ worker_type }}`.
    pub worker_type: &'a str,
    /// `${{ region }}`.
    pub region: &'a str,
    /// `${{ queue_url }}`, without a slash at the end.
    pub queue_url: &'a str,
    /// `${{ idle_timeout }}`, written in seconds (`900s`).
    pub idle_timeout: Duration,
    /// `${{ stop_url }}` and `${{ stop_token }}`: whether workers may ask to stop, and where.
    pub asking: Asking<'a>,
}

/// Whether workers may ask whether to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking<'a> {
    /// They may not: there is no server for them.
    Off,
    /// They may, but it is not known by which URL they reach the server.
    Nowhere,
    /// They may ask at this URL, which has no slash at the end.
    At(&'a str),
}

/// User data in which everything is filled in except the stop token, which differs between launches.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The pieces between which the token is inserted. Never empty.
    pieces: Vec<Vec<u8>>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rendered(<{} bytes>)", self.len())
    }
}

impl Rendered {
    /// Returns whether machines receive a stop token in it.
    pub fn has_token(&self) -> bool {
        self.pieces.len() > 1
    }

    /// Returns the bytes that one launch sends, before base64.
    pub fn with_token(&self, token: &str) -> Vec<u8> {
        self.pieces.join(token.as_bytes())
    }

    /// Returns what one launch sends, in base64 as EC2 takes it.
    pub fn to_base64(&self, token: &str) -> String {
        STANDARD.encode(self.with_token(token))
    }

    /// Returns the length in bytes, before base64.
    fn len(&self) -> usize {
        let tokens = self.pieces.len().saturating_sub(1) * StopSecret::TOKEN_LEN;
        self.pieces.iter().map(Vec::len).sum::<usize>() + tokens
    }
}

/// User data that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserDataError {
    /// The template contains an unknown name.
    #[error("undefined template name `{name}` in the user data (known: {})", NAMES.join(", "))]
    UndefinedName {
        /// The name as written, without braces.
        name: String,
    },
    /// A `${{` has no `}}`.
    #[error("`${{{{` without `}}}}` on line {line} of the user data")]
    Unclosed {
        /// The line of the user data, from 1.
        line: usize,
    },
    /// The template contains `${{ key_name }}`, and there is no key-name.
    #[error(
        "the user data uses `key_name`, but there is no `provisioner.key-name` (run setup-aws)"
    )]
    NoKeyName,
    /// The template contains a name that is defined only if workers may ask to stop.
    #[error(
        "the user data uses `{name}`, but `server.worker-listen` is not set, so nothing would answer"
    )]
    NobodyListens {
        /// The name.
        name: &'static str,
    },
    /// The template contains `${{ stop_url }}`, and `server.worker-listen` does not determine it.
    #[error(
        "the user data uses `stop_url`, and `server.worker-listen` names no address that workers can \
         reach: set `server.worker-url` to the URL they should use"
    )]
    NoWorkerUrl,
    /// It is longer than EC2 accepts.
    #[error("the user data has {len} bytes; EC2 takes at most {} (16 KiB)", UserData::MAX_LEN)]
    TooLong {
        /// The length in bytes with templates filled in, before base64.
        len: usize,
    },
}

const NAMES: [&str; 7] =
    ["key_name", "worker_type", "region", "queue_url", "idle_timeout", "stop_url", STOP_TOKEN];
const STOP_TOKEN: &str = "stop_token";
const OPEN: &[u8] = b"${{";
const CLOSE: &[u8] = b"}}";

impl UserData {
    /// The longest user data that EC2 accepts, in bytes before base64 (EC2 User Guide, "Run commands when
    /// you launch an EC2 instance with user data input").
    pub const MAX_LEN: usize = 16 * 1024;

    /// Fills in a template.
    pub fn render(&self, variables: &Variables<'_>) -> Result<Rendered, UserDataError> {
        let Self { raw, template } = self;
        let pieces = if *template { fill_in(raw, variables)? } else { vec![raw.clone()] };
        let rendered = Rendered { pieces };
        if rendered.len() > Self::MAX_LEN {
            return Err(UserDataError::TooLong { len: rendered.len() });
        }
        Ok(rendered)
    }
}

/// Fills in a template. It works on bytes, because user data need not be UTF-8. A new piece begins where
/// the stop token is inserted.
fn fill_in(raw: &[u8], variables: &Variables<'_>) -> Result<Vec<Vec<u8>>, UserDataError> {
    let mut pieces = Vec::new();
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
        match name.trim() {
            STOP_TOKEN if variables.asking == Asking::Off => {
                return Err(UserDataError::NobodyListens { name: STOP_TOKEN });
            }
            STOP_TOKEN => pieces.push(std::mem::take(&mut out)),
            name => out.extend_from_slice(value_of(name, variables)?.as_bytes()),
        }
        at = name_at + len + CLOSE.len();
    }
    out.extend_from_slice(&raw[at..]);
    pieces.push(out);
    Ok(pieces)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn value_of(name: &str, variables: &Variables<'_>) -> Result<String, UserDataError> {
    let Variables { key_name, worker_type, region, queue_url, idle_timeout, asking } = variables;
    match name {
        "key_name" => key_name.map(str::to_owned).ok_or(UserDataError::NoKeyName),
        "worker_type" => Ok((*worker_type).to_owned()),
        "region" => Ok((*region).to_owned()),
        "queue_url" => Ok((*queue_url).to_owned()),
        "idle_timeout" => Ok(duration::in_seconds(*idle_timeout)),
        "stop_url" => match asking {
            Asking::At(url) => Ok((*url).to_owned()),
            Asking::Nowhere => Err(UserDataError::NoWorkerUrl),
            Asking::Off => Err(UserDataError::NobodyListens { name: "stop_url" }),
        },
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
        asking: Asking::At("http://10.0.0.1:3001/v1/workers"),
    };

    fn render(raw: &str) -> Result<String, UserDataError> {
        UserData { raw: raw.into(), template: true }
            .render(&VARIABLES)
            .map(|rendered| String::from_utf8(rendered.with_token("TOKEN")).unwrap())
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
    fn the_stop_token_differs_from_launch_to_launch() {
        let data = |raw: &str| UserData { raw: raw.into(), template: true };
        let rendered = data("a ${{ stop_url }} ${{ stop_token }}${{stop_token}} b");
        let rendered = rendered.render(&VARIABLES).unwrap();
        assert!(rendered.has_token());
        let sent = |token: &str| String::from_utf8(rendered.with_token(token)).unwrap();
        assert_eq!(sent("x"), "a http://10.0.0.1:3001/v1/workers xx b");
        assert_eq!(sent("y"), "a http://10.0.0.1:3001/v1/workers yy b");
        assert_eq!(rendered.to_base64("x"), "YSBodHRwOi8vMTAuMC4wLjE6MzAwMS92MS93b3JrZXJzIHh4IGI=");
        assert_eq!(format!("{rendered:?}"), "Rendered(<164 bytes>)");
        assert!(!data("a").render(&VARIABLES).unwrap().has_token());
    }

    #[test]
    fn the_example_tells_workers_all_they_need() {
        let raw = include_bytes!("../../../../examples/should-stop.sh").to_vec();
        let rendered = UserData { raw, template: true }.render(&VARIABLES).unwrap();
        let sent = String::from_utf8(rendered.with_token("TOKEN")).unwrap();
        for line in [
            "STOP_URL='http://10.0.0.1:3001/v1/workers'",
            "STOP_TOKEN='TOKEN'",
            "IDLE_TIMEOUT='900s'",
        ] {
            assert!(sent.lines().any(|sent_line| sent_line == line), "{line}");
        }
    }

    #[test]
    fn nobody_is_told_to_ask_where_nobody_listens() {
        let render = |raw: &str, asking| {
            let data = UserData { raw: raw.into(), template: true };
            data.render(&Variables { asking, ..VARIABLES }).map(drop)
        };
        for name in ["stop_url", "stop_token"] {
            let raw = format!("${{{{ {name} }}}}");
            assert_eq!(render(&raw, Asking::Off), Err(UserDataError::NobodyListens { name }));
        }
        assert_eq!(render("${{ stop_url }}", Asking::Nowhere), Err(UserDataError::NoWorkerUrl));
        assert_eq!(render("${{ stop_token }}", Asking::Nowhere), Ok(()));
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
        assert_eq!(data.render(&VARIABLES).unwrap().with_token("TOKEN"), raw);
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
    fn the_limit_counts_the_token() {
        let room = UserData::MAX_LEN - StopSecret::TOKEN_LEN;
        assert!(render(&format!("{}${{{{ stop_token }}}}", "x".repeat(room))).is_ok());
        let over = format!("{}${{{{ stop_token }}}}", "x".repeat(room + 1));
        assert_eq!(render(&over), Err(UserDataError::TooLong { len: UserData::MAX_LEN + 1 }));
    }

    #[test]
    fn debug_output_has_no_content() {
        let data = UserData { raw: b"password".to_vec(), template: false };
        assert_eq!(format!("{data:?}"), "UserData(<8 bytes>, template: false)");
    }
}
