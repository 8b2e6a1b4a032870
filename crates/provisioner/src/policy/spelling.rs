//! The text form of a policy: its name, and settings after a colon, as in `worker-manager:ratio=0.5`.
//!
//! `simulate` has one more policy, and one more setting of every policy. They are known by name here, so that
//! a configuration that was copied from a simulation is refused with the reason.

use std::fmt;
use std::str::FromStr;

use super::{Adaptive, Policy, Rule, WorkerManager};
use crate::domain::suggest;

const BASIC: &str = "basic";
/// Exists in `simulate` only.
const NAIVE_2014: &str = "naive-2014";
const WORKER_MANAGER: &str = "worker-manager";
const WORKER_MANAGER_DEPLOYED: &str = "worker-manager-deployed";
const ADAPTIVE: &str = "adaptive";

/// Exists in `simulate` only.
const IDLE_TIMEOUT: &str = "idle-timeout";
const RATIO: &str = "ratio";
const WAIT_COST: &str = "wait-cost";

/// The names, in the order in which documents list them.
const NAMES: [&str; 5] = [BASIC, NAIVE_2014, WORKER_MANAGER, WORKER_MANAGER_DEPLOYED, ADAPTIVE];

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
    /// Returns the name without the settings.
    pub fn name(&self) -> &'static str {
        match self.rule {
            Rule::Basic => BASIC,
            Rule::WorkerManager(WorkerManager { as_deployed: false, .. }) => WORKER_MANAGER,
            Rule::WorkerManager(WorkerManager { as_deployed: true, .. }) => WORKER_MANAGER_DEPLOYED,
            Rule::Adaptive(_) => ADAPTIVE,
        }
    }

    fn keys(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Basic => &[IDLE_TIMEOUT],
            Rule::WorkerManager(_) => &[RATIO, IDLE_TIMEOUT],
            Rule::Adaptive(_) => &[WAIT_COST, IDLE_TIMEOUT],
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), PolicyError> {
        match (key, &mut self.rule) {
            (IDLE_TIMEOUT, _) => {
                return Err(PolicyError::new(
                    format!("`{IDLE_TIMEOUT}` is not a setting of a policy outside `simulate`"),
                    "it is a key of the worker type, and its workers must follow it",
                ));
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
            NAIVE_2014 => {
                let message = format!(
                    "`{NAIVE_2014}` requests again what already boots, and is for `simulate` only"
                );
                let hint = format!("`{BASIC}` has the same rules, corrected");
                return Err(PolicyError::new(message, hint));
            }
            WORKER_MANAGER => Rule::WorkerManager(WorkerManager::default()),
            WORKER_MANAGER_DEPLOYED => {
                Rule::WorkerManager(WorkerManager { as_deployed: true, ..WorkerManager::default() })
            }
            ADAPTIVE => Rule::Adaptive(Adaptive::default()),
            unknown => {
                let message = format!("`{unknown}` is not known");
                return Err(PolicyError::new(message, suggest::hint(unknown, &NAMES)));
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
            Rule::Basic | Rule::WorkerManager(_) | Rule::Adaptive(_) => {}
        }
        for (at, setting) in settings.iter().enumerate() {
            write!(f, "{}{setting}", if at == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "basic",
            "worker-manager",
            "worker-manager-deployed",
            "adaptive",
            "worker-manager:ratio=0.5",
            "worker-manager-deployed:ratio=2",
            "adaptive:wait-cost=0.25",
        ] {
            assert_eq!(policy(text).to_string(), text);
        }
        for name in NAMES.into_iter().filter(|name| *name != NAIVE_2014) {
            assert_eq!(policy(name).name(), name);
        }
        assert_eq!(
            policy(" worker-manager : ratio = 0.5 ,").to_string(),
            "worker-manager:ratio=0.5"
        );
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
    }

    #[test]
    fn the_policy_and_the_setting_of_simulations_are_refused_with_the_reason() {
        let naive = "naive-2014".parse::<Policy>().unwrap_err();
        assert!(
            naive.to_string().contains("for `simulate` only") && naive.hint().contains("basic")
        );
        let timeout = "basic:idle-timeout=5m".parse::<Policy>().unwrap_err();
        assert!(timeout.to_string().contains("outside `simulate`"), "{timeout}");
    }
}
