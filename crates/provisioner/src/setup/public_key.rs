//! The public key to import, checked before it leaves the machine.

use std::path::Path;

use super::SetupError;

/// Reads an OpenSSH public key. Refuses a private key, which must not be sent anywhere.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    let unusable = |reason: String| SetupError::PublicKey { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    check(&text).map(Vec::from).map_err(|reason| unusable(reason.to_owned()))
}

fn check(text: &str) -> Result<&str, &'static str> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        return Err("this is a private key; name the file that ends with .pub");
    }
    if text.lines().count() != 1 {
        return Err("it must hold exactly one public key on one line");
    }
    match text.split_once(' ') {
        Some(("ssh-ed25519" | "ssh-rsa", _)) => Ok(text),
        _ => Err("EC2 takes OpenSSH public keys that start with `ssh-ed25519` or `ssh-rsa`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_keys_leave_the_machine() {
        assert_eq!(check("ssh-ed25519 AAAA me@here\n"), Ok("ssh-ed25519 AAAA me@here"));
        for bad in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            "ecdsa-sha2-nistp256 AAAA",
            "ssh-rsa",
            "",
            "ssh-rsa AAAA\nssh-rsa BBBB",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
