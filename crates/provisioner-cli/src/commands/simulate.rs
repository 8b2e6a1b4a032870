//! `provisionerd simulate`: what a policy costs and how long tasks wait, before it is deployed.

mod view;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use provisioner::config::duration;
use provisioner::ids::WorkerTypeName;
use provisioner::money::UsdPerHour;
use provisioner::policy::Policy;
use provisioner::settings::{Settings, WorkerType};
use provisioner_sim::chance::Lognormal;
use provisioner_sim::fleet::{Knowledge, Setup, World, WorldName};
use provisioner_sim::load::{Load, LoadError, SYNTHETIC_PREFIX, Synthetic};
use provisioner_sim::report::{self, Contender};

use crate::args::{GlobalArgs, KnowledgeArg, SimulateArgs, WorldArg};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use view::View;

/// Runs the load under every policy, and reports. `given` are the options as they were written: a
/// configuration that only the environment names is not read.
pub(super) fn simulate(
    args: &SimulateArgs,
    given: &GlobalArgs,
    mut context: Context,
) -> Result<ExitStatus, Failure> {
    let plot = args.plot.as_deref().map(svg).transpose()?;
    let configured = configured(args, given, &context)?;
    let load = read(args, configured.as_ref().map(|(name, _)| name.as_str()))?;
    if load.others() > 0 {
        context.notices.progress(format!("{} tasks of other worker types left out", load.others()));
    }
    let contenders = contenders(args, configured.as_ref(), &context)?;
    let seeds: Vec<u64> = (0..args.seeds).map(|n| args.seed.wrapping_add(n)).collect();
    let notices = context.notices;
    let comparison =
        report::compare(&load, world(args.world).as_str(), &contenders, &seeds, &|done, of| {
            notices.meter(done, of, "runs");
        });
    context.output.report(&View::new(comparison, &load, &contenders))?;
    if let Some(path) = plot {
        draw(path, &load, &contenders, args)?;
        context.notices.progress(format!("drawn in `{}`", path.display()));
    }
    Ok(ExitStatus::DONE)
}

/// The worker type to simulate, if one is asked for.
fn configured(
    args: &SimulateArgs,
    given: &GlobalArgs,
    context: &Context,
) -> Result<Option<(WorkerTypeName, Settings)>, Failure> {
    if args.worker_type.is_none() && given.config.is_none() {
        return Ok(None);
    }
    let settings = load::load_config(context)?.settings;
    let mut names = settings.worker_types.keys();
    let all = || names.clone().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let name = match &args.worker_type {
        Some(wanted) => names.clone().find(|name| name.as_str() == wanted).ok_or_else(|| {
            Failure::usage(format!("the configuration has no worker type `{wanted}`"))
                .with_hint(format!("it has: {}", all()))
        })?,
        None if names.len() == 1 => names.next().ok_or_else(|| Failure::usage("no worker type"))?,
        None => {
            let message = format!("the configuration has {} worker types", names.len());
            return Err(Failure::usage(message)
                .with_hint(format!("name one with --worker-type: {}", all())));
        }
    };
    Ok(Some((name.clone(), settings)))
}

fn read(args: &SimulateArgs, worker_type: Option<&str>) -> Result<Load, Failure> {
    let load = if let Some(name) = args.load.strip_prefix(SYNTHETIC_PREFIX) {
        let kind = Synthetic::by_name(name).ok_or_else(|| {
            let known = Synthetic::ALL.map(Synthetic::as_str).join(", ");
            Failure::usage(format!("no load is made up under the name `{name}`"))
                .with_hint(format!("known: {known}"))
        })?;
        Load::synthetic(kind, args.seed)
    } else {
        Load::read(Path::new(&args.load), worker_type).map_err(|error: LoadError| {
            let hint = error.hint();
            Failure::from_error(ExitStatus::USAGE, &error).with_hint(hint)
        })?
    };
    Ok(match args.until {
        Some(until) => load.cut(until),
        None => load,
    })
}

