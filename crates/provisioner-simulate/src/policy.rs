//! The policies that can be simulated: those of the daemon, and what exists for comparison only.
//!
//! Two things belong to simulations alone. The rules of 2014 as they were are a yardstick that nobody should
//! deploy. And a policy may have an idle timeout of its own, because a simulation can change how long workers
//! stay up idle, whereas in production only the workers themselves can.

mod naive;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use provisioner::internal::domain::{duration, suggest};
use provisioner::internal::policy::{Policy, PolicyError, PolicyMemory, Situation};

const NAIVE_2014: &str = "naive-2014";
const IDLE_TIMEOUT: &str = "idle-timeout";

/// A policy with what only a simulation can change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedPolicy {
    rule: SimulatedRule,
    /// How long workers stay up idle before they end themselves; `None` for the setting of the worker type.
    pub idle_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SimulatedRule {
    /// A policy of the daemon.
    Deployable(Policy),
    /// The rules of 2014 as they were.
    Naive2014,
}

/// What a simulated round takes from the target of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimulatedTarget {
    /// How many requests should be open. Surplus ones are cancelled, missing ones are made.
    pub coming: u64,
    /// How many idle workers should be asked to stop.
    pub let_go: u64,
}

impl From<Policy> for SimulatedPolicy {
    fn from(policy: Policy) -> Self {
        Self { rule: SimulatedRule::Deployable(policy), idle_timeout: None }
    }
}

impl Default for SimulatedPolicy {
    fn default() -> Self {
        Policy::default().into()
    }
}

impl SimulatedPolicy {
    /// The names, in the order in which documents list them.
    pub const NAMES: [&str; 5] =
        ["basic", NAIVE_2014, "worker-manager", "worker-manager-deployed", "adaptive"];

    /// Returns the same policy with another idle timeout.
    #[must_use]
    pub fn with_idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self { idle_timeout, ..self }
    }

    /// Returns the target in `situation`. Must be called once per round, because `memory` learns from each
    /// call.
    pub fn target(&self, situation: &Situation, memory: &mut PolicyMemory) -> SimulatedTarget {
        match &self.rule {
            SimulatedRule::Deployable(policy) => {
                let target = policy.target(situation, memory);
                SimulatedTarget { coming: target.coming, let_go: target.let_go }
            }
            SimulatedRule::Naive2014 => {
                SimulatedTarget { coming: naive::coming(situation), let_go: 0 }
            }
        }
    }

    /// Whether the policy itself decides how many idle workers stop, where they consent.
    pub fn lets_go(&self) -> bool {
        match &self.rule {
            SimulatedRule::Deployable(policy) => policy.lets_go(),
            SimulatedRule::Naive2014 => false,
        }
    }

    /// Whether the rule exists in simulations only. An idle timeout can be deployed: as a setting of the
    /// worker type.
    pub fn is_only_simulated(&self) -> bool {
        self.rule == SimulatedRule::Naive2014
    }

    /// Returns the interval between rounds that belongs to the rule, if it has one of its own.
    pub fn own_interval(&self) -> Option<Duration> {
        self.is_only_simulated().then_some(Duration::from_secs(45))
    }
}

/// The error for a text that does not name a policy. Its hint says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SimulatedPolicyError {
    message: String,
    hint: String,
}

impl SimulatedPolicyError {
    /// Returns what to write instead.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl From<PolicyError> for SimulatedPolicyError {
    fn from(error: PolicyError) -> Self {
        Self { message: error.to_string(), hint: error.hint().to_owned() }
    }
}

impl FromStr for SimulatedPolicy {
    type Err = SimulatedPolicyError;

