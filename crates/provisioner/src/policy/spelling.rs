//! The text form of a policy: its name, and settings after a colon, as in `worker-manager:ratio=0.5`.

use std::fmt;
use std::str::FromStr;

use super::{Adaptive, Policy, Rule, WorkerManager};
use crate::domain::duration;
use crate::domain::suggest;

const BASIC: &str = "basic";
const NAIVE_2014: &str = "naive-2014";
const WORKER_MANAGER: &str = "worker-manager";
const WORKER_MANAGER_DEPLOYED: &str = "worker-manager-deployed";
const ADAPTIVE: &str = "adaptive";

const IDLE_TIMEOUT: &str = "idle-timeout";
const RATIO: &str = "ratio";
const WAIT_COST: &str = "wait-cost";

/// The highest ratio and wait-cost that are accepted; a larger number is a typing error.
const MOST: f64 = 1000.0;

/// The error for a text that does not name a policy. Its hint says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    message: String,
    hint: String,
}

impl PolicyError {
    fn new(message: String, hint: impl Into<String>) -> Self {
        Self { message, hint: hint.into() }
    }

    /// Returns what to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl Policy {
    /// The names, in the order in which documents list them.
    pub const NAMES: [&str; 5] =
        [BASIC, NAIVE_2014, WORKER_MANAGER, WORKER_MANAGER_DEPLOYED, ADAPTIVE];

    /// Returns the name without the settings.
    pub fn name(&self) -> &'static str {
        match self.rule {
            Rule::Basic => BASIC,
            Rule::Naive2014 => NAIVE_2014,
            Rule::WorkerManager(WorkerManager { as_deployed: false, .. }) => WORKER_MANAGER,
            Rule::WorkerManager(WorkerManager { as_deployed: true, .. }) => WORKER_MANAGER_DEPLOYED,
            Rule::Adaptive(_) => ADAPTIVE,
        }
    }

    /// Refuses a policy that makes sense only in a simulation.
    pub fn for_production(self) -> Result<Self, PolicyError> {
        if self.rule == Rule::Naive2014 {
            return Err(PolicyError::new(
                format!(
                    "`{NAIVE_2014}` requests again what already boots, and is for `simulate` only"
                ),
                format!("`{BASIC}` has the same rules, corrected"),
            ));
        }
        if self.idle_timeout.is_some() {
            return Err(PolicyError::new(
                format!("`{IDLE_TIMEOUT}` is not a setting of a policy outside `simulate`"),
                "it is a key of the worker type, and its workers must follow it",
            ));
        }
        Ok(self)
    }

    fn keys(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Basic | Rule::Naive2014 => &[IDLE_TIMEOUT],
            Rule::WorkerManager(_) => &[RATIO, IDLE_TIMEOUT],
            Rule::Adaptive(_) => &[WAIT_COST, IDLE_TIMEOUT],
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), PolicyError> {
        match (key, &mut self.rule) {
            (IDLE_TIMEOUT, _) => {
                let time = duration::parse(value)
                    .map_err(|error| PolicyError::new(error.to_string(), "such as 15m or 90s"))?;
                self.idle_timeout = Some(time);
            }
            (RATIO, Rule::WorkerManager(worker_manager)) => {
                worker_manager.ratio = number(RATIO, value)?;
            }
            (WAIT_COST, Rule::Adaptive(adaptive)) => {
                adaptive.wait_cost = Some(number(WAIT_COST, value)?);
            }
            _ => {
                let message = format!("`{key}` is not a setting of `{}`", self.name());
                return Err(PolicyError::new(message, suggest::hint(key, self.keys())));
            }
        }
        Ok(())
    }
}

fn differs(a: f64, b: f64) -> bool {
    (a - b).abs() > f64::EPSILON
}

