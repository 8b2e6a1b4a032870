//! `provisionerd simulate`: shows what a policy costs and how long tasks wait, before it is deployed.

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

use provisioner::internal::domain::duration;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::plural;
use provisioner::internal::policy::{Adaptive, Policy, Rule};
use provisioner::internal::state_dir::RecordedLoad;
use provisioner_simulate::load::{Load, LoadError, SYNTHETIC_PREFIX, Synthetic};
use provisioner_simulate::policy::SimulatedPolicy;
use provisioner_simulate::report::{self, Contender, PlottedRun};
use provisioner_simulate::simulation::{Setup, WorkerKnowledge, WorldModel, WorldName};

use crate::args::{GlobalArgs, KnowledgeArg, RECORDED, SimulateArgs, WorldArg};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use advice::Advice;
use change::Change;
use deployment::{Deployment, Startups, overridden};
use meter::Meter;
use view::View;

/// Runs the load under every policy and reports the comparison. `given` holds the options as they were
/// typed, because a configuration that only the environment names is not read here.
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
            "startups as observed: half took up to {}, one in ten took over {}",
            duration::show(median),
            duration::show(p90)
        ));
    }
    let load = read(args, deployed.as_ref(), recorded.as_ref())?;
    if load.others() > 0 {
        context.notices.progress(format!(
            "{} of other worker types left out",
            plural::count(load.others(), "task")
        ));
    }
    if let Some(n) = recorded.as_ref().map(|load| load.unreadable).filter(|n| *n > 0) {
        let hint = "a daemon that is killed may leave an unfinished line";
        context.notices.warning(
            format!("{} of the recorded load cannot be read", plural::count(n, "line")),
            hint,
        );
    }
    let candidates = candidates(args, deployed.as_ref(), seen, &context)?;
    let contenders: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let setup = Setup { market: market.clone(), ..candidate.contender.setup.clone() };
            Contender { setup, ..candidate.contender.clone() }
        })
        .collect();
    let seeds: Vec<u64> = (0..args.seeds).map(|n| args.seed.wrapping_add(n)).collect();
    let notices = context.notices;
    let compare = |contenders: &[Contender]| {
        let world = world(args.world);
        let meter = Meter::new(notices);
        report::compare(&load, world.as_str(), contenders, &seeds, &|done, of| meter.show(done, of))
    };
    let comparison = compare(&contenders);
    let alternatives = contenders.first().map(market::alternatives).unwrap_or_default();
    let alternatives = (!alternatives.is_empty()).then(|| compare(&alternatives).policies);
    // Whoever names no worker type has not said how the workers behave, on which most of the saving rests.
    let assumed = args.knowledge.is_none() && deployed.is_none();
    let adaptive = contenders.iter().rposition(|contender| contender.policy.lets_go());
    let by_themselves = adaptive.filter(|_| assumed).and_then(|place| {
        let counted = contenders.get(place)?.clone();
        let setup = Setup { knowledge: WorkerKnowledge::Counts, ..counted.setup };
        let alone = compare(&[Contender { setup, ..counted }]).policies.pop()?;
        Some((place, alone))
    });
    let changes: Vec<_> = candidates.into_iter().map(|candidate| candidate.change).collect();
    let standings: Vec<_> = comparison.policies.iter().map(view::in_short).collect();
    let advice = Advice::new(
        &comparison,
        &load,
        &changes,
        recorded.as_ref(),
        price(args, deployed.as_ref()),
        by_themselves.as_ref(),
    );
    context.output.report(&View::new(comparison, alternatives, advice, &load, &contenders))?;
    if let Some(path) = plot {
        draw(path, &load, &contenders, &standings, args)?;
        context.notices.progress(format!("wrote the plot `{}`", path.display()));
    }
    Ok(ExitStatus::DONE)
}

impl SimulateArgs {
    fn is_recorded(&self) -> bool {
        self.load == RECORDED
    }
}

