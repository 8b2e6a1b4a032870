//! The validated configuration, as the engine and the adapters use it.
//!
//! Everything that can be wrong was refused before a [`Settings`] exists; `config` describes how it is
//! read. Nothing in here is looked up in the environment later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::ids::{InstanceType, KeyName, SubnetId, WorkerTypeName, Zone};
use crate::domain::launch::LaunchSpecification;
use crate::domain::money::{Usd, UsdPerHour};
use crate::domain::user_data::{Asking, Rendered, UserData, UserDataError, Variables};
use crate::policy::Policy;

/// The complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[provisioner]`.
    pub provisioner: Provisioner,
    /// `[limits]`.
    pub limits: Limits,
    /// `[aws]`.
    pub aws: Aws,
    /// `[queue]`.
    pub queue: QueueSettings,
    /// `[server]`.
    pub server: Server,
    /// `[worker-types.NAME]`, merged over `[worker-defaults]`.
    pub worker_types: BTreeMap<WorkerTypeName, WorkerType>,
    /// `worker-defaults.max-lifetime`: how long machines of types no longer configured may live.
    pub retired_max_lifetime: Option<Duration>,
}

impl Settings {
    /// Returns the user data of a worker type with its template filled in except for the stop token.
    /// `region` is the region in force, which may be the SDK's own. Returns `None` if the worker type has no
    /// user data or is not configured.
    pub fn render_user_data(
        &self,
        worker_type: &WorkerTypeName,
        region: &str,
    ) -> Result<Option<Rendered>, UserDataError> {
        let Some(settings) = self.worker_types.get(worker_type) else { return Ok(None) };
        let Some(user_data) = &settings.user_data else { return Ok(None) };
        let variables = Variables {
            key_name: self.provisioner.key_name.as_ref().map(KeyName::as_str),
            worker_type: worker_type.as_str(),
            region,
            queue_url: &self.queue.base_url,
            idle_timeout: settings.idle_timeout,
            asking: self.server.asking(),
        };
        user_data.render(&variables).map(Some)
    }

    /// Returns whether a worker type resolves to the same names in AWS and the same user data under `other`.
    #[cfg(feature = "aws")]
    pub(crate) fn starts_alike(&self, other: &Self, name: &WorkerTypeName) -> bool {
        let mine = self.worker_types.get(name);
        mine.is_some()
            && mine == other.worker_types.get(name)
            && self.queue.base_url == other.queue.base_url
            && self.server.workers == other.server.workers
    }
}

/// `[provisioner]`: how the daemon works.
#[derive(Clone, Debug, PartialEq)]
pub struct Provisioner {
    /// The key-name that marks our resources. Everything that accesses AWS needs it.
    pub key_name: Option<KeyName>,
    /// Key-names given up with `setup-aws --force`, for `cleanup-aws` to cover.
    pub retired: Vec<RetiredKeyName>,
    /// If set, only tasks with this `provisionerId`, or none, count.
    pub provisioner_id: Option<String>,
    /// The time between rounds.
    pub interval: Duration,
    /// The shortest time between two rounds.
    pub min_interval: Duration,
    /// What to do with instances that have the key-name but are not ours.
    pub strays: Strays,
    /// Whether a key pair without our tag is treated as ours alone.
    pub adopt_key_name: bool,
    /// How long EC2's describe calls are trusted to lag.
    pub visibility_window: Duration,
    /// The number of failed rounds in a row after which the daemon gives up; 0 means never.
    pub max_failed_rounds: u32,
    /// Where the state is stored; `None` means the user's state directory.
    pub state_dir: Option<PathBuf>,
}

/// A key-name that was given up, with its account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKeyName {
    /// The key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// Its account, if it was known.
    pub account_id: Option<String>,
}

/// `provisioner.strays`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// Terminate them if the key pair is ours.
    Terminate,
    /// Keep and report them.
    Keep,
}

/// `[limits]`: fences over all worker types together. `None` means no fence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The most live instances, open requests and launches in flight together.
    pub max_instances: Option<u64>,
    /// The most that these may cost at their highest possible price.
    pub max_usd_per_hour: Option<UsdPerHour>,
    /// The most that may be spent between midnight and midnight UTC: what was spent already, and what live,
    /// open and in-flight machines can still cost.
    pub max_usd_per_day: Option<Usd>,
}

impl Limits {
    /// For how long each instance is counted to `max_usd_per_day` at least, as `docs/operations.md` says.
    /// Shortly before midnight it would otherwise cost next to nothing of the day and much of the next.
    pub const LEAST_AHEAD: Duration = Duration::from_hours(6);
}

/// `[aws]`: which account and region, and how to reach them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aws {
    /// The region in force; `None` means the SDK's own.
    pub region: Option<String>,
    /// The region in the configuration files (`setup-aws` saves it), without overrides.
    pub saved_region: Option<String>,
    /// The shared-configuration profile.
    pub profile: Option<String>,
    /// The endpoint of every AWS service, instead of AWS's own.
    pub endpoint_url: Option<String>,
    /// The account that `setup-aws` saved.
    pub account_id: Option<String>,
}

