//! The user: a directory, an environment, and command lines.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Done, say};

/// How long a program may run; none takes this long.
const LIMIT: Duration = Duration::from_mins(2);

pub(crate) struct User {
    dir: PathBuf,
    programs: PathBuf,
    env: Vec<(&'static str, OsString)>,
}

/// A daemon in the background. It is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl User {
    /// Creates a user who works in `dir` with the programs in `programs`, without the configuration of this
    /// machine.
    pub(crate) fn new(dir: &Path, programs: &Path, aws: Vec<(&'static str, String)>) -> Self {
        let mut env: Vec<_> = aws.into_iter().map(|(name, value)| (name, value.into())).collect();
        env.extend(std::env::var_os("PATH").map(|path| ("PATH", path)));
        for (name, below) in
            [("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")]
        {
            env.push((name, dir.join(below).into()));
        }
        Self { dir: dir.to_owned(), programs: programs.to_owned(), env }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("provisioner.toml")
    }

    /// Returns the key-name that `setup-aws` saved.
    pub(crate) fn key_name(&self) -> Done<String> {
        let config: toml::Table = fs::read_to_string(self.config())?.parse()?;
        let key_name = config.get("provisioner").and_then(|table| table.get("key-name"));
        Ok(key_name.and_then(|name| name.as_str()).ok_or("no key-name was saved")?.to_owned())
    }

    /// Whether there is a private key in the directory.
    pub(crate) fn has_private_key(&self) -> Done<bool> {
        for entry in fs::read_dir(&self.dir)? {
            if entry?.path().extension().is_some_and(|extension| extension == "pem") {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs a program to its end, shows its output as it is written, and fails if the program fails.
    pub(crate) async fn runs(&self, line: &str) -> Done {
        say(format_args!("$ {line}"));
        // One pipe for both streams keeps their lines in order.
        let (said, says) = std::io::pipe()?;
        let mut child = self.command(line).stdout(says.try_clone()?).stderr(says).spawn()?;
        let dir = self.dir.display().to_string();
        let showing = tokio::task::spawn_blocking(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                // Shows paths relative to the directory of the user.
                let line = line.replace(&format!("{dir}/"), "").replace(&dir, ".");
                say(format_args!("  {line}").to_string().trim_end());
            }
        });
        let ended = timeout(LIMIT, child.wait()).await;
        let status = ended.map_err(|_| format!("`{line}` has not ended in {LIMIT:?}"))??;
        showing.await?;
        say("");
        if status.success() {
            return Ok(());
        }
        Err(format!("`{line}` ended with {status}").into())
    }

    /// Starts the daemon.
    pub(crate) fn starts(&self, line: &str, log: &Path) -> Done<Daemon> {
        let file = File::create(log)?;
        let child = self.command(line).stdout(file.try_clone()?).stderr(file).spawn()?;
        say(format_args!("$ {line} &"));
        Ok(Daemon { child, log: log.to_owned() })
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let mut command = Command::new(self.programs.join(words.next().unwrap_or_default()));
        command.args(words).current_dir(&self.dir).env_clear().stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        command
    }
}

impl Daemon {
    /// Fails if it no longer runs.
    pub(crate) fn lives(&mut self) -> Done {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = self.log.display();
                Err(format!("`provisionerd run` ended with {status}; its log is in {log}").into())
            }
        }
    }

    /// Ends it as a service manager does.
    pub(crate) async fn stop(mut self) -> Done {
        let id = self.child.id().ok_or("`provisionerd run` ended by itself")?.to_string();
        say(format_args!("$ kill -TERM {id}"));
        let sent = Command::new("kill").args(["-TERM", &id]).status().await?;
        if !sent.success() {
            return Err("the signal was not sent".into());
        }
        let ended = timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.map_err(|_| "`provisionerd run` does not end on SIGTERM")??;
        if status.success() {
            return Ok(());
        }
        Err(format!("`provisionerd run` ended with {status}; see {}", self.log.display()).into())
    }
}
