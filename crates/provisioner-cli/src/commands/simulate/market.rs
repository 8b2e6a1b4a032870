//! World Z: a recorded spot market, and alternative ways to buy in it.

use std::path::Path;
use std::sync::Arc;

use provisioner_simulate::report::Contender;
use provisioner_simulate::simulation::Setup;
use provisioner_simulate::spot::{Market, OnDemand, SpotError};

use crate::args::{Patience, SimulateArgs, WorldArg};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

/// The prefix of the names of contenders that buy in one pool only.
pub(super) const ALONE: &str = "spot in one pool: ";

/// Reads the spot market, if the world has one.
pub(super) fn read(args: &SimulateArgs, context: &Context) -> Result<Option<Arc<Market>>, Failure> {
    match (args.world, args.spot_traces.is_empty()) {
        (WorldArg::Z, false) => {}
        (WorldArg::Z, true) => {
            return Err(Failure::usage("world Z needs a recorded spot market").with_hint(
                "name its folder with --spot-traces: one file per zone and instance type, as in \
                 skypilot-org/spot-traces",
            ));
        }
        (_, true) => return Ok(None),
        (other, false) => {
            return Err(Failure::usage(format!("there is no spot market in world {other:?}"))
                .with_hint("--spot-traces goes with --world Z"));
        }
    }
    let mut market = Market::new(Vec::new(), None);
    for path in &args.spot_traces {
        market = market.beside(read_one(path, context)?);
    }
    let on_demand = match args.on_demand_after {
        Patience::For(after) => Some(OnDemand { after, ..OnDemand::USUAL }),
        Patience::Endless => None,
    };
    Ok(Some(Arc::new(market.with_on_demand(on_demand))))
}

fn read_one(path: &Path, context: &Context) -> Result<Market, Failure> {
    let (market, taken) = Market::read(path).map_err(|error: SpotError| {
        let hint = error.hint();
        Failure::from_error(ExitStatus::USAGE, &error).with_hint(hint)
    })?;
    if !taken.others.is_empty() {
        let others: Vec<_> = taken.others.iter().map(|other| other.display().to_string()).collect();
        context.notices.progress(format!(
            "using the spot traces of {}; name another folder to use it instead: {}",
            taken.from.display(),
            others.join(", ")
        ));
    }
    Ok(market)
}

/// Returns other ways to buy for `contender`: in one pool only, without on-demand instances, and with
/// on-demand instances only.
pub(super) fn alternatives(contender: &Contender) -> Vec<Contender> {
    let Some(market) = contender.setup.market.as_deref() else { return Vec::new() };
    let with = |name: String, market: Market| Contender {
        name,
        setup: Setup { market: Some(Arc::new(market)), ..contender.setup.clone() },
        ..contender.clone()
    };
    let mut others = Vec::new();
    for (place, pool) in market.pools().iter().enumerate() {
        others.push(with(format!("{ALONE}{}", pool.name), market.only(place)));
    }
    if market.on_demand().is_some() && market.pools().len() > 1 {
        others.push(with(
            "spot alone, in all of them".to_owned(),
            market.clone().with_on_demand(None),
        ));
    }
    let price = market.on_demand().unwrap_or(OnDemand::USUAL).price;
    others.push(with("on demand alone".to_owned(), Market::only_on_demand(price)));
    others
}