/// `[queue]`: where tasks wait.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// `http://<host>:<port>/<version>` or `queue.url`, without a slash at the end. `/jobs` is added.
    pub base_url: String,
    /// Whether `…/jobs?state=RUNNING` is requested too.
    pub running: AskRunning,
    /// The JSON pointer (RFC 6901) to the worker type, split at `/` and unescaped. Never empty.
    pub worker_type_pointer: Vec<String>,
    /// The timeout for one complete answer.
    pub timeout: Duration,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
}

/// `queue.running`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskRunning {
    /// Ask; a 4xx (but 401, 403, 408 and 429) or 501 before the first 200 means that the queue does not offer
    /// it.
    Auto,
    /// Always ask; after a failure, the demand is unknown.
    Always,
    /// Never ask.
    Never,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The address to listen at; `None` means no server.
    pub listen: Option<std::net::SocketAddr>,
    /// The names by which the server may be addressed, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The server where workers may ask whether to stop; `None` if they may not ask.
    pub workers: Option<WorkerServer>,
}

/// `server.worker-listen` and `server.worker-url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerServer {
    /// The address to listen at.
    pub listen: std::net::SocketAddr,
    /// The URL at which workers ask, with its path and without a slash at the end. `None` if workers cannot
    /// reach `worker-listen` and no `worker-url` is configured.
    pub stop_url: Option<String>,
}

impl Server {
    /// The path under which workers ask, to which `/INSTANCE-ID/should-stop` is added.
    pub const WORKERS: &str = "/v1/workers";

    /// Returns what user data tells workers about asking.
    pub fn asking(&self) -> Asking<'_> {
        match &self.workers {
            None => Asking::Off,
            Some(WorkerServer { stop_url: None, .. }) => Asking::Nowhere,
            Some(WorkerServer { stop_url: Some(url), .. }) => Asking::At(url),
        }
    }
}

/// `[worker-types.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerType {
    /// Other values of the pointer that mean this worker type.
    pub aliases: Vec<String>,
    /// `ami-…` or `ssm:/…`.
    pub image_id: String,
    /// The instance types in order of preference. Never empty.
    pub instance_types: Vec<InstanceType>,
    /// The zones to launch in; if empty, all zones of the region.
    pub availability_zones: Vec<Zone>,
    /// The subnets to launch in; if empty, EC2 chooses in the default VPC.
    pub subnets: Vec<SubnetId>,
    /// Security groups, by id (`sg-…`) or name.
    pub security_groups: Vec<String>,
    /// The instance profile, by name or by ARN.
    pub iam_instance_profile: Option<String>,
    /// The user data; [`Settings::render_user_data`] fills in its template.
    pub user_data: Option<UserData>,
    /// The highest price per instance-hour; `None` means up to the on-demand price.
    pub max_price: Option<UsdPerHour>,
    /// The capacity policy.
    pub policy: Policy,
    /// An open request older than this is cancelled and asked for elsewhere.
    pub request_timeout: Duration,
    /// The fewest instances, regardless of the demand.
    pub min_instances: u64,
    /// The most instances, regardless of the demand.
    pub max_instances: u64,
    /// The number of tasks that one instance runs at a time; at least 1.
    pub tasks_per_instance: u32,
    /// How long workers stay idle before they stop by themselves.
    pub idle_timeout: Duration,
    /// How long an instance may take until its worker claims its first task.
    pub boot_timeout: Duration,
    /// The age from which an instance no longer counts and is terminated when idle; at twice the age it is
    /// terminated in any case. `None` means never.
    pub max_lifetime: Option<Duration>,
    /// The user's tags.
    pub tags: BTreeMap<String, String>,
    /// Further fields of EC2's launch specification.
    pub launch_specification: LaunchSpecification,
}

impl WorkerType {
    /// Returns a worker type with an image, an instance type and otherwise the configuration's defaults,
    /// for tests and benchmarks to change as they need it.
    #[doc(hidden)]
    pub fn example() -> Self {
        Self {
            aliases: Vec::new(),
            image_id: "ami-0123456789abcdef0".to_owned(),
            instance_types: vec!["c7g.large".into()],
            availability_zones: Vec::new(),
            subnets: Vec::new(),
            security_groups: Vec::new(),
            iam_instance_profile: None,
            user_data: None,
            max_price: None,
            policy: Policy::default(),
            request_timeout: Duration::from_mins(10),
            min_instances: 0,
            max_instances: 20,
            tasks_per_instance: 1,
            idle_timeout: Duration::from_mins(15),
            boot_timeout: Duration::from_mins(15),
            max_lifetime: Some(Duration::from_hours(24)),
            tags: BTreeMap::new(),
            launch_specification: LaunchSpecification::default(),
        }
    }
}
