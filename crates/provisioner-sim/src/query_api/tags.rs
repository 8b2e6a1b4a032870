//! Tags: created on instances, shown, and used in filters.

use std::collections::BTreeMap;

use provisioner::internal::domain::ids::{
    ClientToken, InstanceId, KeyName, VolumeId, WorkerTypeName,
};
use provisioner::internal::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use provisioner::internal::domain::observed::OwnTags;
use provisioner::internal::domain::refusal::Refusal;
use provisioner::internal::engine::{Effect, Outcome};

use super::filters::Held;
use super::form::Form;
use super::only_tried;
use super::xml::{Node, set, text};
use crate::world::{Machine, World, refusal};

/// `Tag.N.Key` and `Tag.N.Value`.
pub(super) fn read(form: &mut Form) -> Result<BTreeMap<String, String>, Refusal> {
    let tags = form.structures("Tag").into_iter().map(|mut tag| {
        let read = (tag.required("Key")?, tag.text("Value").unwrap_or_default());
        tag.finish()?;
        Ok(read)
    });
    tags.collect()
}

/// Takes `TagSpecification.N`: the tags for new resources, which must all be of one `kind`.
pub(super) fn at_creation(
    form: &mut Form,
    kind: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut all = BTreeMap::new();
    for mut specification in form.structures("TagSpecification") {
        let resource = specification.required("ResourceType")?;
        if resource != kind {
            let message =
                format!("'{resource}' is not a valid taggable resource type for this operation.");
            return Err(refusal("InvalidParameterValue", message));
        }
        all.extend(read(&mut specification)?);
        specification.finish()?;
    }
    Ok(all)
}

/// `CreateTags`.
pub(super) fn create(world: &mut World, form: Form) -> Result<Vec<Node>, Refusal> {
    let effect = asked(world, form)?;
    match world.obey(&effect) {
        Outcome::Refused(refusal) => Err(refusal),
        _ => Ok(vec![text("return", true)]),
    }
}

/// Parses the effect of `CreateTags`.
pub(super) fn asked(world: &World, mut form: Form) -> Result<Effect, Refusal> {
    let dry_run = form.dry_run()?;
    let ids = form.list("ResourceId");
    let tags = read(&mut form)?;
    form.finish()?;
    if ids.is_empty() || tags.is_empty() {
        return Err(refusal("MissingParameter", "The request must contain resources and tags"));
    }
    only_tried(dry_run)?;
    let (volumes, ids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.starts_with("vol-"));
    let volumes = volumes.iter().map(|id| VolumeId::from(id.as_str())).collect();
    let instances: Vec<_> = ids.iter().map(|id| InstanceId::from(id.as_str())).collect();
    if let Some(id) = instances.iter().find(|id| world.machines.known(id, world.now).is_none()) {
        // The simulation allows later tags on instances and their volumes only.
        return Err(refusal("InvalidID", format!("The ID '{id}' is not valid")));
    }
    Ok(Effect::Tag { instances, volumes, tags })
}

/// `tagSet`.
pub(super) fn show<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Node {
    set("tagSet", tags.into_iter().map(|(key, value)| vec![text("key", key), text("value", value)]))
}

/// Returns an instance's tags: our tags as describe calls show them in `seen`, and all others.
pub(super) fn of_machine<'a>(
    machine: &'a Machine,
    seen: &'a OwnTags,
) -> BTreeMap<&'a str, &'a str> {
    let own = [
        (TAG_KEY_NAME, seen.key_name.as_ref().map(KeyName::as_str)),
        (TAG_WORKER_TYPE, seen.worker_type.as_ref().map(WorkerTypeName::as_str)),
        (TAG_INTENT, seen.intent.as_ref().map(ClientToken::as_str)),
    ];
    let others = machine.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let others = others.filter(|(key, _)| own.iter().all(|(ours, _)| ours != key));
    others.chain(own.into_iter().filter_map(|(key, value)| Some((key, value?)))).collect()
}

/// Returns the values of tags for the filters `tag:KEY` and `tag-key`; `None` for other filters.
pub(super) fn held<'a>(
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    filter: &str,
) -> Option<Held> {
    if let Some(wanted) = filter.strip_prefix("tag:") {
        let value = tags.into_iter().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        return Some(Held::maybe(value));
    }
    let keys = |(key, _): (&str, &str)| key.to_owned();
    (filter == "tag-key").then(|| Held::Texts(tags.into_iter().map(keys).collect()))
}

/// Returns all tags of a map in the form that [`show`] and [`held`] take.
pub(super) fn all(tags: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}
