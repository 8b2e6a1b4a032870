//! What EC2 allows of each class of call: token buckets, learned from throttling, for all callers of the engine.
//!
//! EC2 throttles by token buckets per class of call whose sizes it does not publish; other programs in the
//! same account use them too. A call that is throttled empties our estimate of its bucket. From then on the calls that
//! pass until the bucket is empty again measure the rate at which it is refilled. While no call is throttled,
//! the estimates grow, so that a larger bucket is found out.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;

/// Calls that EC2 throttles together (EC2 API Reference, "Request throttling for the Amazon EC2 API").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum CallClass {
    Launch,
    Cancel,
    Terminate,
    Tag,
}

/// The budgets of all classes.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ApiBudget {
    launch: Bucket,
    cancel: Bucket,
    terminate: Bucket,
    tag: Bucket,
}

impl Default for ApiBudget {
    /// The limits to begin with are those that Karpenter models (`kwok/ec2`). EC2 publishes none
    /// for `RequestSpotInstances`: it is taken to refill like `RunInstances`, and a first burst to be large, since
    /// a call that is throttled costs little.
    fn default() -> Self {
        Self {
            launch: Bucket::new(50.0, 2.0),
            cancel: Bucket::new(50.0, 5.0),
            terminate: Bucket::new(100.0, 5.0),
            tag: Bucket::new(100.0, 10.0),
        }
    }
}

impl ApiBudget {
    pub(in crate::engine) fn of(&mut self, class: CallClass) -> &mut Bucket {
        match class {
            CallClass::Launch => &mut self.launch,
            CallClass::Cancel => &mut self.cancel,
            CallClass::Terminate => &mut self.terminate,
            CallClass::Tag => &mut self.tag,
        }
    }
}

/// The estimate of one bucket.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Bucket {
    /// Tokens in a full bucket.
    burst: f64,
    /// Tokens added per second.
    rate: f64,
    tokens: f64,
    /// When the tokens were last counted.
    counted: Option<Timestamp>,
    /// When EC2 last throttled a call: its bucket was empty then.
    emptied: Option<Timestamp>,
    /// Calls that passed since then.
    passed: u32,
    /// Whether the rate was measured.
    measured: bool,
    /// All tokens were used, and EC2 throttled none of those calls.
    used_up: bool,
    /// The bucket was full when the tokens were last counted.
    was_full: bool,
}

/// Between two throttled calls so far apart the bucket may have been full: they measure nothing.
const MEASURED_WITHIN: Duration = Duration::from_secs(30);
/// The lowest rate that is believed: a call in 10 s.
const SLOWEST: f64 = 0.1;
/// A round makes the calls that were allowed since the last one: with more at a time, a small bucket would be
/// full before, and with fewer, there would be more rounds, each of which observes everything.
const SECONDS_OF_REFILL: f64 = 2.0;
/// No estimate grows beyond this: a round makes no more calls of a class anyway.
const LARGEST: f64 = 10_000.0;

impl Bucket {
    fn new(burst: f64, rate: f64) -> Self {
        Self {
            burst,
            rate,
            tokens: burst,
            counted: None,
            emptied: None,
            passed: 0,
            measured: false,
            used_up: false,
            was_full: true,
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let elapsed = clock::age(self.counted.unwrap_or(now), now).as_secs_f64();
        if elapsed > 0.0 && self.used_up {
            // EC2's bucket held as much as was thought, or more.
            let growth = if self.measured { 1.05 } else { 2.0 };
            self.rate = (self.rate * growth).min(LARGEST);
            if self.was_full {
                self.burst = (self.burst * growth).min(LARGEST);
            }
            self.used_up = false;
        }
        let tokens = self.tokens + self.rate * elapsed;
        if elapsed > 0.0 {
            self.was_full = tokens >= self.burst;
        }
        self.tokens = self.burst.min(tokens);
        self.counted = Some(now);
    }

    /// How many calls may be made now.
    pub(in crate::engine) fn available(&mut self, now: Timestamp) -> usize {
        self.refill(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and LARGEST"
        )]
        let available = self.tokens.max(0.0) as usize;
        available
    }

