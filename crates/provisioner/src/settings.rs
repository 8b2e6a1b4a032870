//! The validated configuration: what the engine and the adapters are told.
//!
//! Everything that can be wrong has been refused before a [`Settings`] exists; see
//! `config` for how it is read. Nothing in here comes from the environment later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::ids::{InstanceType, KeyName, SubnetId, WorkerTypeName, Zone};
use crate::domain::launch::LaunchSpecification;
use crate::domain::money::{Usd, UsdPerHour};
use crate::domain::user_data::{Asking, Rendered, UserData, UserDataError, Variables};
use crate::policy::Policy;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[provisioner]`.
    pub provisioner: Provisioner,
    /// `[limits]`.
    pub limits: Limits,
    /// `[aws]`.
    pub aws: Aws,
    /// `[queue]`.
    pub queue: Queue,
    /// `[server]`.
    pub server: Server,
    /// `[worker-types.NAME]`, merged over `[worker-defaults]`.
    pub worker_types: BTreeMap<WorkerTypeName, WorkerType>,
    /// `worker-defaults.max-lifetime`: how long machines of types no longer configured may live.
    pub retired_max_lifetime: Option<Duration>,
}

impl Settings {
    /// Returns the user data of a worker type with a template filled in, but for the stop token. `region` is the one in force, which the SDK may have said. `None`: the type has none, or
    /// is not configured.
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

    /// Whether what a worker type names in AWS, and its user data, are the same under `other`.
    pub(crate) fn starts_alike(&self, other: &Self, name: &WorkerTypeName) -> bool {
        let (mine, theirs) = (self.worker_types.get(name), other.worker_types.get(name));
        mine.is_some()
            && mine == theirs
            && self.queue.base_url == other.queue.base_url
            && self.server.workers == other.server.workers
    }
}

/// `[provisioner]`: how the daemon works.
#[derive(Clone, Debug, PartialEq)]
pub struct Provisioner {
    /// The key-name that marks what is ours. Needed by everything that touches AWS.
    pub key_name: Option<KeyName>,
    /// Key-names given up with `setup-aws --force`, for `cleanup-aws` to cover.
    pub retired: Vec<RetiredKeyName>,
    /// If set, only tasks with this `provisionerId`, or none, count.
    pub provisioner_id: Option<String>,
    /// Between rounds.
    pub interval: Duration,
    /// No two rounds closer than this.
    pub min_interval: Duration,
    /// What to do with instances under the key-name that are not ours.
    pub strays: Strays,
    /// Treat a key pair without our tag as ours alone.
    pub adopt_key_name: bool,
    /// How long EC2's describe calls are trusted to lag.
    pub visibility_window: Duration,
    /// Give up after this many failed rounds in a row; 0 is never.
    pub max_failed_rounds: u32,
    /// Where ledgers live; `None` is the user's state directory.
    pub state_dir: Option<PathBuf>,
}

/// A key-name given up, with the account and region it lives in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKeyName {
    /// The key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// Its account; `None` where it was not known.
    pub account_id: Option<String>,
}

/// `provisioner.strays`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// End them, if the key pair is ours.
    Terminate,
    /// Keep and report them.
    Keep,
}

/// `[limits]`: fences over everything. `None` is no fence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Live instances, open requests and launches in flight, all worker types together.
    pub max_instances: Option<u64>,
    /// Their highest possible price.
    pub max_usd_per_hour: Option<UsdPerHour>,
    /// Spent since midnight UTC, and what is live, open or in flight can still spend until midnight.
    pub max_usd_per_day: Option<Usd>,
}

/// `[aws]`: where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Aws {
    /// The region in force, unless the SDK's own is to be used.
    pub region: Option<String>,
    /// The region the configuration files name (`setup-aws` saves it), without overrides.
    pub saved_region: Option<String>,
    /// The shared-configuration profile.
    pub profile: Option<String>,
    /// The endpoint for every AWS service.
    pub endpoint_url: Option<String>,
    /// The account `setup-aws` saved.
    pub account_id: Option<String>,
}

/// `[queue]`: where tasks wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// `http://<host>:<port>/<version>` or `queue.url`, without a slash at the end. `/jobs` is added.
    pub base_url: String,
    /// Whether `…/jobs?state=RUNNING` is asked for too.
    pub running: AskRunning,
    /// The JSON pointer (RFC 6901) to the worker type, split at `/` and unescaped. Never empty.
    pub worker_type_pointer: Vec<String>,
    /// For one whole answer.
    pub timeout: Duration,
    /// A file with a bearer token.
    pub token_file: Option<PathBuf>,
}

/// `queue.running`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskRunning {
    /// Ask, and take 404 or 400 at the first try for "the queue has none".
    Auto,
    /// Always ask; a failure makes the demand unknown.
    Always,
    /// Never ask.
    Never,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where to listen; `None` is no server.
    pub listen: Option<std::net::SocketAddr>,
    /// Whether the user asked for that address. A default that is taken is a warning, not an error.
    pub listen_configured: bool,
    /// Where workers may ask whether to stop; `None`: nowhere.
    pub workers: Option<WorkerServer>,
}

/// `server.worker-listen` and `server.worker-url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerServer {
    /// Where to listen.
    pub listen: std::net::SocketAddr,
    /// By which URL workers ask, its path included and without a slash at the end. `None`: the address
    /// is none they can reach, and nothing else was told.
    pub stop_url: Option<String>,
}

impl Server {
    /// The path under which workers ask. `/INSTANCE-ID/should-stop` is added.
    pub const WORKERS: &str = "/v1/workers";

    /// What user data tells workers about asking.
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
    /// Other values of the pointer that mean this type.
    pub aliases: Vec<String>,
    /// `ami-…` or `ssm:/…`.
    pub image_id: String,
    /// In order of preference. Never empty.
    pub instance_types: Vec<InstanceType>,
    /// Empty: all of the region.
    pub availability_zones: Vec<Zone>,
    /// Empty: EC2 chooses in the default VPC.
    pub subnets: Vec<SubnetId>,
    /// Ids (`sg-…`) or names.
    pub security_groups: Vec<String>,
    /// A name or an ARN.
    pub iam_instance_profile: Option<String>,
    /// What to start with; [`Settings::render_user_data`] fills in a template.
    pub user_data: Option<UserData>,
    /// The highest price per instance-hour; `None` is up to the on-demand price.
    pub max_price: Option<UsdPerHour>,
    /// The capacity policy.
    pub policy: Policy,
    /// An open request older than this is cancelled and asked for elsewhere.
    pub request_timeout: Duration,
    /// At least this many instances, demand or not.
    pub min_instances: u64,
    /// At most this many, whatever the demand.
    pub max_instances: u64,
    /// Tasks one instance runs at a time. At least 1.
    pub tasks_per_instance: u32,
    /// How long workers stay up idle before they end themselves.
    pub idle_timeout: Duration,
    /// How long an instance may take until its worker claims its first task.
    pub boot_timeout: Duration,
    /// Older: no longer counted, ended when idle; twice this: ended. `None` is off.
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
