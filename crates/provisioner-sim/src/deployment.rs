//! A simulated deployment: its key-name, its settings, and its resolved worker types.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::{InstanceType, KeyName, WorkerTypeName, Zone};
use provisioner::internal::domain::launch::{ResolvedPlacement, ResolvedWorkerType};
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::stop_secret::StopSecret;
use provisioner::internal::domain::user_data::{UserData, Variables};
use provisioner::internal::policy::Policy;
use provisioner::internal::settings::{
    AskRunning, Aws, Limits, Provisioner, QueueSettings, Server, Settings, Strays, WorkerServer,
    WorkerType,
};

/// Returns when every simulation starts.
pub fn start() -> Timestamp {
    // 2026-11-23T08:00:00Z.
    Timestamp::constant(1_795_420_800, 0)
}

/// Returns the time so many seconds after [`start`].
pub fn at(seconds: u64) -> Timestamp {
    clock::after(start(), secs(seconds))
}

/// Returns `n` seconds.
pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Returns `n` minutes.
pub fn mins(n: u64) -> Duration {
    Duration::from_mins(n)
}

/// The image of all worker types, and of instances that are launched by hand.
pub const IMAGE: &str = "ami-1";

/// The security group of all worker types.
pub const GROUP: &str = "sg-1";

/// Returns the key-name of the deployment.
pub fn key() -> KeyName {
    KeyName::from("provisioner-test-sim")
}

/// Returns the name of a worker type.
pub fn name(name: &str) -> WorkerTypeName {
    WorkerTypeName::from(name)
}

/// Returns a worker type with defaults that launches `instance_types` in this order.
pub fn worker_type(instance_types: &[&str], max: u64) -> WorkerType {
    WorkerType {
        image_id: IMAGE.to_owned(),
        instance_types: instance_types.iter().map(|t| InstanceType::from(*t)).collect(),
        max_price: Some(UsdPerHour::from_micros(100_000)),
        policy: Policy::BASIC,
        max_instances: max,
        ..WorkerType::example()
    }
}

/// Returns settings with defaults and these worker types.
pub fn settings<'n>(types: impl IntoIterator<Item = (&'n str, WorkerType)>) -> Settings {
    Settings {
        provisioner: Provisioner {
            key_name: Some(key()),
            retired: Vec::new(),
            provisioner_id: None,
            interval: secs(10),
            min_interval: secs(1),
            strays: Strays::Terminate,
            adopt_key_name: false,
            visibility_window: mins(5),
            max_failed_rounds: 0,
            state_dir: None,
        },
        limits: Limits::default(),
        aws: Aws::default(),
        queue: QueueSettings {
            base_url: "http://localhost:8314/0.1.0".to_owned(),
            running: AskRunning::Auto,
            worker_type_pointer: vec!["workerType".to_owned()],
            timeout: secs(10),
            token_file: None,
        },
        server: Server { listen: None, hosts: Vec::new(), workers: None },
        worker_types: types.into_iter().map(|(n, worker_type)| (name(n), worker_type)).collect(),
        retired_max_lifetime: Some(Duration::from_hours(24)),
    }
}

/// Returns a resolved worker type whose user data is only the stop token, if workers may ask whether to
/// stop.
pub fn resolved_under(
    settings: &Settings,
    worker_type: &WorkerTypeName,
    zones: &[&str],
) -> ResolvedWorkerType {
    let variables = Variables {
        key_name: settings.provisioner.key_name.as_ref().map(KeyName::as_str),
        worker_type: worker_type.as_str(),
        region: "us-west-2",
        queue_url: &settings.queue.base_url,
        idle_timeout: mins(15),
        asking: settings.server.asking(),
    };
    let user_data = UserData { raw: b"${{ stop_token }}".to_vec(), template: true };
    let user_data = user_data.render(&variables).ok();
    ResolvedWorkerType { user_data, ..resolved(zones) }
}

/// Returns where workers of the simulation ask whether to stop.
pub fn worker_server() -> WorkerServer {
    let stop_url = Some("http://10.0.0.1:3001/v1/workers".to_owned());
    WorkerServer { listen: SocketAddr::from(([10, 0, 0, 1], 3001)), stop_url }
}

/// Returns the secret that workers' tokens are derived from.
pub fn stop_secret() -> StopSecret {
    StopSecret::new([7; 64])
}

/// Returns a resolved worker type that may use these zones. Without any, EC2 chooses.
pub fn resolved(zones: &[&str]) -> ResolvedWorkerType {
    let mut placements: Vec<_> =
        zones.iter().map(|zone| ResolvedPlacement::new(Some(Zone::from(*zone)), None)).collect();
    if zones.is_empty() {
        placements.push(ResolvedPlacement::new(None, None));
    }
    ResolvedWorkerType {
        image_id: IMAGE.to_owned(),
        security_group_ids: vec![GROUP.to_owned()],
        user_data: None,
        placements,
        lasting_devices: Vec::new(),
    }
}
