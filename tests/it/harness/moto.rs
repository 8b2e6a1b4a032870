//! The one moto server of a test run, and the one process that looks at it through boto3.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::{Value, json};

use super::{http, venv};

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

/// A child that is talked to in lines of JSON.
pub(crate) struct Talker {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Talker {
    pub(crate) fn start(script: &str, stderr: Stdio) -> Self {
        let mut child = Command::new(venv::python())
            .args(["-B", "-u"])
            .arg(venv::source(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("Python of the virtual environment");
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, to, from }
    }

    fn say(&mut self, line: &Value) {
        let to = self.to.as_mut().expect("an open pipe");
        writeln!(to, "{line}").and_then(|()| to.flush()).expect("a living child");
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("a line of the child");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("not JSON ({error}): {line:?}"))
    }

    /// Closes the child's standard input and waits for its end.
    pub(crate) fn hang_up(mut self) -> std::process::ExitStatus {
        drop(self.to.take());
        self.child.wait().expect("the child's end")
    }
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
        let boto3 = Mutex::new(Talker::start("look.py", Stdio::inherit()));
        Self { port, boto3, log, _talker: Mutex::new(talker) }
    }

    /// Starts a server of one's own; returns its process and its port.
    pub(crate) fn start_apart(stderr: Stdio) -> (Talker, u16) {
        let mut talker = Talker::start("server.py", stderr);
        let port = talker.hear()["port"].as_u64().expect("a port");
        (talker, u16::try_from(port).expect("a port"))
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

    /// Makes a call through boto3, following all pages; a look that shares no code with us.
    pub(super) fn boto3(
        &self,
        keys: &Value,
        region: &str,
        service: &str,
        call: &str,
        with: &Value,
    ) -> Result<Value, BotoError> {
        let ask = json!({
            "endpoint": self.endpoint(), "region": region, "keys": keys,
            "service": service, "call": call, "with": with,
        });
        let mut answer = {
            let mut boto3 = self.boto3.lock().unwrap_or_else(PoisonError::into_inner);
            boto3.say(&ask);
            boto3.hear()
        };
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(BotoError {
                code: answer["error"]["code"].as_str().unwrap_or_default().to_owned(),
                message: answer["error"]["message"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }
}
