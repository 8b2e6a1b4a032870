//! Reads, makes and deletes key pairs.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{KeyFormat, KeyType, ResourceType};

use super::{Client, Error, tags};
use crate::domain::ids::KeyName;
use crate::domain::launch::TAG_KEY_NAME;
use crate::domain::observed::{KeyPair, KeyPairType};
use crate::domain::refusal::RefusalClass;

/// A private key in PEM. Its `Debug` hides it.
pub(crate) struct PrivateKey(String);

impl PrivateKey {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

fn named(name: &KeyName) -> String {
    format!("key pair `{name}`")
}

fn own_tag(name: &KeyName) -> BTreeMap<String, String> {
    BTreeMap::from([(TAG_KEY_NAME.to_owned(), name.to_string())])
}

impl Client {
    /// Returns whether the key pair of this name exists, and whether it carries our tag.
    pub(crate) async fn key_pair(&self, name: &KeyName) -> Result<KeyPair, Error> {
        self.typed_key_pair(name).await.map(|(pair, _)| pair)
    }

    /// Returns the same, and the type of the key pair, if EC2 shows one that we know.
    pub(super) async fn typed_key_pair(
        &self,
        name: &KeyName,
    ) -> Result<(KeyPair, Option<KeyPairType>), Error> {
        let answer = self.ec2.describe_key_pairs().key_names(name.as_str()).send().await;
        let answer = match answer.map_err(|e| Error::new("DescribeKeyPairs", named(name), e)) {
            Ok(answer) => answer,
            Err(error) if error.class() == RefusalClass::NotFound => {
                return Ok((KeyPair::Absent, None));
            }
            Err(error) => return Err(error),
        };
        let found = answer.key_pairs().iter().find(|pair| pair.key_name() == Some(name.as_str()));
        let key_type = found.and_then(|pair| match pair.key_type()? {
            KeyType::Ed25519 => Some(KeyPairType::Ed25519),
            KeyType::Rsa => Some(KeyPairType::Rsa),
            _ => None,
        });
        let pair = match found {
            None => KeyPair::Absent,
            Some(pair) if tags::own_tags(pair.tags()).key_name.as_ref() == Some(name) => {
                KeyPair::Ours
            }
            Some(_) => KeyPair::Foreign,
        };
        Ok((pair, key_type))
    }

    /// Has EC2 make a tagged key pair. The answer holds the only copy of the private key.
    pub(crate) async fn create_key_pair(
        &self,
        name: &KeyName,
        key_type: KeyPairType,
    ) -> Result<PrivateKey, Error> {
        let key_type = match key_type {
            KeyPairType::Ed25519 => KeyType::Ed25519,
            KeyPairType::Rsa => KeyType::Rsa,
        };
        let answer = self
            // Without retries: after a lost answer a repeated call would fail as a duplicate, and the key
            // would be lost.
            .ec2_launch
            .create_key_pair()
            .key_name(name.as_str())
            .key_type(key_type)
            .key_format(KeyFormat::Pem)
            .tag_specifications(tags::specification(ResourceType::KeyPair, &own_tag(name)))
            .send()
            .await
            .map_err(|error| Error::new("CreateKeyPair", named(name), error))?;
        answer
            .key_material
            .filter(|key| !key.is_empty())
            .map(PrivateKey)
            .ok_or_else(|| Error::incomplete("CreateKeyPair", named(name), "no private key"))
    }

    /// Imports a public key as a tagged key pair.
    pub(crate) async fn import_key_pair(
        &self,
        name: &KeyName,
        public_key: &[u8],
    ) -> Result<(), Error> {
        self.ec2_launch
            .import_key_pair()
            .key_name(name.as_str())
            .public_key_material(Blob::new(public_key))
            .tag_specifications(tags::specification(ResourceType::KeyPair, &own_tag(name)))
            .send()
            .await
            .map_err(|error| Error::new("ImportKeyPair", named(name), error))?;
        Ok(())
    }

    /// Deletes a key pair. One that does not exist counts as deleted.
    pub(crate) async fn delete_key_pair(&self, name: &KeyName) -> Result<(), Error> {
        // By name, which is unique in the region; the id is unknown after a lost answer.
        match self.ec2.delete_key_pair().key_name(name.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) => match Error::new("DeleteKeyPair", named(name), error) {
                error if error.class() == RefusalClass::NotFound => Ok(()),
                error => Err(error),
            },
        }
    }
}