fn number(key: &str, text: &str) -> Result<f64, PolicyError> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=MOST).contains(number));
    number.ok_or_else(|| {
        PolicyError::new(format!("{key} is `{text}`"), format!("a number from 0 to {MOST}"))
    })
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let rule = match name.trim() {
            BASIC => Rule::Basic,
            NAIVE_2014 => Rule::Naive2014,
            WORKER_MANAGER => Rule::WorkerManager(WorkerManager::default()),
            WORKER_MANAGER_DEPLOYED => {
                Rule::WorkerManager(WorkerManager { as_deployed: true, ..WorkerManager::default() })
            }
            ADAPTIVE => Rule::Adaptive(Adaptive::default()),
            unknown => {
                let message = format!("`{unknown}` is not known");
                return Err(PolicyError::new(message, suggest::hint(unknown, &Self::NAMES)));
            }
        };
        let mut policy = Self::from(rule);
        for setting in settings.split(',').filter(|setting| !setting.trim().is_empty()) {
            let Some((key, value)) = setting.split_once('=') else {
                let keys = policy.keys().join(", ");
                let message = format!("`{setting}` is not a setting of `{}`", policy.name());
                return Err(PolicyError::new(message, format!("known: {keys}, as KEY=VALUE")));
            };
            policy.set(key.trim(), value.trim())?;
        }
        Ok(policy)
    }
}

impl fmt::Display for Policy {
    /// Writes the form that `from_str` reads, with the settings that differ from the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut settings = Vec::new();
        match self.rule {
            Rule::WorkerManager(WorkerManager { ratio, as_deployed: _ })
                if differs(ratio, WorkerManager::default().ratio) =>
            {
                settings.push(format!("{RATIO}={ratio}"));
            }
            Rule::Adaptive(Adaptive { wait_cost: Some(wait_cost) }) => {
                settings.push(format!("{WAIT_COST}={wait_cost}"));
            }
            Rule::Basic | Rule::Naive2014 | Rule::WorkerManager(_) | Rule::Adaptive(_) => {}
        }
        if let Some(time) = self.idle_timeout {
            settings.push(format!("{IDLE_TIMEOUT}={}", duration::format(time)));
        }
        for (at, setting) in settings.iter().enumerate() {
            write!(f, "{}{setting}", if at == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "basic",
            "naive-2014",
            "worker-manager",
            "worker-manager-deployed",
            "adaptive",
            "worker-manager:ratio=0.5,idle-timeout=5m",
            "worker-manager-deployed:ratio=2",
            "adaptive:wait-cost=0.25",
            "basic:idle-timeout=2m",
        ] {
            assert_eq!(policy(text).to_string(), text);
        }
        for name in Policy::NAMES {
            assert_eq!(policy(name).name(), name);
        }
        let spaced = policy(" worker-manager : ratio = 0.5 , idle-timeout = 5m ,");
        assert_eq!(spaced.idle_timeout, Some(Duration::from_mins(5)));
    }

    #[test]
    fn errors_say_what_was_probably_meant() {
        let error = |text: &str| {
            let error = text.parse::<Policy>().unwrap_err();
            (error.to_string(), error.hint().to_owned())
        };
        let (message, hint) = error("adaptve");
        assert_eq!((&*message, &*hint), ("`adaptve` is not known", "did you mean `adaptive`?"));
        let (message, hint) = error("worker-manager:ration=1");
        assert_eq!(message, "`ration` is not a setting of `worker-manager`");
        assert_eq!(hint, "did you mean `ratio`?");
        assert!(error("basic:ratio=1").0.contains("not a setting of `basic`"));
        assert!(error("adaptive:wait-cost").1.contains("KEY=VALUE"));
        assert_eq!(error("adaptive:wait-cost=-1").1, "a number from 0 to 1000");
        assert_eq!(error("adaptive:wait-cost=NaN").1, "a number from 0 to 1000");
        assert_eq!(error("basic:idle-timeout=5").0, "`5` is not a duration");
    }

    #[test]
    fn policies_for_simulations_are_refused_in_production() {
        assert!(policy("naive-2014").for_production().unwrap_err().hint().contains("basic"));
        assert!(policy("basic:idle-timeout=5m").for_production().is_err());
        assert!(policy("worker-manager:ratio=0.5").for_production().is_ok());
    }
}
