//! `DescribeKeyPairs`: the key pair of our key-name, if the world has it.

use provisioner::launch::TAG_KEY_NAME;
use provisioner::observed::KeyPair;
use provisioner::refusal::Refusal;

use super::filters::{Filters, Held};
use super::form::Form;
use super::xml::{Node, set, text};
use super::{only_tried, tags};
use crate::deployment::key;
use crate::world::{World, refusal};

/// `DescribeKeyPairs`.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let names = form.list("KeyName");
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let ours = key();
    let own_tag = [(TAG_KEY_NAME, ours.as_str())];
    let (there, tags) = match world.key_pair {
        KeyPair::Unknown | KeyPair::Absent => (None, &[][..]),
        KeyPair::Foreign => (Some(&ours), &[][..]),
        KeyPair::Ours => (Some(&ours), &own_tag[..]),
    };
    if let Some(name) = names.iter().find(|name| there.is_none_or(|it| it.as_str() != **name)) {
        let message = format!("The key pair '{name}' does not exist");
        return Err(refusal("InvalidKeyPair.NotFound", message));
    }
    let held = |filter: &str| match filter {
        "key-name" => Held::text(&ours),
        _ => tags::held(tags.iter().copied(), filter).unwrap_or(Held::NoSuchFilter),
    };
    let mut shown = Vec::new();
    if let Some(name) = there
        && filters.admit(held)?
    {
        shown.push(vec![
            text("keyPairId", "key-sim0"),
            text("keyFingerprint", "simulated"),
            text("keyName", name),
            text("keyType", "ed25519"),
            tags::show(tags.iter().copied()),
        ]);
    }
    Ok(vec![set("keySet", shown)])
}
