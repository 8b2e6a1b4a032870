//! The job queue of `examples/job_queue.rs` in the background, and its users.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Done, say};

pub(crate) struct Queue {
    http: reqwest::Client,
    url: String,
    /// Killed when this is dropped.
    _child: Child,
}

impl Queue {
    /// Starts the queue with `pending` tasks of type `linux`.
    pub(crate) async fn start(examples: &Path, pending: usize) -> Done<Self> {
        let pending = format!("linux={pending}");
        say(format_args!("$ job_queue --listen 127.0.0.1:0 --pending {pending} &"));
        let mut child = Command::new(examples.join("job_queue"))
            .args(["--listen", "127.0.0.1:0", "--pending", &pending])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the queue's standard output is not a pipe")?;
        let url = BufReader::new(stdout).lines().next_line().await?;
        let url = url.ok_or("the queue ended at once")?;
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { http, url, _child: child })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the ids of the tasks in a state.
    pub(crate) async fn tasks(&self, state: &str) -> Done<Vec<String>> {
        let answer = self.http.get(format!("{}/jobs?state={state}", self.url)).send().await?;
        let tasks: Vec<Value> = serde_json::from_str(&answer.error_for_status()?.text().await?)?;
        let ids = tasks.iter().filter_map(|task| task["taskId"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Adds tasks.
    pub(crate) async fn add(&self, count: usize) -> Done {
        self.post("jobs", &json!({ "workerType": "linux", "count": count })).await
    }

    /// Claims a task for a worker.
    pub(crate) async fn claim(&self, task: &str, worker: &str) -> Done {
        self.post(&format!("jobs/{task}/claim"), &json!({ "workerId": worker })).await
    }

    /// Finishes a task.
    pub(crate) async fn finish(&self, task: &str) -> Done {
        self.post(&format!("jobs/{task}/finish"), &Value::Null).await
    }

    async fn post(&self, path: &str, body: &Value) -> Done {
        let request = self.http.post(format!("{}/{path}", self.url));
        let request = request.header("content-type", "application/json").body(body.to_string());
        request.send().await?.error_for_status()?;
        Ok(())
    }
}
