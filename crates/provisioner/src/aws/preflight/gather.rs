//! Gathers the facts of `validate --aws` over a connection that cannot change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::aws::preflight::{
    DryRun, DryRunAnswer, Facts, Group, Looked, Place, Target, WorkerTypeFacts,
};
use crate::aws::{Client, Error, Look, resolve};
use crate::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, WorkerTypeName, Zone,
};
use crate::domain::launch::{Pool, ResolvedWorkerType, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE};
use crate::domain::observed::InstanceState;
use crate::domain::stop_secret::StopSecret;
use crate::engine::Launch;
use crate::settings::{Settings, WorkerType};

/// Worker types looked at at a time: EC2 allows fewer mutating calls a second than describing ones,
/// and counts dry runs among them.
const AT_ONCE: usize = 4;
/// Well-formed, and nothing has it.
const NO_INSTANCE: &str = "i-00000000000000000";
const NO_SPOT_REQUEST: &str = "sir-00000000";

fn looked<T>(result: Result<T, Error>) -> Looked<T> {
    result.map_err(|error| error.refusal)
}

impl Client {
    /// Looks up all that `preflight::judge` asks, and changes nothing: calls that could are made
    /// with `DryRun`, and any other is stopped before it is sent.
    ///
    /// What cannot be looked up is part of the facts, so this does not fail.
    pub async fn preflight(
        &self,
        settings: &Arc<Settings>,
        key_name: &KeyName,
        now: Timestamp,
    ) -> Facts {
        let client = self.only_looking();
        let resolved = client.names(settings).await;

        let types: BTreeSet<InstanceType> = settings
            .worker_types
            .values()
            .flat_map(|worker_type| worker_type.instance_types.iter().cloned())
            .collect();
        let types: Vec<InstanceType> = types.into_iter().collect();
        let images: BTreeSet<String> =
            resolved.values().filter_map(|found| found.image_id.clone().ok()).collect();
        let images: Vec<String> = images.into_iter().collect();
        let anywhere = settings.worker_types.values().any(|it| it.subnets.is_empty());
        let no_requests = BTreeSet::new();
        let (key_pair, look, zones, default_vpc, images, instance_types, offerings, spot_role) = tokio::join!(
            client.key_pair(key_name),
            client.observe(key_name, &no_requests, false, now),
            client.zones(),
            async { if anywhere { Some(client.default_vpc().await) } else { None } },
            client.images(&images),
            client.instance_types(&types),
            client.offerings(&types),
            client.has_spot_role(),
        );
        let pools = priced(settings, offerings.as_ref().ok());
        let (prices, calls) = tokio::join!(
            client.spot_prices(&pools, now),
            client.dry_runs(settings, key_name, look.as_ref().ok()),
        );
        let mut facts = Facts {
            region: client.region().to_owned(),
            key_pair: looked(key_pair),
            listing: looked(look.map(drop)),
            zones: looked(zones),
            default_vpc: default_vpc.map(looked),
            images: looked(images),
            instance_types: looked(instance_types),
            offerings: looked(offerings),
            prices: looked(prices),
            spot_role: looked(spot_role),
            calls,
            worker_types: resolved,
        };
        client.dry_launches(settings, key_name, &mut facts, now).await;
        facts
    }

    /// What each worker type names, looked up apart from the others.
    async fn names(&self, settings: &Arc<Settings>) -> BTreeMap<WorkerTypeName, WorkerTypeFacts> {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut looks = JoinSet::new();
        for (name, worker_type) in &settings.worker_types {
            let user_data = settings.render_user_data(name, self.region());
            let user_data = user_data.map(drop).map_err(|error| error.to_string());
            let (client, seats) = (self.clone(), Arc::clone(&seats));
            let (name, worker_type) = (name.clone(), worker_type.clone());
            looks.spawn(async move {
                let _seat = seats.acquire().await;
                (name, client.names_of(&worker_type, user_data).await)
            });
        }
        looks.join_all().await.into_iter().collect()
    }

    async fn names_of(
        &self,
        worker_type: &WorkerType,
        user_data: Result<(), String>,
    ) -> WorkerTypeFacts {
        let subnets = self.known_subnets(&worker_type.subnets).await;
        let placements = match &subnets {
            Ok(subnets) => resolve::placements(worker_type, subnets),
            Err(error) => Err(error.clone()),
        };
        // A name means something in a VPC only, and subnets that do not exist are in none.
        let somewhere = worker_type.subnets.is_empty()
            || subnets.as_ref().is_ok_and(|subnets| !subnets.is_empty());
        let mut groups = Vec::new();
        for group in &worker_type.security_groups {
            if !somewhere && !group.starts_with(resolve::GROUP_ID) {
                continue;
            }
            let found = match &subnets {
                _ if group.starts_with(resolve::GROUP_ID) => self.group(group).await,
                Ok(subnets) => self
                    .security_group_ids(std::slice::from_ref(group), subnets)
                    .await
                    .map(|ids| ids.into_iter().next().map(|id| Group { id, vpc: None })),
                Err(error) => Err(error.clone()),
            };
            groups.push((group.clone(), looked(found)));
        }
        let profile = match &worker_type.iam_instance_profile {
            Some(profile) => Some(looked(self.instance_profile(profile).await)),
            None => None,
        };
        WorkerTypeFacts {
            image_id: looked(self.image_id(&worker_type.image_id).await),
            subnets: looked(subnets),
            placements: looked(placements),
            groups,
            profile,
            user_data,
            launches: Vec::new(),
        }
    }

