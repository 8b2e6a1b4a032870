//! Everything under a key-name, for `setup-aws` and `cleanup-aws`: all pages, or an error.

use aws_sdk_ec2::types::{FleetData, Instance, LaunchTemplate, SpotInstanceRequest, VolumeState};

use super::pages::{FILTER_VALUES, PAGE, Pages, exact};
use super::state::{instance_state, spot_request_state};
use super::{Client, Error, tags};
use crate::domain::ids::{InstanceId, KeyName, SpotRequestId};
use crate::domain::launch::TAG_KEY_NAME;
use crate::domain::observed::{InstanceState, SpotRequestState};

/// A spot instance request that still stands or has an instance.
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
    /// Volumes that stay when it is terminated.
    pub(crate) lasting_volumes: Vec<String>,
}

/// A launch template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundTemplate {
    pub(crate) id: String,
    pub(crate) name: String,
}

fn under(name: &KeyName) -> String {
    format!("key-name `{name}`")
}

/// Goes on to the next page. A listing without an end is no listing.
fn advance(
    pages: &mut Pages,
    token: Option<&str>,
    operation: &'static str,
    name: &KeyName,
) -> Result<bool, Error> {
    pages.advance(token).map_err(|what| Error::incomplete(operation, under(name), what))
}

impl Client {
    /// Spot instance requests that are open, active or disabled (or in a state we do not know).
    pub(crate) async fn standing_requests(
        &self,
        name: &KeyName,
    ) -> Result<Vec<FoundRequest>, Error> {
        const OPERATION: &str = "DescribeSpotInstanceRequests";
        let launches_with = |it: &&SpotInstanceRequest| {
            it.launch_specification().and_then(|it| it.key_name()) == Some(name.as_str())
        };
        let (mut found, mut pages) = (Vec::new(), Pages::default());
        loop {
            let page = self
                .ec2
                .describe_spot_instance_requests()
                .filters(exact("launch.key-name", [name.as_str()]))
                .max_results(PAGE)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, under(name), error))?;
            let requests = page.spot_instance_requests().iter().filter(launches_with);
            found.extend(requests.filter_map(request));
            if !advance(&mut pages, page.next_token(), OPERATION, name)? {
                return Ok(found);
            }
        }
    }

    /// Instances in any state but terminated.
    pub(crate) async fn instances(&self, name: &KeyName) -> Result<Vec<FoundInstance>, Error> {
        const OPERATION: &str = "DescribeInstances";
        let (mut found, mut pages) = (Vec::new(), Pages::default());
        loop {
            let page = self
                .ec2
                .describe_instances()
                .filters(exact("key-name", [name.as_str()]))
                .max_results(PAGE)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, under(name), error))?;
            let instances =
                page.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
            let ours = instances.filter(|it| it.key_name() == Some(name.as_str()));
            found.extend(ours.filter_map(instance));
            if !advance(&mut pages, page.next_token(), OPERATION, name)? {
                return Ok(found);
            }
        }
    }

    /// Fleets with our tag that still stand. EC2 cannot filter fleets by tag.
    pub(crate) async fn fleets(&self, name: &KeyName) -> Result<Vec<String>, Error> {
        const OPERATION: &str = "DescribeFleets";
        let (mut found, mut pages) = (Vec::new(), Pages::default());
        loop {
            let page = self
                .ec2
                .describe_fleets()
                .max_results(PAGE)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, under(name), error))?;
            let ours = page.fleets().iter().filter(|it| fleet_stands(it, name));
            found.extend(ours.filter_map(|it| it.fleet_id.clone()));
            if !advance(&mut pages, page.next_token(), OPERATION, name)? {
                return Ok(found);
            }
        }
    }

    /// Launch templates with our tag.
    pub(crate) async fn launch_templates(
        &self,
        name: &KeyName,
    ) -> Result<Vec<FoundTemplate>, Error> {
        const OPERATION: &str = "DescribeLaunchTemplates";
        let tag = format!("tag:{TAG_KEY_NAME}");
        let (mut found, mut pages) = (Vec::new(), Pages::default());
        loop {
            let page = self
                .ec2
                .describe_launch_templates()
                .filters(exact(&tag, [name.as_str()]))
                // 200 is the most this one takes.
                .max_results(200)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| Error::new(OPERATION, under(name), error))?;
            found.extend(page.launch_templates().iter().filter_map(|it| template(it, name)));
            if !advance(&mut pages, page.next_token(), OPERATION, name)? {
                return Ok(found);
            }
        }
    }

    /// Those of the volumes, once a key-name's, that exist and are not just being deleted.
    pub(crate) async fn existing_volumes(
        &self,
        name: &KeyName,
        ids: &[String],
    ) -> Result<Vec<String>, Error> {
        const OPERATION: &str = "DescribeVolumes";
        let mut found = Vec::new();
        // A filter, not `VolumeIds`: one that is gone would fail the call.
        for chunk in ids.chunks(FILTER_VALUES) {
            let mut pages = Pages::default();
            loop {
                let page = self
                    .ec2
                    .describe_volumes()
                    .filters(exact("volume-id", chunk.iter().map(String::as_str)))
                    .max_results(PAGE)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| Error::new(OPERATION, under(name), error))?;
                let stands = |state: &VolumeState| {
                    !matches!(state, VolumeState::Deleting | VolumeState::Deleted)
                };
                let standing = page.volumes().iter().filter(|it| it.state().is_none_or(stands));
                found.extend(
                    standing.filter_map(|it| it.volume_id.clone()).filter(|id| chunk.contains(id)),
                );
                if !advance(&mut pages, page.next_token(), OPERATION, name)? {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Deletes a fleet and ends its instances. A fleet that maintains its size would replace them.
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
        let code = failed.error().and_then(|it| it.code()).map_or("", |code| code.as_str());
        if code == "fleetIdDoesNotExist" {
            return Ok(());
        }
        let message = failed.error().and_then(|it| it.message()).unwrap_or_default();
        Err(Error::incomplete("DeleteFleets", resource(), &format!("{code} {message}")))
    }

    /// Deletes a launch template; one that is not there counts as deleted.
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

fn request(request: &SpotInstanceRequest) -> Option<FoundRequest> {
    let state = spot_request_state(request.state().map(AsRef::as_ref));
    let ended = matches!(
        state,
        SpotRequestState::Closed | SpotRequestState::Cancelled | SpotRequestState::Failed
    );
    let instance_type = request.launch_specification().and_then(|it| it.instance_type());
    (!ended).then(|| FoundRequest {
        id: SpotRequestId::new(request.spot_instance_request_id().unwrap_or_default()),
        state,
        worker_type: tags::own_tags(request.tags()).worker_type.map(|it| it.to_string()),
        instance_type: instance_type.map_or("", |it| it.as_str()).to_owned(),
    })
}

fn instance(instance: &Instance) -> Option<FoundInstance> {
    let state = instance_state(instance.state().and_then(|it| it.name()).map(AsRef::as_ref));
    if state == InstanceState::Terminated {
        return None;
    }
    let lasting_volumes = instance
        .block_device_mappings()
        .iter()
        .filter_map(|mapping| mapping.ebs())
        .filter(|volume| volume.delete_on_termination() == Some(false))
        .filter_map(|volume| volume.volume_id.clone())
        .collect();
    Some(FoundInstance {
        id: InstanceId::new(instance.instance_id().unwrap_or_default()),
        state,
        worker_type: tags::own_tags(instance.tags()).worker_type.map(|it| it.to_string()),
        instance_type: instance.instance_type().map_or("", |it| it.as_str()).to_owned(),
        lasting_volumes,
    })
}

fn fleet_stands(fleet: &FleetData, name: &KeyName) -> bool {
    let state = fleet.fleet_state().map_or("", |state| state.as_str());
    // `deleted_running` and `deleted_terminating` are deleted too.
    tags::own_tags(fleet.tags()).key_name.as_ref() == Some(name)
        && !state.starts_with("deleted")
        && state != "failed"
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
    use aws_sdk_ec2::types::{
        EbsInstanceBlockDevice, FleetStateCode, InstanceBlockDeviceMapping,
        InstanceState as SdkInstanceState, InstanceStateName, SpotInstanceState, Tag,
    };

    use super::*;

    #[test]
    fn ended_requests_are_left_out_and_unknown_states_are_not() {
        let state = |state: &str| {
            let request =
                SpotInstanceRequest::builder().state(SpotInstanceState::from(state)).build();
            request_stands(&request)
        };
        let request_states = ["open", "active", "disabled", "surprising"];
        assert!(request_states.into_iter().all(state));
        assert!(!["closed", "cancelled", "failed"].into_iter().any(state));
    }

    fn request_stands(request: &SpotInstanceRequest) -> bool {
        super::request(request).is_some()
    }

    #[test]
    fn terminated_instances_are_left_out_and_lasting_volumes_are_seen() {
        let with_state = |name: InstanceStateName| {
            let state = SdkInstanceState::builder().name(name).build();
            let volume = |id: &str, goes: bool| {
                let ebs = EbsInstanceBlockDevice::builder().volume_id(id);
                let ebs = ebs.delete_on_termination(goes).build();
                InstanceBlockDeviceMapping::builder().ebs(ebs).build()
            };
            let builder = Instance::builder().instance_id("i-1").state(state);
            let builder = builder.block_device_mappings(volume("vol-root", true));
            instance(&builder.block_device_mappings(volume("vol-data", false)).build())
        };
        assert_eq!(with_state(InstanceStateName::Terminated), None);
        let stopped = with_state(InstanceStateName::Stopped).unwrap();
        assert_eq!(stopped.lasting_volumes, ["vol-data"]);
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
