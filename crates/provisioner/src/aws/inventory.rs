//! Everything under a key-name, for `setup-aws` and `cleanup-aws`: all pages, or an error.

use aws_sdk_ec2::types::{FleetData, LaunchTemplate, Volume, VolumeState};

use super::describe::{instance_pages, launches_with, spot_request_pages, under_key_name};
use super::listing::{InstanceFields, SpotRequestFields};
use super::pages::{FILTER_VALUES, PAGE_ITEMS, Pages, exact};
use super::state::{instance_state, spot_request_state};
use super::{Client, Error, tags};
use crate::domain::ids::{InstanceId, KeyName, SpotRequestId};
use crate::domain::launch::TAG_KEY_NAME;
use crate::domain::observed::{InstanceState, SpotRequestState};

/// The largest page of `DescribeLaunchTemplates` (EC2 API Reference).
const LAUNCH_TEMPLATES_PAGE: i32 = 200;

/// A spot instance request that is open, active or disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundRequest {
    pub(crate) id: SpotRequestId,
    pub(crate) state: SpotRequestState,
    pub(crate) worker_type: Option<String>,
    pub(crate) instance_type: String,
}

/// An instance that is not terminated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundInstance {
    pub(crate) id: InstanceId,
    pub(crate) state: InstanceState,
    pub(crate) worker_type: Option<String>,
    pub(crate) instance_type: String,
    /// The volumes that outlive it.
    pub(crate) lasting_volumes: Vec<String>,
}

/// A launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundTemplate {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// A volume with our tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundVolume {
    pub(crate) id: String,
    /// Whether it is attached to nothing, and can be deleted.
    pub(crate) is_available: bool,
    /// Whether its machine takes it along when it ends.
    pub(crate) ends_with_machine: bool,
}

impl Client {
    /// Returns the spot requests that are open, active or disabled, or in a state we do not know.
    pub(crate) async fn standing_requests(
        &self,
        name: &KeyName,
    ) -> Result<Vec<FoundRequest>, Error> {
        let filters = [launches_with(name)];
        let mut found = Vec::new();
        let mut pages = spot_request_pages(name);
        while pages.remain() {
            let requests = self.next_spot_requests(&filters, &mut pages).await?;
            let ours = requests
                .into_iter()
                .filter(|request| request.key_name.as_deref() == Some(name.as_str()));
            found.extend(ours.filter_map(found_request));
        }
        Ok(found)
    }

    /// Returns the instances in any state but terminated.
    pub(crate) async fn instances(&self, name: &KeyName) -> Result<Vec<FoundInstance>, Error> {
        let mut found = Vec::new();
        let mut pages = instance_pages(name);
        while pages.remain() {
            let instances = self.next_instances(name, &mut pages).await?;
            let ours = instances
                .into_iter()
                .filter(|instance| instance.key_name.as_deref() == Some(name.as_str()));
            found.extend(ours.filter_map(found_instance));
        }
        Ok(found)
    }