    /// The calls that end and tag, tried on something of ours if there is anything.
    async fn dry_runs(
        &self,
        settings: &Settings,
        key_name: &KeyName,
        look: Option<&Look>,
    ) -> Vec<DryRun> {
        // A request without our tags is somebody else's; an instance may not have its own yet.
        let request = look.and_then(|look| {
            let requests = &look.observation.spot_requests;
            requests.iter().find(|it| it.tags.key_name.as_ref() == Some(key_name))
        });
        let instance = look.and_then(|look| {
            let ended = [InstanceState::Terminated, InstanceState::ShuttingDown];
            let instances = look.observation.instances.iter();
            instances
                .filter(|it| !ended.contains(&it.state))
                .max_by_key(|it| it.tags.key_name.as_ref() == Some(key_name))
        });
        let target = |found: bool| if found { Target::Ours } else { Target::Nobodys };
        let request_id =
            request.map_or_else(|| SpotRequestId::from(NO_SPOT_REQUEST), |it| it.id.clone());
        let instance_id =
            instance.map_or_else(|| InstanceId::from(NO_INSTANCE), |it| it.id.clone());

        let mut tags = BTreeMap::from([(TAG_KEY_NAME.to_owned(), key_name.to_string())]);
        if let Some((name, worker_type)) = settings.worker_types.first_key_value() {
            tags.extend(worker_type.tags.clone());
            tags.insert(TAG_WORKER_TYPE.to_owned(), name.to_string());
            tags.insert(TAG_NAME.to_owned(), name.to_string());
        }
        let (cancel, terminate, tag) = tokio::join!(
            self.would_cancel(&request_id),
            self.would_terminate(&instance_id),
            self.would_tag(&instance_id, &tags),
        );
        [
            ("CancelSpotInstanceRequests", request.is_some(), cancel),
            ("TerminateInstances", instance.is_some(), terminate),
            ("CreateTags", instance.is_some(), tag),
        ]
        .into_iter()
        .map(|(operation, found, answer)| DryRun { operation, target: target(found), answer })
        .collect()
    }

    /// The launches of every worker type whose names are known, rendered as a round renders them.
    async fn dry_launches(
        &self,
        settings: &Arc<Settings>,
        key_name: &KeyName,
        facts: &mut Facts,
        now: Timestamp,
    ) {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut runs = JoinSet::new();
        for (name, worker_type) in &settings.worker_types {
            let Some(found) = facts.worker_types.get(name) else { continue };
            let Some(resolved) = self.resolved(settings, name, worker_type, found) else {
                continue;
            };
            let resolved = Arc::new(resolved);
            let places = representative(worker_type, &resolved, |place| {
                let Ok(offerings) = &facts.offerings else { return true };
                offerings.get(&place.instance_type).is_some_and(|zones| {
                    place.placement.zone.as_ref().is_none_or(|zone| zones.contains(zone))
                })
            });
            for (n, place) in places.into_iter().enumerate() {
                let (client, settings, seats) =
                    (self.clone(), Arc::clone(settings), Arc::clone(&seats));
                let (key_name, name, resolved) =
                    (key_name.clone(), name.clone(), Arc::clone(&resolved));
                runs.spawn(async move {
                    let _seat = seats.acquire().await;
                    let launch = Launch {
                        key_name: &key_name,
                        name: &name,
                        worker_type: &settings.worker_types[&name],
                        resolved: Some(&resolved),
                        instance_type: &place.instance_type,
                        placement: &place.placement,
                        // Of the length of one: nothing is launched with it.
                        stop_token: &"0".repeat(StopSecret::TOKEN_LEN),
                    };
                    // No round's token looks so, should EC2 remember those of dry runs.
                    let token = ClientToken::new(format!("dry-run-{}-{n}", now.as_millisecond()));
                    let answer = client.would_request(&launch.call(token, 1, now)).await;
                    (name, n, place, answer)
                });
            }
        }
        let mut answers: Vec<(WorkerTypeName, usize, Place, DryRunAnswer)> = runs.join_all().await;
        answers.sort_by(|(name, n, ..), (other, m, ..)| (name, n).cmp(&(other, m)));
        for (name, _, place, answer) in answers {
            if let Some(found) = facts.worker_types.get_mut(&name) {
                found.launches.push((place, answer));
            }
        }
    }

