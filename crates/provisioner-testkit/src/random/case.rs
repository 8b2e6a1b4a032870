//! The description of a random world, from which it can be replayed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use provisioner_sim::faults::Faults;

/// A random world: its seed, and what is left of it after shrinking. It is written as `17`, or as
/// `17 rounds=40 keep=3,9 without=lag,clock` for a shrunk world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The seed of all random numbers.
    pub seed: u64,
    /// The maximum number of rounds with faults.
    pub rounds: Option<u64>,
    /// The rounds, counted from 1, before which events may happen; `None` for all rounds.
    pub keep: Option<BTreeSet<u64>>,
    /// The faults that are left out, from [`Case::kinds`].
    pub without: BTreeSet<&'static str>,
}

/// A text that does not describe a case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a random world: `SEED [rounds=N] [keep=N,N…] [without=KIND,KIND…]`")]
pub struct NoCase(String);

impl Case {
    /// Kinds besides the [`Faults`]: throttling by token buckets, quotas, moving prices, recorded capacity, a
    /// wrong clock, workers that ask whether to stop, a limit per day, zones that do not offer a type, volumes that
    /// last, workers that take one task or none, launches that EC2 ends, subnets with few addresses, and zones that
    /// EC2 chooses.
    pub const MORE_KINDS: [&str; 15] = [
        "buckets",
        "quotas",
        "prices",
        "traces",
        "clock",
        "clock-days",
        "asking",
        "day",
        "offerings",
        "volumes",
        "one-shot",
        "powers-off",
        "ends-launches",
        "subnets",
        "chosen-zones",
    ];

    /// Returns the complete world of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, rounds: None, keep: None, without: BTreeSet::new() }
    }

    /// Returns all kinds that [`Case::without`] may name.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        Faults::KINDS.into_iter().chain(Self::MORE_KINDS)
    }

    /// Returns whether events may happen before this round.
    pub fn keeps(&self, round: u64) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep.contains(&round))
    }

    /// Returns whether this kind of fault may occur.
    pub fn has(&self, kind: &str) -> bool {
        !self.without.contains(kind)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        if let Some(rounds) = self.rounds {
            write!(f, " rounds={rounds}")?;
        }
        if let Some(keep) = &self.keep {
            let keep: Vec<_> = keep.iter().map(ToString::to_string).collect();
            write!(f, " keep={}", keep.join(","))?;
        }
        if !self.without.is_empty() {
            let without: Vec<_> = self.without.iter().copied().collect();
            write!(f, " without={}", without.join(","))?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = NoCase;

    fn from_str(text: &str) -> Result<Self, NoCase> {
        let wrong = || NoCase(text.to_owned());
        let mut words = text.split_whitespace();
        let seed = words.next().and_then(|seed| seed.parse().ok()).ok_or_else(wrong)?;
        let mut case = Self::new(seed);
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(wrong)?;
            let values = || value.split(',').filter(|value| !value.is_empty());
            match name {
                "rounds" => case.rounds = Some(value.parse().map_err(|_| wrong())?),
                "keep" => {
                    let keep: Result<_, _> = values().map(str::parse).collect();
                    case.keep = Some(keep.map_err(|_| wrong())?);
                }
                "without" => {
                    for value in values() {
                        let kind = Self::kinds().find(|kind| *kind == value).ok_or_else(wrong)?;
                        case.without.insert(kind);
                    }
                }
                _ => return Err(wrong()),
            }
        }
        Ok(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_read_as_it_is_written() {
        for text in ["17", "17 rounds=40", "0 rounds=1 keep=3,9 without=clock,lag", "5 keep="] {
            assert_eq!(text.parse::<Case>().unwrap().to_string(), text);
        }
        let case: Case = "17 rounds=40 keep=3,9 without=lag".parse().unwrap();
        assert!(case.keeps(3) && !case.keeps(4) && case.has("clock") && !case.has("lag"));
        assert!(Case::new(1).keeps(1_000_000));
        for text in ["", "x", "-1", "1 lag", "1 keep=x", "1 without=rain", "1 rounds=", "1 of=2"] {
            assert!(text.parse::<Case>().is_err(), "{text}");
        }
    }
}
