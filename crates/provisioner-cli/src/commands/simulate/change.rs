//! The change of the configuration that leads to what was simulated.

use std::fmt;

use provisioner::internal::domain::duration;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner_simulate::policy::SimulatedPolicy;

use super::deployment::Deployment;
use crate::exit::Failure;

/// The change of the configuration that leads to a contender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// The settings as they are written in the file, each with its table, where a configuration was read.
    pub(super) settings: Vec<(String, String)>,
    /// The file to change, if the configuration is a single file.
    pub(super) file: Option<String>,
    /// Whether the policy exists in simulations only.
    pub(super) only_simulated: bool,
    /// Whether it requires workers that ask whether to stop, and the configuration does not listen for them.
    pub(super) asks_workers: bool,
}

impl Change {
    /// Returns the change from one configuration and policy to another.
    pub(super) fn between(
        (today, from): (&Deployment, &SimulatedPolicy),
        (other, to): (&Deployment, &SimulatedPolicy),
    ) -> Result<Self, Failure> {
        let ours = today.worker_type()?;
        let theirs = other.worker_type()?;
        let table = format!("[worker-types.{}]", today.name);
        let mut settings = Vec::new();
        let mut differs = |table: &str, key: &str, from: Option<String>, to: Option<String>| {
            if from != to {
                let text = to.map_or_else(|| format!("no {key}"), |to| format!("{key} = {to}"));
                settings.push((table.to_owned(), text));
            }
        };
        let quoted =
            |policy: &SimulatedPolicy| Some(format!("\"{}\"", policy.with_idle_timeout(None)));
        differs(&table, "policy", quoted(from), quoted(to));
        let time = |time| Some(format!("\"{}\"", duration::format(time)));
        let idle = [
            from.idle_timeout.unwrap_or(ours.idle_timeout),
            to.idle_timeout.unwrap_or(theirs.idle_timeout),
        ];
        differs(&table, "idle-timeout", time(idle[0]), time(idle[1]));
        let pairs = [
            ("min-instances", ours.min_instances, theirs.min_instances),
            ("max-instances", ours.max_instances, theirs.max_instances),
        ];
        for (key, from, to) in pairs {
            differs(&table, key, Some(from.to_string()), Some(to.to_string()));
        }
        let price = |price: Option<UsdPerHour>| price.map(|price| price.dollars().to_string());
        differs(&table, "max-price", price(ours.max_price), price(theirs.max_price));
        differs(&table, "boot-timeout", time(ours.boot_timeout), time(theirs.boot_timeout));
        let interval = |of: &Deployment| time(of.settings.provisioner.interval);
        differs("[provisioner]", "interval", interval(today), interval(other));
        let most = |of: &Deployment| of.settings.limits.max_instances.map(|most| most.to_string());
        differs("[limits]", "max-instances", most(today), most(other));
        let usd = |of: &Deployment| price(of.settings.limits.max_usd_per_hour);
        differs("[limits]", "max-usd-per-hour", usd(today), usd(other));
        Ok(Self {
            settings,
            file: today.file.clone(),
            only_simulated: to.is_only_simulated(),
            asks_workers: to.lets_go() && other.settings.server.workers.is_none(),
        })
    }
}

impl fmt::Display for Change {
    /// `in FILE, [table]: key = value, key = value; [table]: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "in `{file}`, ")?;
        }
        let mut last = "";
        for (place, (table, setting)) in self.settings.iter().enumerate() {
            let between = match place {
                0 => "",
                _ if table == last => ", ",
                _ => "; ",
            };
            f.write_str(between)?;
            if table != last {
                write!(f, "{table} ")?;
            }
            f.write_str(setting)?;
            last = table;
        }
        Ok(())
    }
}