    /// Counts a call that is made. One may be made without a token: what frees money is never held back.
    pub(in crate::engine) fn make(&mut self, now: Timestamp) {
        self.refill(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
        self.used_up |= self.tokens < 1.0;
    }

    /// Notes that EC2 took a call.
    pub(in crate::engine) fn passed(&mut self) {
        self.passed = self.passed.saturating_add(1);
    }

    /// Notes that EC2 throttled a call.
    pub(in crate::engine) fn throttled(&mut self, now: Timestamp) {
        let passed = f64::from(self.passed);
        match self.emptied.map(|emptied| clock::age(emptied, now)) {
            Some(elapsed) if elapsed <= MEASURED_WITHIN && !elapsed.is_zero() => {
                let measured = passed / elapsed.as_secs_f64();
                self.rate = measured.max(self.rate / 2.0).max(SLOWEST);
                self.measured = true;
            }
            // The bucket was full, or had not been used for a while.
            Some(_) => self.burst = passed.clamp(1.0, self.burst),
            None => self.burst = passed.max(1.0),
        }
        self.tokens = 0.0;
        self.counted = Some(now);
        self.emptied = Some(now);
        self.passed = 0;
        self.used_up = false;
    }

    /// When the next calls may be made, of which `wanted` are wanted: not one by one, since each round observes
    /// everything, and before the bucket is full, since what it cannot hold is lost.
    pub(in crate::engine) fn next_at(&self, wanted: usize, now: Timestamp) -> Timestamp {
        let wanted = u32::try_from(wanted).map_or(LARGEST, f64::from);
        let horizon = if self.emptied.is_some() { SECONDS_OF_REFILL } else { 1.0 };
        let enough = wanted.min(self.burst / 2.0).min(self.rate * horizon).max(1.0);
        let missing = (enough - self.tokens).max(0.0);
        // A little more, so that rounding does not make it come a moment too soon.
        clock::after(now, Duration::from_secs_f64(missing / self.rate + 0.01))
    }

    /// How long so many calls take.
    pub(in crate::engine) fn takes(&self, calls: usize) -> Duration {
        let calls = u32::try_from(calls).map_or(LARGEST, f64::from);
        Duration::from_secs_f64(((calls - self.tokens) / self.rate).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EC2's own bucket.
    struct Real {
        burst: f64,
        rate: f64,
        tokens: f64,
        at: f64,
    }

    impl Real {
        fn admits(&mut self, at: f64) -> bool {
            self.tokens = self.burst.min(self.tokens + (at - self.at) * self.rate);
            self.at = at;
            let admitted = self.tokens >= 1.0;
            self.tokens -= f64::from(u8::from(admitted));
            admitted
        }
    }

    /// Makes `calls` calls in rounds that are a second or more apart. Returns the seconds until the last one
    /// passed, and how many were throttled.
    fn spend(calls: usize, burst: f64, rate: f64) -> (f64, u32) {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let mut bucket = Bucket::new(50.0, 2.0);
        let mut real = Real { burst, rate, tokens: burst, at: 0.0 };
        let mut now = start;
        let mut left = calls;
        let mut refused = 0;
        loop {
            let at = clock::age(start, now).as_secs_f64();
            for _ in 0..bucket.available(now).min(left) {
                bucket.make(now);
                if real.admits(at) {
                    bucket.passed();
                    left -= 1;
                } else {
                    bucket.throttled(now);
                    refused += 1;
                    break;
                }
            }
            if left == 0 {
                return (at, refused);
            }
            now = bucket.next_at(left, now).max(clock::after(now, Duration::from_secs(1)));
        }
    }

    #[test]
    fn calls_pass_as_fast_as_any_bucket_allows() {
        for calls in [12_u32, 60, 600] {
            for (burst, rate) in [(5.0, 2.0), (50.0, 5.0), (100.0, 20.0), (2.0, 0.5), (20.0, 1.0)] {
                let n = usize::try_from(calls).unwrap();
                let calls = f64::from(calls);
                let allowed = ((calls - burst) / rate).max(0.0);
                let (took, refused) = spend(n, burst, rate);
                let case = format!("{calls} calls, {burst} at once, {rate}/s: {took} s, {refused}");
                // Rounds are a second apart, and some pass until a large bucket is found out.
                assert!(took <= 1.3 * allowed + 2.5, "{case}, of {allowed} s");
                assert!(f64::from(refused) <= 3.0 + 0.25 * calls, "{case} refused");
            }
        }
    }

    #[test]
    fn a_burst_takes_as_long_as_its_refill() {
        let mut bucket = Bucket::new(50.0, 2.0);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(bucket.available(now), 50);
        assert_eq!(bucket.takes(50), Duration::ZERO);
        assert_eq!(bucket.takes(60), Duration::from_secs(5));
    }
}
