//! An AWS account of a test's own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::REGION;
use super::http::Response;
use super::moto::{BotoError, MotoServer};
use super::world::{Call, World};

/// A new account on the stand-in, isolated from all others.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) number: String,
    keys: Value,
}

impl Account {
    /// Opens an account.
    pub(crate) fn new() -> Self {
        Self::from_keys(MotoServer::get().ask("accounts", Some(&json!({}))))
    }

    fn from_keys(keys: Value) -> Self {
        let number = keys["account"].as_str().expect("an account number").to_owned();
        Self { number, keys }
    }

    /// Changes the access key to an unknown one.
    pub(crate) fn forge_keys(&mut self) {
        self.keys["access_key_id"] = json!("AKIANOBODYKNOWSTHIS0");
    }

    /// Returns the same account through another key, which may only do what a policy allows.
    #[track_caller]
    pub(crate) fn under(&self, policy: &Value) -> Self {
        let keys = self.ask(REGION, "keys", Some(&json!({})));
        let set = json!({ "key": keys["access_key_id"], "policy": policy });
        self.ask(REGION, "policy", Some(&set));
        Self::from_keys(keys)
    }

    /// Returns the use of this key's policy: the actions that were checked, each with the names of the
    /// statements that allowed it.
    #[track_caller]
    pub(crate) fn allowed(&self) -> Vec<(String, Vec<String>)> {
        let policies = self.ask(REGION, "policies", None);
        assert_eq!(policies["not_modelled"], json!([]), "see CHECKS in tests/moto/policies.py");
        let key = self.keys["access_key_id"].as_str().expect("a key");
        serde_json::from_value(policies["used"][key].clone()).expect("a key with a policy")
    }

    /// The environment that leads a program into this account, and nowhere else.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let endpoint = MotoServer::get().endpoint();
        assert!(endpoint.starts_with("http://127.0.0.1:"), "not this machine: {endpoint}");
        let key = |name: &str| self.keys[name].as_str().expect("a key").to_owned();
        vec![
            ("AWS_ACCESS_KEY_ID", key("access_key_id")),
            ("AWS_SECRET_ACCESS_KEY", key("secret_access_key")),
            ("AWS_SESSION_TOKEN", key("session_token")),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    #[track_caller]
    fn ask(&self, region: &str, verb: &str, body: Option<&Value>) -> Value {
        MotoServer::get().ask(&format!("{}/{verb}?region={region}", self.number), body)
    }

    /// Changes how EC2 behaves here; see `Rules` in `tests/moto/worlds.py`.
    #[track_caller]
    pub(crate) fn rules(&self, rules: &Value) {
        self.ask(REGION, "rules", Some(rules));
    }

    /// Makes calls go wrong; see `Fault` in `tests/moto/worlds.py`.
    #[track_caller]
    pub(crate) fn fault(&self, fault: &Value) {
        self.ask(REGION, "faults", Some(&json!([fault])));
    }

    /// Ends all faults, and lets go of calls that hang.
    pub(crate) fn clear_faults(&self) {
        self.ask(REGION, "clear", Some(&json!({})));
    }

    /// All there is in [`REGION`].
    pub(crate) fn world(&self) -> World {
        self.world_in(REGION)
    }

    /// All there is in another region.
    pub(crate) fn world_in(&self, region: &str) -> World {
        serde_json::from_value(self.ask(region, "world", None)).expect("a world")
    }

    /// All API calls so far, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        serde_json::from_value(self.ask(REGION, "calls", None)).expect("calls")
    }

    /// The calls from the `n`th on.
    pub(crate) fn calls_since(&self, n: usize) -> Vec<Call> {
        let calls = self.ask(&format!("{REGION}&since={n}"), "calls", None);
        serde_json::from_value(calls).expect("calls")
    }

    /// The most open requests and live machines that were ever there at once, by worker type; `*` is
    /// all of them together. Counted whenever some are asked for.
    pub(crate) fn peaks(&self) -> BTreeMap<String, usize> {
        serde_json::from_value(self.ask(REGION, "peaks", None)).expect("counts")
    }

