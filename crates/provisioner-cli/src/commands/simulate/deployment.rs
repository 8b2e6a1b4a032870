//! The worker type that is simulated, as a configuration describes it.

use std::path::Path;
use std::time::Duration;

use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::engine::{Memory, memory};
use provisioner::internal::settings::{AskRunning, Settings, WorkerType};
use provisioner::internal::state_dir::{RecordedLoad, StateDir};
use provisioner_sim::rng::Lognormal;
use provisioner_simulate::policy::SimulatedPolicy;
use provisioner_simulate::simulation::{Setup, WorldModel};

use super::world;
use crate::args::{GlobalArgs, KnowledgeArg, SimulateArgs, WorldArg};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;

/// The median and the 90th percentile of startups.
pub(super) type Startups = (Duration, Duration);

/// A worker type of a configuration.
pub(super) struct Deployment {
    pub(super) name: WorkerTypeName,
    pub(super) settings: Settings,
    /// The file that it was read from, if it was a single one.
    pub(super) file: Option<String>,
}

impl Deployment {
    /// Returns the worker type to simulate, if the arguments ask for one.
    pub(super) fn find(
        args: &SimulateArgs,
        given: &GlobalArgs,
        context: &Context,
    ) -> Result<Option<Self>, Failure> {
        let asked = args.worker_type.is_some() || given.config.is_some() || args.is_recorded();
        if !asked {
            if !args.against.is_empty() {
                return Err(Failure::usage("--against compares two configurations")
                    .with_hint("name the worker type with --worker-type"));
            }
            return Ok(None);
        }
        let loaded = load::load_config(context)?;
        let file = match &loaded.files_read[..] {
            [file] => Some(file.display().to_string()),
            _ => None,
        };
        let name = args.worker_type.as_deref();
        Ok(Some(Self { name: named(&loaded.settings, name)?, settings: loaded.settings, file }))
    }

    /// Reads the same worker type from another configuration.
    pub(super) fn other(&self, file: &Path, context: &Context) -> Result<Self, Failure> {
        let settings = load::load_other(context, file)?.settings;
        let name = named(&settings, Some(self.name.as_str()))?;
        Ok(Self { name, settings, file: Some(file.display().to_string()) })
    }

    pub(super) fn worker_type(&self) -> Result<&WorkerType, Failure> {
        let found = self.settings.worker_types.get(&self.name);
        found.ok_or_else(|| Failure::usage(format!("no worker type `{}`", self.name)))
    }

    /// Returns its setup, the price of an instance-hour if it is known, and its policy.
    pub(super) fn setup(
        &self,
        args: &SimulateArgs,
        context: &Context,
    ) -> Result<(Setup, Option<UsdPerHour>, SimulatedPolicy), Failure> {
        let Self { name, settings, .. } = self;
        let worker_type = self.worker_type()?;
        if worker_type.tasks_per_instance > 1 {
            let n = worker_type.tasks_per_instance;
            return Err(Failure::usage(format!(
                "`{name}` runs {n} tasks per instance; the simulation supports only one"
            ))
            .with_hint("set tasks-per-instance = 1 in a copy of the configuration"));
        }
        if settings.limits.max_usd_per_day.is_some() {
            let hint = "the simulation has no days, but it does support max-usd-per-hour";
            context.notices.warning("`limits.max-usd-per-day` is not simulated", hint);
        }
        let max_instances = most_instances(worker_type, settings);
        let setup = Setup {
            round: settings.provisioner.interval,
            min_instances: worker_type.min_instances.min(max_instances),
            max_instances,
            idle_timeout: worker_type.idle_timeout,
            boot_timeout: worker_type.boot_timeout,
            ..Setup::of(WorldModel::named(world(args.world)))
        };
        Ok((setup, worker_type.max_price, worker_type.policy.into()))
    }

    /// Returns what the daemon of this configuration knows about its workers.
    pub(super) fn knowledge(&self) -> KnowledgeArg {
        let Settings { server, queue, .. } = &self.settings;
        match (&server.workers, queue.running) {
            (Some(_), _) => KnowledgeArg::Asking,
            (None, AskRunning::Never) => KnowledgeArg::Pending,
            (None, AskRunning::Auto | AskRunning::Always) => KnowledgeArg::Counts,
        }
    }