    /// What `resolve` would give, if all of it is there.
    fn resolved(
        &self,
        settings: &Settings,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        found: &WorkerTypeFacts,
    ) -> Option<ResolvedWorkerType> {
        let subnets = found.subnets.as_ref().ok()?;
        if !worker_type.subnets.iter().all(|id| subnets.contains_key(id)) {
            return None;
        }
        let mut security_group_ids: Vec<String> = Vec::new();
        for (configured, group) in &found.groups {
            let id = match group {
                Ok(Some(group)) => group.id.clone(),
                // `run` sends ids as they are; EC2 says what it thinks of them.
                _ if configured.starts_with(resolve::GROUP_ID) => configured.clone(),
                _ => return None,
            };
            if !security_group_ids.contains(&id) {
                security_group_ids.push(id);
            }
        }
        Some(ResolvedWorkerType {
            image_id: found.image_id.as_ref().ok()?.clone(),
            security_group_ids,
            user_data: settings.render_user_data(name, self.region()).ok()?,
            placements: found.placements.as_ref().ok()?.clone(),
        })
    }
}

/// Where the instance types that have a `max-price` are offered.
fn priced(
    settings: &Settings,
    offerings: Option<&BTreeMap<InstanceType, BTreeSet<Zone>>>,
) -> BTreeSet<Pool> {
    let limited = settings.worker_types.values().filter(|it| it.max_price.is_some());
    limited
        .flat_map(|worker_type| &worker_type.instance_types)
        .filter_map(|instance_type| Some((instance_type, offerings?.get(instance_type)?)))
        .flat_map(|(instance_type, zones)| {
            let pool = |zone: &Zone| Pool {
                instance_type: instance_type.clone(),
                zone: Some(zone.clone()),
            };
            zones.iter().map(pool)
        })
        .collect()
}

/// Places with every instance type and every zone or subnet among them, and not every pair: for a
/// hundred worker types those would be thousands of calls, to be told the same.
fn representative(
    worker_type: &WorkerType,
    resolved: &ResolvedWorkerType,
    offered: impl Fn(&Place) -> bool,
) -> Vec<Place> {
    let all: Vec<Place> = worker_type
        .instance_types
        .iter()
        .flat_map(|instance_type| {
            resolved.placements.iter().map(move |placement| Place {
                instance_type: instance_type.clone(),
                placement: placement.clone(),
            })
        })
        .filter(offered)
        .collect();
    let mut chosen: Vec<Place> = Vec::new();
    let has_type = |chosen: &[Place], place: &Place| {
        chosen.iter().any(|it| it.instance_type == place.instance_type)
    };
    let has_placement =
        |chosen: &[Place], place: &Place| chosen.iter().any(|it| it.placement == place.placement);
    // First those that bring both: a table is covered by its diagonal.
    for place in &all {
        if !has_type(&chosen, place) && !has_placement(&chosen, place) {
            chosen.push(place.clone());
        }
    }
    for place in all {
        if !has_type(&chosen, &place) || !has_placement(&chosen, &place) {
            chosen.push(place);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::domain::launch::ResolvedPlacement;

    #[test]
    fn every_type_and_every_zone_is_tried_once() {
        let text = "[worker-types.a]\nimage-id = 'ami-1'\nmax-instances = 1\n\
                    instance-types = ['a.large', 'b.large', 'c.large']\n";
        let settings = config::parse(text, std::path::Path::new("/")).unwrap().settings;
        let worker_type = &settings.worker_types[&WorkerTypeName::from("a")];
        let zone = |zone: &str| ResolvedPlacement { zone: Some(Zone::from(zone)), subnet: None };
        let resolved = ResolvedWorkerType {
            image_id: "ami-1".to_owned(),
            security_group_ids: Vec::new(),
            user_data: None,
            placements: vec![zone("z1"), zone("z2")],
        };
        let chosen = |offered: fn(&Place) -> bool| -> Vec<String> {
            let places = representative(worker_type, &resolved, offered);
            let shown = |it: Place| format!("{} {}", it.instance_type, it.placement.zone.unwrap());
            places.into_iter().map(shown).collect()
        };
        assert_eq!(chosen(|_| true), ["a.large z1", "b.large z2", "c.large z1"]);
        let only_z2 = |place: &Place| place.placement.zone == Some(Zone::from("z2"));
        assert_eq!(chosen(only_z2), ["a.large z2", "b.large z2", "c.large z2"]);
        assert!(chosen(|_| false).is_empty());
    }
}
