//! Volumes: those of instances, and those that outlived them.

use std::collections::BTreeMap;

use provisioner::internal::domain::ids::VolumeId;
use provisioner::internal::domain::refusal::Refusal;

use super::filters::{Filters, Held};
use super::form::Form;
use super::only_tried;
use super::pages::{Asked, Book};
use super::tags;
use super::xml::{Node, set, text};
use crate::world::{World, refusal, root_volume};

/// A volume as EC2 shows it.
#[derive(Clone, Debug)]
struct Shown {
    id: VolumeId,
    /// The instance that it is attached to.
    instance: Option<String>,
    tags: BTreeMap<String, String>,
}

impl Shown {
    fn status(&self) -> &'static str {
        if self.instance.is_some() { "in-use" } else { "available" }
    }

    fn held(&self, filter: &str) -> Held {
        match filter {
            "volume-id" => Held::text(&self.id),
            "status" => Held::text(self.status()),
            "attachment.instance-id" => Held::maybe(self.instance.as_ref()),
            _ => tags::held(pairs(&self.tags), filter).unwrap_or(Held::NoSuchFilter),
        }
    }

    fn inside(&self) -> Vec<Node> {
        let attachment = self.instance.as_ref().map(|instance| {
            vec![
                text("volumeId", &self.id),
                text("instanceId", instance),
                text("status", "attached"),
            ]
        });
        vec![
            text("volumeId", &self.id),
            text("status", self.status()),
            set("attachmentSet", attachment),
            tags::show(pairs(&self.tags)),
        ]
    }
}

fn pairs(tags: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

/// All volumes that exist, with their numbers.
fn all(world: &World) -> Vec<(usize, Shown)> {
    let shown = world.machines.numbered().filter_map(|(no, machine)| {
        let id = root_volume(no);
        if machine.truth().state.is_live() {
            let instance = Some(machine.truth().id.to_string());
            return Some((no, Shown { id, instance, tags: machine.volume_tags.clone() }));
        }
        let tags = world.volumes.get(&id)?.tags.clone();
        Some((no, Shown { id, instance: None, tags }))
    });
    shown.collect()
}

/// `DescribeVolumes`.
pub(super) fn describe(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let filters = Filters::read(&mut form)?;
    let asked = Asked::read(&mut form, 1000)?;
    let ids = form.list("VolumeId");
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let all = all(world);
    let is_known = |id: &String| all.iter().any(|(_, volume)| volume.id.as_str() == id);
    if let Some(id) = ids.iter().find(|id| !is_known(id)) {
        return Err(unknown(id));
    }
    let wanted = all.iter().map(|(no, volume)| (*no, volume));
    let wanted = wanted
        .filter(|(_, volume)| ids.is_empty() || ids.iter().any(|id| volume.id.as_str() == id));
    let mut book =
        Book { page: world.page, shifted: world.faults.shifted, network: &mut world.network };
    let page = asked.of(&mut book, wanted, |volume| filters.admit(|name| volume.held(name)))?;
    let mut inside = vec![set("volumeSet", page.records.iter().map(|volume| volume.inside()))];
    inside.extend(page.token());
    Ok(inside)
}

/// `DeleteVolume`. A volume that is attached is in use.
pub(super) fn delete(world: &mut World, mut form: Form) -> Result<Vec<Node>, Refusal> {
    let id = form.text("VolumeId").unwrap_or_default();
    let dry_run = form.dry_run()?;
    form.finish()?;
    only_tried(dry_run)?;
    let found = all(world).into_iter().find(|(_, volume)| volume.id.as_str() == id);
    let Some((_, volume)) = found else { return Err(unknown(&id)) };
    if let Some(instance) = volume.instance {
        let message = format!("Volume {id} is currently attached to {instance}");
        return Err(refusal("VolumeInUse", message));
    }
    world.volumes.remove(&volume.id);
    Ok(vec![text("return", true)])
}

fn unknown(id: &str) -> Refusal {
    refusal("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
}