fn read(
    args: &SimulateArgs,
    deployed: Option<&Deployment>,
    recorded: Option<&RecordedLoad>,
) -> Result<Load, Failure> {
    let worker_type = deployed.map(|deployment| deployment.name.as_str());
    let load = if let Some(recorded) = recorded {
        let load = Load::recorded(worker_type.unwrap_or_default(), recorded);
        load.ok_or_else(|| Failure::usage("nothing is recorded"))?
    } else if let Some(name) = args.load.strip_prefix(SYNTHETIC_PREFIX) {
        let kind = Synthetic::by_name(name).ok_or_else(|| {
            let known = Synthetic::ALL.map(Synthetic::as_str).join(", ");
            Failure::usage(format!("there is no synthetic load `{name}`"))
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

/// A policy and setup to compare, and the change of the configuration that leads there from the first.
struct Candidate {
    contender: Contender,
    change: Change,
}

/// The values of `wait-cost` beside its default with which a recorded load is simulated.
const DIAL: [f64; 2] = [5.0, 100.0];
/// The idle timeout with which a recorded load is simulated if the worker type's own is longer.
const SHORT_IDLE: Duration = Duration::from_mins(5);

fn candidates(
    args: &SimulateArgs,
    deployed: Option<&Deployment>,
    seen: Option<Startups>,
    context: &Context,
) -> Result<Vec<Candidate>, Failure> {
    let Some(today) = deployed else {
        let setup = overridden(
            args,
            KnowledgeArg::Workers,
            seen,
            Setup::of(WorldModel::named(world(args.world))),
        );
        let own = [SimulatedPolicy::default()];
        let policies = given_or(&args.policies, &own);
        let usd_per_hour = price(args, None).map_or(1.0, UsdPerHour::dollars);
        let candidate = |policy: &SimulatedPolicy| {
            // The interval that belongs to the policy, such as that of the 2014 rules, unless another is given.
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
        let setup = overridden(args, deployment.knowledge(), seen, setup);
        let mut policies = given_or(&args.policies, &[own]).to_vec();
        if args.policies.is_empty() && args.against.is_empty() && args.is_recorded() {
            let adaptive = |wait_cost| Rule::Adaptive(Adaptive { wait_cost: Some(wait_cost) });
            let at = |wait_cost| SimulatedPolicy::from(Policy::from(adaptive(wait_cost)));
            let dial = [SimulatedPolicy::default()].into_iter().chain(DIAL.map(at));
            policies.extend(dial.filter(|policy| *policy != own));
            // Shows what can be saved where workers do not ask whether to stop.
            if deployment.worker_type()?.idle_timeout > SHORT_IDLE {
                policies.push(own.with_idle_timeout(Some(SHORT_IDLE)));
            }
        }
        let usd_per_hour = price(args, Some(deployment)).map_or(1.0, UsdPerHour::dollars);
        for policy in policies {
            let name = match (&deployment.file, place) {
                (Some(file), 1..) => format!("{policy} ({file})"),
                _ => policy.to_string(),
            };
            let contender = Contender { name, policy, setup: setup.clone(), usd_per_hour };
            let mut change = match candidates.first() {
                Some(first) => {
                    Change::between((today, &first.contender.policy), (deployment, &policy))?
                }
                None => Change::default(),
            };
            // What was simulated with workers as they are requires no others.
            change.asks_workers &=
                matches!(args.knowledge, Some(KnowledgeArg::Asking | KnowledgeArg::Workers));
            candidates.push(Candidate { contender, change });
        }
    }
    Ok(candidates)
}

fn given_or<'a>(given: &'a [SimulatedPolicy], own: &'a [SimulatedPolicy]) -> &'a [SimulatedPolicy] {
    if given.is_empty() { own } else { given }
}

/// Returns the price of an instance-hour, if it is known.
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

/// Refuses a file name with the ending of another format.
fn svg(path: &Path) -> Result<&Path, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("there is no folder `{}` for the plot", folder.display());
        return Err(Failure::usage(message).with_hint("create it first"));
    }
    match path.extension().and_then(OsStr::to_str) {
        None | Some("svg" | "SVG") => Ok(path),
        Some(other) => Err(Failure::usage(format!("plots cannot be written as `{other}`"))
            .with_hint(
                "name the file .svg: every browser shows it, and rsvg-convert converts it to PNG",
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
        contenders.iter().map(|contender| report::moments(load, contender, args.seed)).collect();
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
