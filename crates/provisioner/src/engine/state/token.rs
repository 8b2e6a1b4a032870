//! Client tokens: unique, and carrying the name of their ledger and the time they were made at.

use jiff::Timestamp;
use uuid::Uuid;

use crate::domain::ids::ClientToken;
use crate::domain::ledger::LedgerId;

/// Makes tokens from a nonce (the driver's randomness, a value to the engine), a counter and the time.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Tokens {
    nonce: u64,
    counter: u16,
}

impl Tokens {
    pub(in crate::engine) fn new(nonce: u64) -> Self {
        Self { nonce, counter: 0 }
    }

    /// The next token of a ledger: its name and a version 7 UUID (RFC 9562), 53 characters of EC2's 64.
    pub(in crate::engine) fn next(
        &mut self,
        ledger: Option<&LedgerId>,
        now: Timestamp,
    ) -> ClientToken {
        self.counter = self.counter.wrapping_add(1);
        let mut tail = [0; 10];
        tail[..2].copy_from_slice(&self.counter.to_be_bytes());
        tail[2..].copy_from_slice(&self.nonce.to_be_bytes());
        // The version takes the top half byte, so twelve bits of the counter tell: 4096 a millisecond.
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid();
        ClientToken::new(match ledger {
            Some(ledger) => format!("{ledger}-{uuid}"),
            None => uuid.to_string(),
        })
    }

    /// A number that looks random, for jitter.
    pub(in crate::engine) fn jitter(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
        self.counter = self.counter.wrapping_add(1);
        let mut z =
            self.nonce.wrapping_add(u64::from(self.counter).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// When `token` was made, if it is one of ours.
pub(in crate::engine) fn made_at(token: &ClientToken) -> Option<Timestamp> {
    let uuid = LedgerId::of(token).map_or(token.as_str(), |(_, uuid)| uuid);
    let (seconds, nanos) = Uuid::parse_str(uuid).ok()?.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn tokens_are_unique_within_a_millisecond_and_tell_their_time() {
        let now = Timestamp::from_millisecond(1_790_000_000_123).unwrap();
        let mut tokens = Tokens::new(0xdead_beef_0bad_cafe);
        let ledger = LedgerId::new(0xabc);
        let made: BTreeSet<_> = (0..4000).map(|_| tokens.next(Some(&ledger), now)).collect();
        assert_eq!(made.len(), 4000);
        for token in &made {
            assert_eq!(LedgerId::of(token).map(|(of, _)| of), Some(ledger.clone()));
            assert!(token.as_str().len() <= 64 && token.as_str().is_ascii());
            assert_eq!(made_at(token), Some(now));
        }
    }

    #[test]
    fn other_tokens_tell_no_time() {
        assert_eq!(made_at(&ClientToken::from("hand-made")), None);
        let earlier = Tokens::new(7).next(None, Timestamp::from_second(1_800_000_000).unwrap());
        assert_eq!(LedgerId::of(&earlier), None, "a token of an earlier version");
        assert!(made_at(&earlier).is_some());
        assert_eq!(made_at(&ClientToken::from("0b9e1f9e-4c1e-4f0e-8a2e-6f6f3b1f7d11")), None);
    }
}
