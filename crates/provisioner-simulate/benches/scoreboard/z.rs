//! World Z: a load in a recorded spot market, in each zone alone and zone-aware.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use provisioner_simulate::load::Load;
use provisioner_simulate::policy::SimulatedPolicy;
use provisioner_simulate::report::{self, Contender};
use provisioner_simulate::simulation::{Outcome, Setup, WorldModel, WorldName};
use provisioner_simulate::spot::{Market, OnDemand};

use super::{Result, SEEDS};

/// A recorded market.
pub(super) struct Traces {
    /// Folders or files whose pools form the market.
    pub(super) paths: Vec<PathBuf>,
    /// The only load to run in it; `None` for all loads.
    pub(super) load: Option<&'static str>,
}

impl Traces {
    /// Returns the markets of `BENCHMARKS.md` whose traces exist: the zones in the capture of a CPU type,
    /// and a market of three zones, since that capture has fewer.
    pub(super) fn usual(spot: &Path) -> Vec<Self> {
        let captures = spot.join("preemption/1-node");
        let of = |names: &[&str]| Self {
            paths: names.iter().map(|name| captures.join(name)).collect(),
            load: Some("gecko-3-b-linux"),
        };
        let markets = [
            of(&["aws-04-19-2023"]),
            of(&[
                "aws-04-19-2023/us-east-1b_intel_64.json",
                "aws-04-22-2023/us-west-2b_v100_1.json",
                "aws-04-22-2023/us-west-2c_v100_1.json",
            ]),
        ];
        markets.into_iter().filter(|traces| traces.paths.iter().all(|path| path.exists())).collect()
    }
}

/// Prints the tables of the default policy in these markets.
pub(super) fn scoreboards(markets: &[Traces], load: &Load) -> Result<()> {
    for Traces { paths, load: only } in markets {
        if only.is_none_or(|name| name == load.name()) {
            scoreboard(paths, load, "adaptive")?;
        }
    }
    Ok(())
}

/// Prints the figures of `policy` for every way to buy.
fn scoreboard(traces: &[PathBuf], load: &Load, policy: &str) -> Result<()> {
    let mut market = Market::new(Vec::new(), None);
    for path in traces {
        market = market.beside(Market::read(path)?.0);
    }
    println!("\n### World Z: {}, `{policy}`, {} pools\n", load.name(), market.pools().len());
    println!(
        "| bought | units | | of these on demand | delay | | wait p95 | lost h | interrupted | unserved |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let on_demand = OnDemand::USUAL;
    let contender = |name: String, market: Market| -> Result<Contender> {
        let setup = Setup::of(WorldModel::named(WorldName::Z));
        let policy: SimulatedPolicy = policy.parse()?;
        let setup = Setup { market: Some(Arc::new(market)), ..setup };
        Ok(Contender { name, policy, setup, usd_per_hour: 1.0 })
    };
    let mut contenders = Vec::new();
    for (index, pool) in market.pools().iter().enumerate() {
        let name = format!("only {}, there {:.0} %", pool.name, 100.0 * pool.availability());
        contenders.push(contender(name, market.only(index))?);
    }
    let singles = contenders.len();
    contenders.push(contender("zone-aware".to_owned(), market.clone())?);
    let both = market.clone().with_on_demand(Some(on_demand));
    contenders.push(contender("zone-aware, on demand after 300 s".to_owned(), both)?);
    contenders.push(contender("on demand".to_owned(), Market::only_on_demand(on_demand.price))?);
    let means: Vec<_> = report::outcomes(load, &contenders, &SEEDS, &|_, _| {})
        .iter()
        .map(|outcomes| Outcome::mean(outcomes))
        .collect();
    let units =
        |mean: &Outcome| mean.instance_hours + (on_demand.price - 1.0) * mean.on_demand_hours;
    let best = means[..singles]
        .iter()
        .min_by(|a, b| a.delay_seconds.mean.total_cmp(&b.delay_seconds.mean))
        .ok_or("no zones")?;
    for (mean, contender) in means.iter().zip(&contenders) {
        println!(
            "| {} | {:.0} | {:.2}x | {:.0} | {:.1} | {:.2}x | {:.0} | {:.0} | {:.0} | {:.0} |",
            contender.name,
            units(mean),
            units(mean) / units(best),
            (on_demand.price) * mean.on_demand_hours,
            mean.delay_seconds.mean,
            mean.delay_seconds.mean / best.delay_seconds.mean,
            mean.wait_seconds.p95,
            mean.lost_hours,
            mean.interrupted_tasks,
            mean.unserved_tasks,
        );
    }
    Ok(())
}
