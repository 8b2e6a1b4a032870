//! The token by which a worker proves its identity when it asks whether to stop.
//!
//! There is one secret per deployment, stored in the state directory, and one token per launch, which is
//! the keyed hash of the launch's client token. So tokens need not be stored: the token of a machine
//! follows from the intent that it carries as a tag, and a launching call that is repeated after a crash
//! contains the same one.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::ids::ClientToken;

/// In bytes: the block size of SHA-256. HMAC pads a shorter key and hashes a longer one (RFC 2104).
const KEY_BYTES: usize = 64;

/// Separates these tokens from anything else that may be derived from the secret one day.
const PURPOSE: &[u8] = b"should-stop\0";

/// The deployment's secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StopSecret([u8; KEY_BYTES]);

/// A text that is not the hexadecimal form of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {} hexadecimal digits", KEY_BYTES * 2)]
pub struct NoSecret;

impl StopSecret {
    /// The number of characters of a token.
    pub const TOKEN_LEN: usize = 64;

    /// Makes a secret of these bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Makes a random secret.
    ///
    /// # Errors
    /// If the system provides no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Returns the token of a launch, in hexadecimal digits, which need no quoting in shells and headers.
    pub fn token(&self, launch: &ClientToken) -> String {
        to_hex(&self.hash_of(launch).finalize().into_bytes())
    }

    /// Returns whether `token` is the token of `launch`. The time it takes does not depend on how much of
    /// it is right.
    pub fn opens(&self, launch: &ClientToken, token: &str) -> bool {
        from_hex::<32>(token)
            .is_some_and(|token| self.hash_of(launch).verify(&token.into()).is_ok())
    }

    fn hash_of(&self, launch: &ClientToken) -> Hmac<Sha256> {
        let Self(key) = self;
        let mut hash = Hmac::<Sha256>::new(key.into());
        hash.update(PURPOSE);
        hash.update(launch.as_str().as_bytes());
        hash
    }
}

impl fmt::Debug for StopSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopSecret")
    }
}

impl From<StopSecret> for String {
    fn from(StopSecret(bytes): StopSecret) -> Self {
        to_hex(&bytes)
    }
}

impl TryFrom<String> for StopSecret {
    type Error = NoSecret;

    fn try_from(text: String) -> Result<Self, NoSecret> {
        from_hex(&text).map(Self).ok_or(NoSecret)
    }
}

/// Returns bytes in hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16);
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).filter_map(digit).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_launch_and_one_deployment() {
        let ours = StopSecret::new([7; KEY_BYTES]);
        let other = StopSecret::new([8; KEY_BYTES]);
        let [a, b] = ["launch-a", "launch-b"].map(ClientToken::from);
        let token = ours.token(&a);
        assert_eq!(token.len(), StopSecret::TOKEN_LEN);
        assert_eq!(token, ours.token(&a), "the same when the call is repeated");
        assert!(ours.opens(&a, &token));
        assert!(!ours.opens(&b, &token) && !other.opens(&a, &token));
        for wrong in
            ["", "0", &token[..62], &format!("{token}00"), &token.replace(&token[..1], "g")]
        {
            assert!(!ours.opens(&a, wrong), "{wrong}");
        }
    }

    #[test]
    fn it_is_kept_as_text_and_shown_to_nobody() {
        let secret = StopSecret::generate().unwrap();
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<StopSecret>(&text).unwrap(), secret);
        assert!(serde_json::from_str::<StopSecret>("\"abc\"").is_err());
        assert_eq!(format!("{secret:?}"), "StopSecret");
        assert_ne!(secret, StopSecret::generate().unwrap());
    }

    /// The expected value was computed by Python's `hmac`.
    #[test]
    fn it_is_hmac_sha256() {
        let secret = StopSecret::new([7; KEY_BYTES]);
        assert_eq!(secret.token(&ClientToken::from("launch-a")), EXPECTED);
    }

    const EXPECTED: &str = "2125e1b06245ba7a368620f9863cad9b793f0ca4aa2bd502cbe034ba9afad457";
}