fn contenders(
    args: &SimulateArgs,
    configured: Option<&(WorkerTypeName, Settings)>,
    context: &Context,
) -> Result<Vec<Contender>, Failure> {
    let (setup, price, own) = match configured {
        None => (Setup::of(World::named(world(args.world))), None, Policy::default()),
        Some((name, settings)) => {
            let Some(worker_type) = settings.worker_types.get(name) else {
                return Err(Failure::usage(format!("no worker type `{name}`")));
            };
            if worker_type.tasks_per_instance > 1 {
                let n = worker_type.tasks_per_instance;
                return Err(Failure::usage(format!(
                    "`{name}` runs {n} tasks per instance; instances are simulated with one"
                ))
                .with_hint("set tasks-per-instance = 1 in a copy of the configuration"));
            }
            if settings.limits.max_usd_per_day.is_some() {
                let hint = "the simulation knows no days; max-usd-per-hour it does know";
                context.notices.warning("`limits.max-usd-per-day` is not simulated", hint);
            }
            let setup = of_worker_type(args, worker_type, settings);
            (setup, worker_type.max_price, worker_type.policy)
        }
    };
    let price = args.price.or(price).map_or(1.0, UsdPerHour::dollars);
    let setup = overridden(args, setup);
    let policies = if args.policies.is_empty() { &[own][..] } else { &args.policies };
    let contender = |policy: &Policy| Contender {
        name: policy.to_string(),
        policy: *policy,
        setup: Setup {
            // Its own only if nobody says otherwise: the 2014 rules did not run more often.
            round: match (policy.own_interval(), args.round, configured) {
                (Some(own), None, None) => own,
                _ => setup.round,
            },
            ..setup
        },
        usd_per_hour: price,
    };
    Ok(policies.iter().map(contender).collect())
}

fn of_worker_type(args: &SimulateArgs, worker_type: &WorkerType, settings: &Settings) -> Setup {
    let of_dollars = match (settings.limits.max_usd_per_hour, worker_type.max_price) {
        (Some(most), Some(price)) => most.micros().checked_div(price.micros()),
        _ => None,
    };
    let fences = [Some(worker_type.max_instances), settings.limits.max_instances, of_dollars];
    let max_instances = fences.into_iter().flatten().min().unwrap_or(worker_type.max_instances);
    Setup {
        round: settings.provisioner.interval,
        min_instances: worker_type.min_instances.min(max_instances),
        max_instances,
        idle_timeout: worker_type.idle_timeout,
        boot_timeout: worker_type.boot_timeout,
        ..Setup::of(World::named(world(args.world)))
    }
}

fn overridden(args: &SimulateArgs, mut setup: Setup) -> Setup {
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
    setup.knowledge = match args.knowledge {
        KnowledgeArg::Pending => Knowledge::Pending,
        KnowledgeArg::Counts => Knowledge::Counts,
        KnowledgeArg::Ids => Knowledge::Ids,
        KnowledgeArg::Asking => Knowledge::Asking,
        KnowledgeArg::Workers => Knowledge::Workers,
    };
    setup
}

fn world(world: WorldArg) -> WorldName {
    match world {
        WorldArg::P => WorldName::P,
        WorldArg::D => WorldName::D,
        WorldArg::K => WorldName::K,
        WorldArg::S300 => WorldName::S300,
        WorldArg::R => WorldName::R,
        WorldArg::Q => WorldName::Q,
        WorldArg::I => WorldName::I,
    }
}

/// Refuses a name that promises another format.
fn svg(path: &Path) -> Result<&Path, Failure> {
    match path.extension().and_then(OsStr::to_str) {
        None | Some("svg" | "SVG") => Ok(path),
        Some(other) => Err(Failure::usage(format!("`{other}` is no format of plots"))
            .with_hint("name the file .svg: every browser shows it")),
    }
}

fn draw(
    path: &Path,
    load: &Load,
    contenders: &[Contender],
    args: &SimulateArgs,
) -> Result<(), Failure> {
    let runs: Vec<_> = contenders
        .iter()
        .map(|contender| (contender.name.as_str(), report::moments(load, contender, args.seed)))
        .collect();
    let runs: Vec<_> = runs.iter().map(|(name, moments)| (*name, moments.as_slice())).collect();
    let world = world(args.world);
    let title = format!("{}: {} tasks, world {world}", load.name(), load.tasks().len());
    fs::write(path, report::plot(&title, &runs)).map_err(|error| {
        Failure::failed(format!("failed to write the plot `{}`", path.display())).caused_by(&error)
    })
}