    /// Returns the load that the daemon of this configuration recorded, and the startups that it observed
    /// if there were enough of them.
    pub(super) fn recorded(&self) -> Result<(RecordedLoad, Option<Startups>), Failure> {
        let aws = &self.settings.aws;
        let provisioner = &self.settings.provisioner;
        let key_name = load::key_name(&self.settings)?;
        let region = aws.saved_region.as_ref().or(aws.region.as_ref());
        let (Some(account), Some(region)) = (&aws.account_id, region) else {
            let message = "the recorded load is in the state directory of an account and region, and \
                           the configuration does not name both";
            return Err(Failure::usage(message).with_hint(
                "let `setup-aws` save `aws.account-id` and `aws.region`, or name the file itself: \
                 --load STATE-DIR/load/WORKER-TYPE.csv",
            ));
        };
        let unusable = |error: provisioner::internal::state_dir::StateDirError| {
            Failure::from_error(ExitStatus::USAGE, &error)
                .with_hint(error.hint().unwrap_or_default())
        };
        let root = provisioner.state_dir.as_deref();
        let state_dir = StateDir::locate(root, account, region, key_name).map_err(unusable)?;
        let recorded = state_dir.read_load(&self.name).map_err(unusable)?;
        if recorded.tasks.is_empty() {
            let message = format!(
                "no load of `{}` is recorded in `{}`",
                self.name,
                state_dir.path().display()
            );
            return Err(Failure::usage(message).with_hint(
                "`provisionerd run` records the tasks that it sees run and end if the queue answers \
                 `state=RUNNING` with `taskId` and `created`; let it run for a day or more",
            ));
        }
        let learned = state_dir.read_memory::<Memory>().unwrap_or_default();
        let startups = memory::observed_startups(&learned, &self.name);
        Ok((recorded, startups))
    }
}

fn named(settings: &Settings, wanted: Option<&str>) -> Result<WorkerTypeName, Failure> {
    let mut names = settings.worker_types.keys();
    let all = || names.clone().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) => {
            names.clone().find(|name| name.as_str() == wanted).cloned().ok_or_else(|| {
                Failure::usage(format!("the configuration has no worker type `{wanted}`"))
                    .with_hint(format!("it has: {}", all()))
            })
        }
        None if names.len() == 0 => Err(Failure::usage("the configuration has no worker types")
            .with_hint("name its file with --config")),
        None if names.len() == 1 => {
            names.next().cloned().ok_or_else(|| Failure::usage("no worker type"))
        }
        None => {
            let message = format!("the configuration has {} worker types", names.len());
            Err(Failure::usage(message)
                .with_hint(format!("name one with --worker-type: {}", all())))
        }
    }
}

/// Returns the lowest maximum: of the worker type, of `[limits]`, and of the dollars at its price.
fn most_instances(worker_type: &WorkerType, settings: &Settings) -> u64 {
    let of_dollars = match (settings.limits.max_usd_per_hour, worker_type.max_price) {
        (Some(most), Some(price)) => most.micros().checked_div(price.micros()),
        _ => None,
    };
    let fences = [Some(worker_type.max_instances), settings.limits.max_instances, of_dollars];
    fences.into_iter().flatten().min().unwrap_or(worker_type.max_instances)
}

/// Applies what is known of the workers and the observed startups to a setup, and then the command line.
pub(super) fn overridden(
    args: &SimulateArgs,
    knowledge: KnowledgeArg,
    seen: Option<Startups>,
    mut setup: Setup,
) -> Setup {
    // The other worlds are defined by their startups.
    if let Some((median, p90)) = seen.filter(|_| matches!(args.world, WorldArg::P | WorldArg::Z)) {
        setup.world.startup = Lognormal::with_p90(median, p90);
    }
    if let Some(boot_time) = args.boot_time {
        setup.world.startup = Lognormal::new(boot_time.median, boot_time.p99);
    }
    if let Some(round) = args.round {
        setup.round = round;
    }
    if let Some(max) = args.max_instances {
        setup.max_instances = max;
        setup.min_instances = setup.min_instances.min(max);
    }
    setup.knowledge = args.knowledge.unwrap_or(knowledge).into();
    setup
}