    /// The calls of one action so far.
    pub(crate) fn calls_of(&self, action: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.action == action).collect()
    }

    /// The calls so far that could have changed something.
    pub(crate) fn changes(&self) -> Vec<Call> {
        let looks = |call: &Call| {
            ["Describe", "Get", "List", "AssumeRole"]
                .iter()
                .any(|verb| call.action.starts_with(verb))
                || call.param("DryRun") == "true"
        };
        self.calls().into_iter().filter(|call| !looks(call)).collect()
    }

    /// Adds instances of another owner: `key_name`, `count`, `tags`, `instance_type`, `zone`,
    /// `lifecycle`, `spot_request_id`, `age_s`. Returns their ids.
    #[track_caller]
    pub(crate) fn add_instances(&self, what: &Value) -> Vec<String> {
        ids(self.ask(REGION, "add-instance", Some(what)))
    }

    /// Adds spot requests of another owner: `key_name`, `count`, `tags`, `instance_type`, `zone`,
    /// `price`, `age_s`. Returns their ids.
    #[track_caller]
    pub(crate) fn add_requests(&self, what: &Value) -> Vec<String> {
        ids(self.ask(REGION, "add-request", Some(what)))
    }

    /// Does something to instances, chosen by `ids` or `key_name`, at most `limit`; `do` is
    /// `terminate`, `shut-down`, `fail`, `interrupt`, `stop`, `run`, `state`, `age`, `forget` or
    /// `protect`.
    #[track_caller]
    pub(crate) fn to_instances(&self, what: &Value) -> Vec<String> {
        ids(self.ask(REGION, "instances", Some(what)))
    }

    /// Does something to spot requests, chosen likewise; `do` is `fulfil`, `hold`, `status`,
    /// `fail`, `close`, `state` or `age`.
    #[track_caller]
    pub(crate) fn to_requests(&self, what: &Value) -> Vec<String> {
        ids(self.ask(REGION, "requests", Some(what)))
    }

    /// Calls an AWS API through boto3 with this account's keys.
    pub(crate) fn boto3(&self, service: &str, call: &str, with: Value) -> Result<Value, BotoError> {
        self.boto3_at(&MotoServer::get().endpoint(), service, call, with)
    }

    /// Calls something else that speaks as AWS does, through boto3.
    #[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
    pub(crate) fn boto3_at(
        &self,
        endpoint: &str,
        service: &str,
        call: &str,
        with: Value,
    ) -> Result<Value, BotoError> {
        assert!(endpoint.starts_with("http://127.0.0.1:"), "not this machine: {endpoint}");
        MotoServer::get().boto3(endpoint, &self.keys, REGION, service, call, &with)
    }

    /// Sends the form of a call to EC2 or STS as it is.
    #[track_caller]
    pub(crate) fn query(&self, form: &str) -> Response {
        let key = self.keys["access_key_id"].as_str().expect("a key");
        let service = if form.contains("Version=2011-06-15") { "sts" } else { "ec2" };
        let credential = format!("{key}/20261123/{REGION}/{service}/aws4_request");
        MotoServer::get().query(&credential, form)
    }

    /// Calls EC2 through boto3; the call must succeed.
    #[track_caller]
    pub(crate) fn ec2(&self, call: &str, with: Value) -> Value {
        self.boto3("ec2", call, with).unwrap_or_else(|error| panic!("{call}: {error:?}"))
    }

    /// Calls IAM through boto3; the call must succeed.
    #[track_caller]
    pub(crate) fn iam(&self, call: &str, with: Value) -> Value {
        self.boto3("iam", call, with).unwrap_or_else(|error| panic!("{call}: {error:?}"))
    }

    /// Makes a role and an instance profile with it, not of our making, through boto3.
    #[track_caller]
    pub(crate) fn make_profile(&self, name: &str, tags: &[(&str, &str)]) {
        let tag = |(key, value): &(&str, &str)| json!({ "Key": key, "Value": value });
        let tags: Vec<Value> = tags.iter().map(tag).collect();
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        self.iam(
            "create_role",
            json!({ "RoleName": name, "AssumeRolePolicyDocument": trust, "Tags": tags }),
        );
        self.iam("create_instance_profile", json!({ "InstanceProfileName": name, "Tags": tags }));
        let both = json!({ "InstanceProfileName": name, "RoleName": name });
        self.iam("add_role_to_instance_profile", both);
    }

    /// Makes a key pair that is not of our making, through boto3.
    #[track_caller]
    pub(crate) fn make_key_pair(&self, name: &str) {
        self.ec2("create_key_pair", json!({ "KeyName": name, "KeyType": "ed25519" }));
    }
}

fn ids(answer: Value) -> Vec<String> {
    serde_json::from_value(answer).expect("a list of ids")
}
