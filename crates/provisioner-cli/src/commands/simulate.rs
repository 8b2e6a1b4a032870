//! `provisionerd simulate`: what a policy costs and how long tasks wait, before it is deployed.

mod advice;
mod change;
mod deployment;
mod market;
mod meter;
mod view;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use provisioner::domain::clock;
use provisioner::domain::duration;
use provisioner::domain::money::UsdPerHour;
use provisioner::policy::{Adaptive, Policy, Rule};
use provisioner::state_dir::RecordedLoad;
use provisioner_simulate::load::{Load, LoadError, SYNTHETIC_PREFIX, Synthetic};
use provisioner_simulate::report::{self, Contender, PlottedRun};
use provisioner_simulate::simulation::{Setup, WorkerKnowledge, WorldModel, WorldName};

use crate::args::{GlobalArgs, KnowledgeArg, SimulateArgs, WorldArg};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use advice::Advice;
use change::Change;
use deployment::{Deployment, Startups, overridden};
use meter::Meter;
use view::View;

/// Runs the load under every policy, and reports. `given` are the options as they were written: a
/// configuration that only the environment names is not read.
pub(super) fn simulate(
    args: &SimulateArgs,
    given: &GlobalArgs,
    mut context: Context,
) -> Result<ExitStatus, Failure> {
    let plot = args.plot.as_deref().map(svg).transpose()?;
    let market = market::read(args, &context)?;
    let deployed = Deployment::find(args, given, &context)?;
    let (recorded, seen) = match &deployed {
        Some(deployed) if args.is_recorded() => {
            let (recorded, seen) = deployed.recorded()?;
            (Some(recorded), seen)
        }
        _ => (None, None),
    };
    if let Some((median, p90)) = seen.filter(|_| args.boot_time.is_none()) {
        context.notices.progress(format!(
            "startups as they were seen: half took up to {}, one in ten over {}",
            clock::show(median),
            clock::show(p90)
        ));
    }
    let load = read(args, deployed.as_ref(), recorded.as_ref())?;
    if load.others() > 0 {
        context.notices.progress(format!("{} tasks of other worker types left out", load.others()));
    }
    if let Some(n) = recorded.as_ref().map(|it| it.unreadable).filter(|n| *n > 0) {
        let hint = "a daemon that was killed may leave one line unfinished";
        context.notices.warning(format!("{n} lines of the recorded load cannot be read"), hint);
    }
    let candidates = candidates(args, deployed.as_ref(), seen, &context)?;
    let contenders: Vec<_> = candidates
        .iter()
        .map(|it| {
            let setup = Setup { market: market.clone(), ..it.contender.setup.clone() };
            Contender { setup, ..it.contender.clone() }
        })
        .collect();
    let seeds: Vec<u64> = (0..args.seeds).map(|n| args.seed.wrapping_add(n)).collect();
    let notices = context.notices;
    let compare = |contenders: &[Contender]| {
        let world = world(args.world);
        let meter = Meter::new(notices);
        report::compare(&load, world.as_str(), contenders, &seeds, &|done, of| meter.tell(done, of))
    };
    let comparison = compare(&contenders);
    let otherwise = contenders.first().map(market::otherwise).unwrap_or_default();
    let otherwise = (!otherwise.is_empty()).then(|| compare(&otherwise).policies);
    let changes: Vec<_> = candidates.into_iter().map(|it| it.change).collect();
    let standings: Vec<_> = comparison.policies.iter().map(view::in_short).collect();
    let advice = Advice::new(
        &comparison,
        &load,
        &changes,
        recorded.as_ref(),
        price(args, deployed.as_ref()),
    );
    context.output.report(&View::new(comparison, otherwise, advice, &load, &contenders))?;
    if let Some(path) = plot {
        draw(path, &load, &contenders, &standings, args)?;
        context.notices.progress(format!("drawn in `{}`", path.display()));
    }
    Ok(ExitStatus::DONE)
}

impl SimulateArgs {
    fn is_recorded(&self) -> bool {
        self.load == RECORDED
    }
}

/// What stands where a file could: the load that the daemon recorded.
const RECORDED: &str = "recorded";