    /// Returns the fleets with our tag that are not deleted. EC2 cannot filter fleets by tag.
    pub(crate) async fn fleets(&self, name: &KeyName) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        let mut pages = Pages::of("DescribeFleets", under_key_name(name));
        while pages.remain() {
            let page = self
                .ec2
                .describe_fleets()
                .max_results(PAGE_ITEMS)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            let ours = page.fleets().iter().filter(|fleet| fleet_stands(fleet, name));
            found.extend(ours.filter_map(|fleet| fleet.fleet_id.clone()));
            pages.advance(page.next_token())?;
        }
        Ok(found)
    }

    /// Returns the launch templates with our tag.
    pub(crate) async fn launch_templates(
        &self,
        name: &KeyName,
    ) -> Result<Vec<FoundTemplate>, Error> {
        let tag = format!("tag:{TAG_KEY_NAME}");
        let mut found = Vec::new();
        let mut pages = Pages::of("DescribeLaunchTemplates", under_key_name(name));
        while pages.remain() {
            let page = self
                .ec2
                .describe_launch_templates()
                .filters(exact(&tag, [name.as_str()]))
                .max_results(LAUNCH_TEMPLATES_PAGE)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            let templates = page.launch_templates().iter();
            found.extend(templates.filter_map(|found| template(found, name)));
            pages.advance(page.next_token())?;
        }
        Ok(found)
    }

    /// Returns the volumes with our tag that are not being deleted.
    pub(crate) async fn volumes(&self, name: &KeyName) -> Result<Vec<FoundVolume>, Error> {
        let tag = format!("tag:{TAG_KEY_NAME}");
        let mut found = Vec::new();
        let mut pages = Pages::of("DescribeVolumes", under_key_name(name));
        while pages.remain() {
            let page = self
                .ec2
                .describe_volumes()
                .filters(exact(&tag, [name.as_str()]))
                .max_results(PAGE_ITEMS)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            found.extend(page.volumes().iter().filter_map(|found| volume(found, name)));
            pages.advance(page.next_token())?;
        }
        Ok(found)
    }

    /// Deletes a volume. One that does not exist counts as deleted.
    pub(crate) async fn delete_volume(&self, id: &str) -> Result<(), Error> {
        match self.ec2.delete_volume().volume_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = Error::new("DeleteVolume", format!("volume {id}"), error);
                if error.code() == "InvalidVolume.NotFound" { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Returns those of the volumes `ids` that exist and are not being deleted. Errors name the
    /// key-name that the volumes belonged to.
    pub(crate) async fn existing_volumes(
        &self,
        name: &KeyName,
        ids: &[String],
    ) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        // A filter rather than `VolumeIds`: one that is gone would fail the call.
        for chunk in ids.chunks(FILTER_VALUES) {
            let mut pages = Pages::of("DescribeVolumes", under_key_name(name));
            while pages.remain() {
                let page = self
                    .ec2
                    .describe_volumes()
                    .filters(exact("volume-id", chunk.iter().map(String::as_str)))
                    .max_results(PAGE_ITEMS)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| pages.error(error))?;
                let standing = page.volumes().iter().filter(|volume| volume_stands(volume));
                let ids = standing.filter_map(|volume| volume.volume_id.clone());
                found.extend(ids.filter(|id| chunk.contains(id)));
                pages.advance(page.next_token())?;
            }
        }
        Ok(found)
    }

    /// Deletes a fleet and terminates its instances, which a fleet that maintains its size would replace.
    pub(crate) async fn delete_fleet(&self, id: &str) -> Result<(), Error> {
        let resource = || format!("fleet {id}");
        let answer = self
            .ec2
            .delete_fleets()
            .fleet_ids(id)
            .terminate_instances(true)
            .send()
            .await
            .map_err(|error| Error::new("DeleteFleets", resource(), error))?;
        let Some(failed) = answer.unsuccessful_fleet_deletions().first() else { return Ok(()) };
        let code = failed.error().and_then(|error| error.code()).map_or("", |code| code.as_str());
        if code == "fleetIdDoesNotExist" {
            return Ok(());
        }
        let message = failed.error().and_then(|error| error.message()).unwrap_or_default();
        Err(Error::incomplete("DeleteFleets", resource(), &format!("{code} {message}")))
    }

    /// Deletes a launch template. One that does not exist counts as deleted.
    pub(crate) async fn delete_launch_template(&self, id: &str) -> Result<(), Error> {
        match self.ec2.delete_launch_template().launch_template_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let error =
                    Error::new("DeleteLaunchTemplate", format!("launch template {id}"), error);
                if error.code().contains("NotFound") { Ok(()) } else { Err(error) }
            }
        }
    }
}

fn found_request(request: SpotRequestFields) -> Option<FoundRequest> {
    let state = spot_request_state(request.state.as_deref());
    let ended = matches!(
        state,
        SpotRequestState::Closed | SpotRequestState::Cancelled | SpotRequestState::Failed
    );
    (!ended).then(|| FoundRequest {
        id: SpotRequestId::new(request.id.unwrap_or_default()),
        state,
        worker_type: request.tags.own.worker_type.map(|name| name.to_string()),
        instance_type: request.instance_type.unwrap_or_default(),
    })
}