    /// Reads the text form of a policy, in which `idle-timeout` is one more setting of every policy.
    fn from_str(text: &str) -> Result<Self, SimulatedPolicyError> {
        let (name, settings) = text.split_once(':').unwrap_or((text, ""));
        let mut idle_timeouts = Vec::new();
        let mut others = Vec::new();
        for setting in settings.split(',').filter(|setting| !setting.trim().is_empty()) {
            match setting.split_once('=') {
                Some((key, value)) if key.trim() == IDLE_TIMEOUT => idle_timeouts.push(value),
                _ => others.push(setting),
            }
        }
        let rule = match others.first() {
            Some(setting) if name.trim() == NAIVE_2014 => return Err(not_of_naive_2014(setting)),
            None if name.trim() == NAIVE_2014 => SimulatedRule::Naive2014,
            _ => SimulatedRule::Deployable(format!("{name}:{}", others.join(",")).parse()?),
        };
        let mut policy = Self { rule, idle_timeout: None };
        for value in idle_timeouts {
            let time = duration::parse(value.trim()).map_err(|error| SimulatedPolicyError {
                message: error.to_string(),
                hint: "such as 15m or 90s".to_owned(),
            })?;
            policy.idle_timeout = Some(time);
        }
        Ok(policy)
    }
}

fn not_of_naive_2014(setting: &str) -> SimulatedPolicyError {
    let (shown, hint) = match setting.split_once('=') {
        Some((key, _)) => (key.trim(), suggest::hint(key.trim(), &[IDLE_TIMEOUT])),
        None => (setting, format!("known: {IDLE_TIMEOUT}, as KEY=VALUE")),
    };
    let message = format!("`{shown}` is not a setting of `{NAIVE_2014}`");
    SimulatedPolicyError { message, hint }
}

impl fmt::Display for SimulatedPolicy {
    /// Writes the form that `from_str` reads, with the settings that differ from the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match &self.rule {
            SimulatedRule::Deployable(policy) => policy.to_string(),
            SimulatedRule::Naive2014 => NAIVE_2014.to_owned(),
        };
        f.write_str(&rule)?;
        if let Some(time) = self.idle_timeout {
            let before = if rule.contains(':') { ',' } else { ':' };
            write!(f, "{before}{IDLE_TIMEOUT}={}", duration::format(time))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> SimulatedPolicy {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_text_that_was_written_is_read_back() {
        for text in [
            "naive-2014",
            "naive-2014:idle-timeout=5m",
            "worker-manager:ratio=0.5,idle-timeout=5m",
            "adaptive:wait-cost=0.25",
            "basic:idle-timeout=2m",
        ] {
            assert_eq!(policy(text).to_string(), text);
        }
        for name in SimulatedPolicy::NAMES {
            assert_eq!(policy(name).to_string(), name);
        }
        let spaced = policy(" worker-manager : ratio = 0.5 , idle-timeout = 5m ,");
        assert_eq!(spaced, policy("worker-manager:ratio=0.5,idle-timeout=5m"));
        assert_eq!(spaced.idle_timeout, Some(Duration::from_mins(5)));
    }

    #[test]
    fn errors_suggest_the_probable_setting() {
        let error = |text: &str| {
            let error = text.parse::<SimulatedPolicy>().unwrap_err();
            (error.to_string(), error.hint().to_owned())
        };
        assert_eq!(error("adaptve").1, "did you mean `adaptive`?");
        assert_eq!(error("naive2014").1, "did you mean `naive-2014`?");
        assert_eq!(error("basic:idle-timeuot=5m").1, "did you mean `idle-timeout`?");
        assert_eq!(error("basic:idle-timeout=5").0, "`5` is not a duration");
        let (message, hint) = error("naive-2014:ratio=1");
        assert_eq!(message, "`ratio` is not a setting of `naive-2014`");
        assert_eq!(hint, "known: idle-timeout");
        assert!(error("naive-2014:idle-timeout").1.contains("KEY=VALUE"));
    }

    #[test]
    fn only_the_rules_of_2014_cannot_be_deployed() {
        let only_simulated = SimulatedPolicy::NAMES.map(|name| policy(name).is_only_simulated());
        assert_eq!(only_simulated, [false, true, false, false, false]);
        assert!(!policy("basic:idle-timeout=5m").is_only_simulated());
    }
}