fn read(
    args: &SimulateArgs,
    deployed: Option<&Deployment>,
    recorded: Option<&RecordedLoad>,
) -> Result<Load, Failure> {
    let worker_type = deployed.map(|it| it.name.as_str());
    let load = if let Some(recorded) = recorded {
        let load = Load::recorded(worker_type.unwrap_or_default(), recorded);
        load.ok_or_else(|| Failure::usage("nothing is recorded"))?
    } else if let Some(name) = args.load.strip_prefix(SYNTHETIC_PREFIX) {
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

/// What is compared, and what it takes to get there from the first.
struct Candidate {
    contender: Contender,
    change: Change,
}

/// The dial's settings beside its default that a recorded load is tried with.
const DIAL: [f64; 2] = [5.0, 100.0];
/// And the idle timeout, where the worker type's own is longer.
const SHORT_IDLE: Duration = Duration::from_mins(5);

fn candidates(
    args: &SimulateArgs,
    deployed: Option<&Deployment>,
    seen: Option<Startups>,
    context: &Context,
) -> Result<Vec<Candidate>, Failure> {
    let Some(today) = deployed else {
        let setup = overridden(args, seen, Setup::of(WorldModel::named(world(args.world))));
        let own = [Policy::default()];
        let policies = given_or(&args.policies, &own);
        let usd_per_hour = price(args, None).map_or(1.0, UsdPerHour::dollars);
        let candidate = |policy: &Policy| {
            // Its own only if nobody says otherwise: the 2014 rules did not run more often.
            let own = policy.own_interval().filter(|_| args.round.is_none());
            let setup = Setup { round: own.unwrap_or(setup.round), ..setup.clone() };
            let name = policy.to_string();
            let contender = Contender { name, policy: *policy, setup, usd_per_hour };
            Candidate { contender, change: Change::default() }
        };
        return Ok(policies.iter().map(candidate).collect());
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    let others = args.against.iter().map(|file| today.other(file, context));
    let others = others.collect::<Result<Vec<_>, _>>()?;
    for (place, deployment) in std::iter::once(today).chain(&others).enumerate() {
        let (setup, _, own) = deployment.setup(args, context)?;
        let setup = overridden(args, seen, setup);
        let mut policies = given_or(&args.policies, &[own]).to_vec();
        if args.policies.is_empty() && args.against.is_empty() && args.is_recorded() {
            let at = |cost| Policy::from(Rule::Adaptive(Adaptive { wait_cost: Some(cost) }));
            let dial = [Policy::default()].into_iter().chain(DIAL.map(at));
            policies.extend(dial.filter(|policy| *policy != own));
            // What can be had where workers do not stop when asked.
            if deployment.worker_type()?.idle_timeout > SHORT_IDLE {
                policies.push(Policy { idle_timeout: Some(SHORT_IDLE), ..own });
            }
        }
        let usd_per_hour = price(args, Some(deployment)).map_or(1.0, UsdPerHour::dollars);
        for policy in policies {
            let name = match (&deployment.file, place) {
                (Some(file), 1..) => format!("{policy} ({file})"),
                _ => policy.to_string(),
            };
            let contender = Contender { name, policy, setup: setup.clone(), usd_per_hour };
            let change = match candidates.first() {
                Some(first) => {
                    Change::between((today, &first.contender.policy), (deployment, &policy))?
                }
                None => Change::default(),
            };
            candidates.push(Candidate { contender, change });
        }
    }
    Ok(candidates)
}

fn given_or<'a>(given: &'a [Policy], own: &'a [Policy]) -> &'a [Policy] {
    if given.is_empty() { own } else { given }
}

/// What an instance-hour costs, if that is known.
fn price(args: &SimulateArgs, deployment: Option<&Deployment>) -> Option<UsdPerHour> {
    let own = || deployment?.worker_type().ok()?.max_price;
    args.price.or_else(own)
}

impl From<KnowledgeArg> for WorkerKnowledge {
    fn from(arg: KnowledgeArg) -> Self {
        match arg {
            KnowledgeArg::Pending => Self::Pending,
            KnowledgeArg::Counts => Self::Counts,
            KnowledgeArg::Ids => Self::Ids,
            KnowledgeArg::Asking => Self::Asking,
            KnowledgeArg::Workers => Self::Workers,
        }
    }
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
        WorldArg::Z => WorldName::Z,
    }
}

/// Refuses a name that promises another format.
fn svg(path: &Path) -> Result<&Path, Failure> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|it| !it.is_dir()) {
        let message = format!("there is no folder `{}` for the plot", folder.display());
        return Err(Failure::usage(message).with_hint("make it first"));
    }
    match path.extension().and_then(OsStr::to_str) {
        None | Some("svg" | "SVG") => Ok(path),
        Some(other) => Err(Failure::usage(format!("`{other}` is no format of plots")).with_hint(
            "name the file .svg: every browser shows it, and rsvg-convert makes a PNG of it",
        )),
    }
}

fn draw(
    path: &Path,
    load: &Load,
    contenders: &[Contender],
    standings: &[String],
    args: &SimulateArgs,
) -> Result<(), Failure> {
    let moments: Vec<_> =
        contenders.iter().map(|it| report::moments(load, it, args.seed)).collect();
    let runs: Vec<_> = contenders
        .iter()
        .zip(standings)
        .zip(&moments)
        .map(|((contender, note), moments)| PlottedRun { name: &contender.name, note, moments })
        .collect();
    let world = world(args.world);
    let title = format!("{}: {} tasks, world {world}", load.name(), load.tasks().len());
    fs::write(path, report::plot(&title, &runs)).map_err(|error| {
        Failure::failed(format!("failed to write the plot `{}`", path.display())).caused_by(&error)
    })
}
