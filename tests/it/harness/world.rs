//! The resources in an account, as the stand-in reports them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::Value;

/// Everything in one region of an account, oldest first.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct World {
    pub(crate) instances: Vec<Instance>,
    pub(crate) spot_requests: Vec<SpotRequest>,
    pub(crate) key_pairs: Vec<KeyPair>,
    pub(crate) volumes: Vec<Volume>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) key_name: Option<String>,
    #[serde(rename = "instance_type")]
    pub(crate) kind: String,
    pub(crate) zone: String,
    pub(crate) spot_request_id: Option<String>,
    /// From which its worker asks.
    pub(crate) address: Ipv4Addr,
    pub(crate) user_data: Option<String>,
    pub(crate) profile_arn: Option<String>,
    pub(crate) security_groups: Vec<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A spot instance request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct SpotRequest {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) status: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) price: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) instance_type: String,
    pub(crate) image_id: String,
    pub(crate) zone: String,
    pub(crate) subnet_id: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) create_time: String,
    pub(crate) valid_until: Option<String>,
    pub(crate) block_devices: Option<Value>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A key pair.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// An API call that the stand-in has seen.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) action: String,
    pub(crate) region: String,
    pub(crate) params: BTreeMap<String, String>,
    /// The HTTP status; `None` while the call hangs, 0 if the connection was closed instead.
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    /// The fault that the test, or chance, injected into it.
    pub(crate) fault: Option<String>,
}

impl Instance {
    /// Not ended and not about to.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state.as_str(), "terminated" | "shutting-down")
    }

    /// Returns the worker type in its tags.
    pub(crate) fn worker_type(&self) -> Option<&str> {
        self.tags.get("provisioner:worker-type").map(String::as_str)
    }
}

impl SpotRequest {
    /// Returns the worker type in its tags.
    pub(crate) fn worker_type(&self) -> Option<&str> {
        self.tags.get("provisioner:worker-type").map(String::as_str)
    }
}

impl World {
    /// The instances under `key_name` that live.
    pub(crate) fn live(&self, key_name: &str) -> Vec<&Instance> {
        self.instances
            .iter()
            .filter(|i| i.is_live() && i.key_name.as_deref() == Some(key_name))
            .collect()
    }

    /// The open spot requests under `key_name`.
    pub(crate) fn open(&self, key_name: &str) -> Vec<&SpotRequest> {
        self.requests(key_name).into_iter().filter(|r| r.state == "open").collect()
    }

    /// All spot requests ever made under `key_name`.
    pub(crate) fn requests(&self, key_name: &str) -> Vec<&SpotRequest> {
        self.spot_requests.iter().filter(|r| r.key_name.as_deref() == Some(key_name)).collect()
    }

    /// The instance with this id.
    #[track_caller]
    pub(crate) fn instance(&self, id: &str) -> &Instance {
        self.instances.iter().find(|i| i.id == id).unwrap_or_else(|| panic!("no instance {id}"))
    }

    /// The spot request with this id.
    #[track_caller]
    pub(crate) fn request(&self, id: &str) -> &SpotRequest {
        self.spot_requests.iter().find(|r| r.id == id).unwrap_or_else(|| panic!("no request {id}"))
    }

    /// Whether a key pair has this name.
    pub(crate) fn has_key_pair(&self, name: &str) -> bool {
        self.key_pairs.iter().any(|k| k.name == name)
    }
}

impl Call {
    /// The value of a parameter, or nothing.
    pub(crate) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// The worker type in the tags that a call requests, or nothing.
    pub(crate) fn worker_type(&self) -> String {
        let key = self.params.iter().find(|(_, value)| *value == "provisioner:worker-type");
        let value = key.map(|(key, _)| key.replace(".Key", ".Value"));
        value.map_or_else(String::new, |name| self.param(&name).to_owned())
    }
}
