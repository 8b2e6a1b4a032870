//! Key pairs: the key pair with our key-name, if the world has it, and those created by calls.

use std::collections::BTreeMap;

use provisioner::internal::domain::launch::TAG_KEY_NAME;
use provisioner::internal::domain::observed::KeyPair;
use provisioner::internal::domain::refusal::Refusal;

use super::filters::{Filters, Held};
use super::form::Form;
use super::xml::{Node, set, text};
use super::{only_tried, tags};
use crate::deployment::key;
use crate::world::{World, refusal};

/// A fake private key.
const MATERIAL: &str = "-----BEGIN PRIVATE KEY-----\nsimulated\n-----END PRIVATE KEY-----\n";

/// A fake fingerprint.
const FINGERPRINT: &str = "simulated";

/// A key pair as EC2 shows it.
#[derive(Clone, Debug)]
struct Shown {
    name: String,
    id: String,
    tags: BTreeMap<String, String>,
}

fn id(name: &str) -> String {
    if name == key().as_str() { "key-sim0".to_owned() } else { format!("key-sim-{name}") }
}

/// Returns all key pairs in the order of their names.
fn all(world: &World) -> Vec<Shown> {
    let ours = key().to_string();
    let own_tag = BTreeMap::from([(TAG_KEY_NAME.to_owned(), ours.clone())]);
    let tags = match world.key_pair {
        KeyPair::Unknown | KeyPair::Absent => None,
        KeyPair::Foreign => Some(BTreeMap::new()),
        KeyPair::Ours => Some(own_tag),
    };
    let others = world.more_key_pairs.iter().map(|(name, tags)| (name.clone(), tags.clone()));
    let all: BTreeMap<_, _> = tags.map(|tags| (ours, tags)).into_iter().chain(others).collect();
    all.into_iter().map(|(name, tags)| Shown { id: id(&name), name, tags }).collect()
}

/// `DescribeKeyPairs`.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let names = form.list("KeyName");
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let mut pairs = all(world);
    if let Some(name) = names.iter().find(|name| pairs.iter().all(|pair| pair.name != **name)) {
        let message = format!("The key pair '{name}' does not exist");
        return Err(refusal("InvalidKeyPair.NotFound", message));
    }
    pairs.retain(|pair| names.is_empty() || names.contains(&pair.name));
    let chosen = filters.choose(pairs, |pair, filter| match filter {
        "key-name" => Held::text(&pair.name),
        "key-pair-id" => Held::text(&pair.id),
        _ => tags::held(tags::all(&pair.tags), filter).unwrap_or(Held::NoSuchFilter),
    })?;
    let shown = chosen.iter().map(|pair| {
        vec![
            text("keyPairId", &pair.id),
            text("keyFingerprint", FINGERPRINT),
            text("keyName", &pair.name),
            text("keyType", "ed25519"),
            tags::show(tags::all(&pair.tags)),
        ]
    });
    Ok(vec![set("keySet", shown)])
}

/// `CreateKeyPair`.
pub(super) fn create(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    // No key is generated, so its type and format do not matter.
    let (_, _) = (form.text("KeyType"), form.text("KeyFormat"));
    let mut made = add(world, form)?;
    made.insert(1, text("keyMaterial", MATERIAL));
    Ok(made)
}

/// `ImportKeyPair`.
pub(super) fn import(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    form.required("PublicKeyMaterial")?;
    add(world, form)
}

fn add(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let dry_run = form.dry_run()?;
    let name = form.required("KeyName")?;
    let tags = tags::at_creation(&mut form, "key-pair")?;
    form.finish()?;
    only_tried(dry_run)?;
    if all(world).iter().any(|pair| pair.name == name) {
        let message = format!("The keypair already exists: {name}");
        return Err(refusal("InvalidKeyPair.Duplicate", message));
    }
    let mut made = vec![
        text("keyFingerprint", FINGERPRINT),
        text("keyName", &name),
        text("keyPairId", id(&name)),
    ];
    if !tags.is_empty() {
        made.push(tags::show(tags::all(&tags)));
    }
    if name == key().as_str() {
        let is_ours = tags.get(TAG_KEY_NAME) == Some(&name);
        world.key_pair = if is_ours { KeyPair::Ours } else { KeyPair::Foreign };
    } else {
        world.more_key_pairs.insert(name, tags);
    }
    Ok(made)
}

/// `DeleteKeyPair`. Deleting a key pair that does not exist succeeds, as with EC2.
pub(super) fn delete(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let dry_run = form.dry_run()?;
    let name = form.required("KeyName")?;
    form.finish()?;
    only_tried(dry_run)?;
    let was_there = all(world).iter().any(|pair| pair.name == name);
    if name == key().as_str() {
        world.key_pair = KeyPair::Absent;
    } else {
        world.more_key_pairs.remove(&name);
    }
    let id = was_there.then(|| text("keyPairId", id(&name)));
    Ok([text("return", true)].into_iter().chain(id).collect())
}
