//! moto instead of AWS, with an account for this run, and ways to inspect it that share no code with the
//! programs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::moto::{self, Talker};
use super::{Done, REGION};

/// The address and the credentials of the stand-in.
pub(crate) struct StandIn {
    http: reqwest::Client,
    endpoint: String,
    number: String,
    keys: Value,
    look: Option<Talker>,
    server: Option<Talker>,
}

/// The resources that exist, from moto itself.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct World {
    pub(crate) instances: Vec<Instance>,
    pub(crate) spot_requests: Vec<SpotRequest>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) spot_request_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SpotRequest {
    pub(crate) state: String,
    pub(crate) instance_id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Call {
    action: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
}

impl StandIn {
    /// Starts moto and opens an account.
    pub(crate) async fn start(target: &Path, log: &Path) -> Done<Self> {
        let target = target.to_owned();
        let log = File::create(log)?;
        let started = tokio::task::spawn_blocking(move || {
            let python = moto::python(&target, || {
                super::say("   (creating its Python environment, once: a minute, 250 MB)");
            })?;
            let (server, port) = moto::start_server(&python, log.try_clone()?.into())?;
            let look = Talker::start(&python, "look.py", log.into())?;
            Done::Ok((server, look, port))
        });
        let (server, look, port) = started.await??;
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let mut stand_in = Self {
            http,
            // It is always this machine.
            endpoint: format!("http://127.0.0.1:{port}"),
            number: String::new(),
            keys: Value::Null,
            look: Some(look),
            server: Some(server),
        };
        stand_in.keys = stand_in.ask("accounts", &json!({})).await?;
        stand_in.keys["account"].as_str().unwrap_or_default().clone_into(&mut stand_in.number);
        Ok(stand_in)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the environment that directs a program to this account, and nowhere else.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let key = |name: &str| self.keys[name].as_str().unwrap_or_default().to_owned();
        vec![
            ("AWS_ACCESS_KEY_ID", key("access_key_id")),
            ("AWS_SECRET_ACCESS_KEY", key("secret_access_key")),
            ("AWS_SESSION_TOKEN", key("session_token")),
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// Changes how EC2 behaves; see `Rules` in `tests/moto/worlds.py`.
    pub(crate) async fn rules(&self, rules: &Value) -> Done {
        self.to_account("rules", rules).await.map(drop)
    }

    /// Launches an instance by hand under `key_name`, and returns its id.
    pub(crate) async fn launch_by_hand(&self, key_name: &str) -> Done<String> {
        let ids = self.to_account("add-instance", &json!({ "key_name": key_name })).await?;
        Ok(ids[0].as_str().ok_or("moto launched nothing")?.to_owned())
    }

    /// Shuts down instances, as idle workers do.
    pub(crate) async fn end_themselves(&self, ids: &[String]) -> Done {
        let what = json!({ "do": "terminate", "ids": ids });
        self.to_account("instances", &what).await.map(drop)
    }

    /// Returns all resources.
    pub(crate) async fn world(&self) -> Done<World> {
        Ok(serde_json::from_value(self.to_account("world", &Value::Null).await?)?)
    }

    /// Returns how often each API action was called.
    pub(crate) async fn calls(&self) -> Done<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for call in self.all_calls().await? {
            *counts.entry(call.action).or_default() += 1;
        }
        Ok(counts)
    }

    /// Returns how many instances were requested in total.
    pub(crate) async fn asked_for(&self) -> Done<usize> {
        let calls = self.all_calls().await?;
        let requests = calls.iter().filter(|call| call.action == "RequestSpotInstances");
        Ok(requests
            .filter_map(|call| call.params.get("InstanceCount")?.parse::<usize>().ok())
            .sum())
    }

    async fn all_calls(&self) -> Done<Vec<Call>> {
        Ok(serde_json::from_value(self.to_account("calls", &Value::Null).await?)?)
    }

    /// Calls EC2 through boto3.
    pub(crate) fn boto3(&mut self, call: &str, with: &Value) -> Done<Value> {
        let ask = json!({
            "endpoint": self.endpoint, "region": REGION, "keys": self.keys,
            "service": "ec2", "call": call, "with": with,
        });
        let mut answer = self.look.as_mut().ok_or("moto has ended")?.ask(&ask)?;
        match answer.get_mut("ok") {
            Some(ok) => Ok(ok.take()),
            None => Err(format!("{call}: {}", answer["error"]).into()),
        }
    }

    async fn to_account(&self, verb: &str, body: &Value) -> Done<Value> {
        self.ask(&format!("{}/{verb}?region={REGION}", self.number), body).await
    }

    async fn ask(&self, path: &str, body: &Value) -> Done<Value> {
        let url = format!("{}/_ext/{path}", self.endpoint);
        let request = match body {
            Value::Null => self.http.get(url),
            body => self.http.post(url).body(body.to_string()),
        };
        let answer = request.send().await?.text().await?;
        let answer: Value = serde_json::from_str(&answer)?;
        match answer.get("error") {
            Some(error) => Err(format!("moto refused {path}: {error}").into()),
            None => Ok(answer),
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        for talker in [self.look.take(), self.server.take()].into_iter().flatten() {
            // There is nothing to do about a process that does not end.
            let _ = talker.hang_up();
        }
    }
}