fn found_instance(instance: InstanceFields) -> Option<FoundInstance> {
    let state = instance_state(instance.state.as_deref());
    (state != InstanceState::Terminated).then(|| FoundInstance {
        id: InstanceId::new(instance.id.unwrap_or_default()),
        state,
        worker_type: instance.tags.own.worker_type.map(|name| name.to_string()),
        instance_type: instance.instance_type.unwrap_or_default(),
        lasting_volumes: instance.volumes.lasting,
    })
}

fn fleet_stands(fleet: &FleetData, name: &KeyName) -> bool {
    let state = fleet.fleet_state().map_or("", |state| state.as_str());
    // `deleted_running` and `deleted_terminating` are deleted too.
    tags::own_tags(fleet.tags()).key_name.as_ref() == Some(name)
        && !state.starts_with("deleted")
        && state != "failed"
}

fn volume_stands(volume: &Volume) -> bool {
    !matches!(volume.state(), Some(VolumeState::Deleting | VolumeState::Deleted))
}

fn volume(volume: &Volume, name: &KeyName) -> Option<FoundVolume> {
    if tags::own_tags(volume.tags()).key_name.as_ref() != Some(name) || !volume_stands(volume) {
        return None;
    }
    let attachments = volume.attachments();
    Some(FoundVolume {
        id: volume.volume_id.clone()?,
        is_available: volume.state() == Some(&VolumeState::Available),
        ends_with_machine: !attachments.is_empty()
            && attachments.iter().all(|it| it.delete_on_termination() == Some(true)),
    })
}

fn template(template: &LaunchTemplate, name: &KeyName) -> Option<FoundTemplate> {
    if tags::own_tags(template.tags()).key_name.as_ref() != Some(name) {
        return None;
    }
    Some(FoundTemplate {
        id: template.launch_template_id.clone()?,
        name: template.launch_template_name.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{FleetStateCode, Tag, VolumeAttachment};

    use super::*;

    #[test]
    fn ended_requests_are_left_out_and_unknown_states_are_not() {
        let stands = |state: &str| {
            let state = Some(state.to_owned());
            found_request(SpotRequestFields { state, ..SpotRequestFields::default() }).is_some()
        };
        assert!(["open", "active", "disabled", "surprising"].into_iter().all(stands));
        assert!(!["closed", "cancelled", "failed"].into_iter().any(stands));
    }

    #[test]
    fn terminated_instances_are_left_out() {
        let stands = |state: &str| {
            let state = Some(state.to_owned());
            found_instance(InstanceFields { state, ..InstanceFields::default() }).is_some()
        };
        assert!(!stands("terminated"));
        assert!(["running", "stopped", "surprising"].into_iter().all(stands));
    }

    #[test]
    fn volumes_of_ours_stand_until_they_are_being_deleted() {
        let name = KeyName::from("k");
        let found = |state: VolumeState, owner: &str, delete: Option<bool>| {
            let tag = Tag::builder().key(TAG_KEY_NAME).value(owner).build();
            let attached = delete
                .map(|delete| VolumeAttachment::builder().delete_on_termination(delete).build());
            let found = Volume::builder()
                .volume_id("vol-1")
                .state(state)
                .tags(tag)
                .set_attachments(Some(attached.into_iter().collect()))
                .build();
            volume(&found, &name).map(|found| (found.is_available, found.ends_with_machine))
        };
        assert_eq!(found(VolumeState::Available, "k", None), Some((true, false)));
        assert_eq!(found(VolumeState::InUse, "k", Some(true)), Some((false, true)));
        assert_eq!(found(VolumeState::InUse, "k", Some(false)), Some((false, false)));
        assert_eq!(found(VolumeState::Deleting, "k", None), None);
        assert_eq!(found(VolumeState::Available, "other", None), None);
    }

    #[test]
    fn only_standing_fleets_with_our_tag_count() {
        let name = KeyName::from("k");
        let fleet = |state: &str, owner: &str| {
            let tag = Tag::builder().key(TAG_KEY_NAME).value(owner).build();
            let state = FleetStateCode::from(state);
            fleet_stands(&FleetData::builder().fleet_state(state).tags(tag).build(), &name)
        };
        assert!(fleet("active", "k"));
        assert!(!fleet("active", "other"));
        assert!(!fleet("deleted_running", "k"));
    }
}
