//! The moto server of a test run, and the process that inspects it through boto3.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use super::http;
use super::stand_in::{self, Talker};

/// moto, with `tests/moto/server.py` around it.
///
/// It ends when its standard input closes: with this process, however this process ends.
pub(crate) struct MotoServer {
    port: u16,
    boto3: Mutex<Talker>,
    log: PathBuf,
    // Kept so that its standard input stays open.
    _talker: Mutex<Talker>,
}

/// An error of a call made through boto3.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BotoError {
    pub(crate) code: String,
    pub(crate) message: String,
}

static SERVER: LazyLock<MotoServer> = LazyLock::new(MotoServer::start);

impl MotoServer {
    /// Returns the server of this test run, after starting it if need be.
    pub(crate) fn get() -> &'static Self {
        &SERVER
    }

    fn start() -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("moto-server.log");
        let (talker, port) = Self::start_apart(File::create(&log).expect("a log file").into());
        let look = Talker::start(&python(), "look.py", Stdio::inherit()).expect("look.py");
        Self { port, boto3: Mutex::new(look), log, _talker: Mutex::new(talker) }
    }

    /// Starts a separate server, and returns its process and its port.
    pub(crate) fn start_apart(stderr: Stdio) -> (Talker, u16) {
        stand_in::start_server(&python(), stderr).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where AWS is, for the programs under test. Never anything but this machine.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks the server's own door, `/_ext/`.
    #[track_caller]
    pub(super) fn ask(&self, path: &str, body: Option<&Value>) -> Value {
        let path = format!("/_ext/{path}");
        let answer = match body {
            Some(body) => http::post(self.port, &path, &body.to_string()),
            None => http::get(self.port, &path),
        };
        let answer =
            answer.unwrap_or_else(|error| panic!("{path}: {error}; see {}", self.log.display()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// Sends the form of a call as it is.
    #[track_caller]
    pub(super) fn query(&self, credential: &str, form: &str) -> http::Response {
        http::post_form(self.port, credential, form)
            .unwrap_or_else(|error| panic!("{form}: {error}"))
    }

    /// Makes a call through boto3, which shares no code with us, and follows all pages.
    pub(super) fn boto3(
        &self,
        endpoint: &str,
        keys: &Value,
        region: &str,
        service: &str,
        call: &str,
        with: &Value,
    ) -> Result<Value, BotoError> {
        let ask = json!({
            "endpoint": endpoint, "region": region, "keys": keys,
            "service": service, "call": call, "with": with,
        });
        let mut boto3 = self.boto3.lock().unwrap_or_else(PoisonError::into_inner);
        let mut answer = boto3.ask(&ask).unwrap_or_else(|error| panic!("{call}: {error}"));
        drop(boto3);
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(BotoError {
                code: answer["error"]["code"].as_str().unwrap_or_default().to_owned(),
                message: answer["error"]["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }
}

/// Returns the findings of parliament in each of some policy documents.
#[track_caller]
pub(crate) fn lint(documents: &[Value]) -> Vec<Value> {
    let talker = Talker::start(&python(), "lint.py", Stdio::inherit());
    let mut talker = talker.unwrap_or_else(|error| panic!("{error}"));
    let mut lint =
        |document: &Value| talker.ask(document).unwrap_or_else(|error| panic!("lint.py: {error}"));
    documents.iter().map(&mut lint).collect()
}

/// The Python of the virtual environment, in the target directory.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
    stand_in::python(target, || ()).unwrap_or_else(|error| panic!("{error}"))
}
