//! Throttling like EC2's: a token bucket per kind of call.

use jiff::Timestamp;
use provisioner::internal::domain::clock;

/// Kinds of calls that are throttled together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `Describe…`, each page of it.
    Describe,
    /// `RequestSpotInstances`.
    Request,
    /// `CancelSpotInstanceRequests`.
    Cancel,
    /// `TerminateInstances`.
    Terminate,
    /// `CreateTags`.
    Tag,
    /// `CreateKeyPair`, `ImportKeyPair` and `DeleteKeyPair`.
    KeyPair,
}

/// The limits of a token bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The number of tokens in a full bucket.
    pub burst: f64,
    /// The number of tokens added per second.
    pub per_second: f64,
}

impl Call {
    /// EC2's limits as Karpenter models them in its simulated EC2 (`kwok/ec2`); EC2 itself documents the
    /// buckets and not these numbers (EC2 API Reference, "Request throttling for the Amazon EC2 API").
    pub fn rate(self) -> Rate {
        let (per_second, burst) = match self {
            Self::Describe => (20.0, 100.0),
            // Like `RunInstances`: EC2 publishes none for `RequestSpotInstances`.
            Self::Request => (2.0, 5.0),
            Self::Cancel | Self::KeyPair => (5.0, 50.0),
            Self::Terminate => (5.0, 100.0),
            Self::Tag => (10.0, 100.0),
        };
        Rate { burst, per_second }
    }
}

/// The buckets of one account in one region.
#[derive(Clone, Debug)]
pub struct Throttle {
    /// The share of EC2's limits that others in the same account leave to us.
    share: f64,
    buckets: Vec<(Call, f64, Timestamp)>,
    /// Limits other than EC2's own.
    rates: Vec<(Call, Rate)>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::with_share(1.0)
    }
}

impl Throttle {
    /// Creates buckets of which others in the same account leave us `share`, from 0 to 1.
    pub fn with_share(share: f64) -> Self {
        Self { share, buckets: Vec::new(), rates: Vec::new() }
    }

    /// Sets the limits of one kind of call.
    pub fn set_rate(&mut self, call: Call, rate: Rate) {
        self.rates.push((call, rate));
    }

    fn rate(&self, call: Call) -> Rate {
        let set = self.rates.iter().rev().find(|(kind, _)| *kind == call);
        set.map_or_else(|| call.rate(), |(_, rate)| *rate)
    }

    /// Takes a token for `call`. Returns `false` if there is no token and the call is refused.
    pub fn admits(&mut self, call: Call, now: Timestamp) -> bool {
        let Rate { burst, per_second } = self.rate(call);
        let (burst, per_second) = (burst * self.share, per_second * self.share);
        let place = self.buckets.iter().position(|(kind, ..)| *kind == call);
        let place = place.unwrap_or_else(|| {
            self.buckets.push((call, burst, now));
            self.buckets.len() - 1
        });
        let (_, tokens, at) = &mut self.buckets[place];
        *tokens = burst.min(*tokens + clock::age(*at, now).as_secs_f64() * per_second);
        *at = now;
        let admitted = *tokens >= 1.0;
        if admitted {
            *tokens -= 1.0;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_the_refill() {
        let mut throttle = Throttle::default();
        let start = Timestamp::UNIX_EPOCH;
        let admitted = (0..60).filter(|_| throttle.admits(Call::Request, start)).count();
        assert_eq!(admitted, 5);
        let later = clock::after(start, Duration::from_secs(2));
        let admitted = (0..60).filter(|_| throttle.admits(Call::Request, later)).count();
        assert_eq!(admitted, 4);
        assert!(throttle.admits(Call::Describe, later), "a bucket of its own");
    }
}
