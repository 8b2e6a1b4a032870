//! Gathers the facts of `validate --aws` over a connection that cannot change anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::aws::preflight::surplus;
use crate::aws::preflight::{
    DryRun, DryRunAnswer, DryRunTarget, Fact, ImageFacts, LaunchSite, PreflightFacts,
    SecurityGroupFacts, SubnetFacts, WorkerTypeFacts,
};
use crate::aws::{Client, Error, Observed, resolve};
use crate::domain::ids::{
    ClientToken, InstanceId, InstanceType, KeyName, SpotRequestId, SubnetId, WorkerTypeName, Zone,
};
use crate::domain::launch::{Pool, ResolvedWorkerType, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE};
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;
use crate::domain::stop_secret::StopSecret;
use crate::engine::Launch;
use crate::settings::{Settings, WorkerType};

/// The number of look-ups at a time. Our own choice: EC2 allows fewer mutating calls per second than
/// describe calls, and counts dry runs among them (EC2 API Reference, "Request throttling").
const MAX_CONCURRENT: usize = 4;
/// A well-formed id that does not exist.
const NO_INSTANCE: &str = "i-00000000000000000";
/// A well-formed id that does not exist.
const NO_SPOT_REQUEST: &str = "sir-00000000";

fn as_fact<T>(result: Result<T, Error>) -> Fact<T> {
    result.map_err(|error| error.refusal)
}

impl Client {
    /// Looks up the facts for `preflight::assess`.
    ///
    /// Changes nothing: calls that could change something are made with `DryRun`, and others are stopped
    /// before they are sent. Does not fail, since a failed look-up is part of the facts.
    pub async fn preflight(
        &self,
        settings: &Arc<Settings>,
        key_name: &KeyName,
        now: Timestamp,
    ) -> PreflightFacts {
        let client = self.read_only();
        let (worker_types, default_subnets) = client.all_worker_type_facts(settings).await;

        let types: BTreeSet<InstanceType> = settings
            .worker_types
            .values()
            .flat_map(|worker_type| worker_type.instance_types.iter().cloned())
            .collect();
        let types: Vec<InstanceType> = types.into_iter().collect();
        let images: BTreeSet<String> =
            worker_types.values().filter_map(|found| found.image_id.clone().ok()).collect();
        let images: Vec<String> = images.into_iter().collect();
        let needs_default_vpc =
            settings.worker_types.values().any(|worker_type| worker_type.subnets.is_empty());
        let no_requests = BTreeSet::new();
        let (key_pair, observed, zones, default_vpc, images, instance_types, offerings, spot_role) = tokio::join!(
            client.typed_key_pair(key_name),
            client.observe(key_name, &no_requests, false, now),
            client.zones(),
            async { if needs_default_vpc { Some(client.default_vpc().await) } else { None } },
            client.images(&images),
            client.instance_types(&types),
            client.offerings(&types),
            client.has_spot_role(),
        );
        let images = as_fact(images);
        let pools = priced(settings, &worker_types, &images, offerings.as_ref().ok());
        let (prices, calls) = tokio::join!(
            client.prices(pools, now),
            client.dry_runs(settings, key_name, observed.as_ref().ok()),
        );
        let (metadata_defaults, allowed_images, credits) = tokio::join!(
            client.metadata_defaults(),
            client.allowed_images(),
            client.credits(surplus::families(settings)),
        );
        let key_type = key_pair.as_ref().ok().and_then(|(_, key_type)| *key_type);
        let mut facts = PreflightFacts {
            region: client.region().to_owned(),
            key_pair: as_fact(key_pair.map(|(pair, _)| pair)),
            key_type,
            default_subnets,
            metadata_defaults: as_fact(metadata_defaults),
            allowed_images: as_fact(allowed_images),
            credits,
            listing: as_fact(observed.map(drop)),
            zones: as_fact(zones),
            default_vpc: default_vpc.map(as_fact),
            images,
            instance_types: as_fact(instance_types),
            offerings: as_fact(offerings),
            prices,
            spot_role: as_fact(spot_role),
            calls,
            worker_types,
        };
        client.dry_launches(settings, key_name, &mut facts, now).await;
        facts
    }

    /// Returns the spot prices of these pools, by what EC2 calls the operating system.
    async fn prices(
        &self,
        pools: BTreeMap<String, BTreeSet<Pool>>,
        now: Timestamp,
    ) -> BTreeMap<String, Fact<BTreeMap<Pool, UsdPerHour>>> {
        let mut prices = BTreeMap::new();
        for (platform, pools) in pools {
            let found = as_fact(self.spot_prices_of(&platform, &pools, now).await);
            prices.insert(platform, found);
        }
        prices
    }

    /// Looks up the facts about each worker type, independently of the others, and whether the default subnets
    /// could be read.
    async fn all_worker_type_facts(
        &self,
        settings: &Arc<Settings>,
    ) -> (BTreeMap<WorkerTypeName, WorkerTypeFacts>, Fact<()>) {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let worker_types: Vec<_> = settings.worker_types.values().collect();
        let (default_subnets, read) = match self.default_subnets(&worker_types).await {
            Ok(subnets) => (Arc::new(subnets), Ok(())),
            Err(error) => (Arc::default(), Err(error.refusal)),
        };
        let mut look_ups = JoinSet::new();
        for (name, worker_type) in &settings.worker_types {
            let user_data = settings.render_user_data(name, self.region());
            let user_data = user_data.map(drop).map_err(|error| error.to_string());
            let client = self.clone();
            let permits = Arc::clone(&permits);
            let default_subnets = Arc::clone(&default_subnets);
            let name = name.clone();
            let worker_type = worker_type.clone();
            look_ups.spawn(async move {
                let _permit = permits.acquire().await;
                (name, client.worker_type_facts(&worker_type, &default_subnets, user_data).await)
            });
        }
        (look_ups.join_all().await.into_iter().collect(), read)
    }

    async fn worker_type_facts(
        &self,
        worker_type: &WorkerType,
        default_subnets: &BTreeMap<SubnetId, SubnetFacts>,
        user_data: Result<(), String>,
    ) -> WorkerTypeFacts {
        let subnets = self.known_subnets(&worker_type.subnets).await;
        let placements = match &subnets {
            Ok(subnets) => resolve::placements(worker_type, subnets, default_subnets),
            Err(error) => Err(error.clone()),
        };
        // A group name belongs to a VPC, which is unknown if the subnets do not exist.
        let vpc_is_known = worker_type.subnets.is_empty()
            || subnets.as_ref().is_ok_and(|subnets| !subnets.is_empty());
        let mut groups = Vec::new();
        for group in &worker_type.security_groups {
            if !vpc_is_known && !group.starts_with(resolve::GROUP_ID) {
                continue;
            }
            let found = match &subnets {
                _ if group.starts_with(resolve::GROUP_ID) => self.group(group).await,
                Ok(subnets) => {
                    self.security_group_ids(std::slice::from_ref(group), subnets).await.map(|ids| {
                        ids.into_iter().next().map(|id| SecurityGroupFacts { id, vpc: None })
                    })
                }
                Err(error) => Err(error.clone()),
            };
            groups.push((group.clone(), as_fact(found)));
        }
        let profile = match &worker_type.iam_instance_profile {
            Some(profile) => Some(as_fact(self.instance_profile(profile).await)),
            None => None,
        };
        WorkerTypeFacts {
            image_id: as_fact(self.image_id(&worker_type.image_id).await),
            subnets: as_fact(subnets),
            placements: as_fact(placements),
            groups,
            profile,
            user_data,
            launches: Vec::new(),
        }
    }

    /// Tries the calls that cancel, terminate and tag, on resources of ours if there are any.
    async fn dry_runs(
        &self,
        settings: &Settings,
        key_name: &KeyName,
        observed: Option<&Observed>,
    ) -> Vec<DryRun> {
        // A request without our tags belongs to somebody else; an instance may not have its tags yet.
        let request = observed.and_then(|observed| {
            let requests = &observed.observation.spot_requests;
            requests.iter().find(|request| request.tags.key_name.as_ref() == Some(key_name))
        });
        let instance = observed.and_then(|observed| {
            let ended = [InstanceState::Terminated, InstanceState::ShuttingDown];
            let instances = observed.observation.instances.iter();
            instances
                .filter(|instance| !ended.contains(&instance.state))
                .max_by_key(|instance| instance.tags.key_name.as_ref() == Some(key_name))
        });
        let target =
            |found: bool| if found { DryRunTarget::Ours } else { DryRunTarget::NothingThere };
        let request_id = request
            .map_or_else(|| SpotRequestId::from(NO_SPOT_REQUEST), |request| request.id.clone());
        let instance_id =
            instance.map_or_else(|| InstanceId::from(NO_INSTANCE), |instance| instance.id.clone());

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

    /// Tries the launches of every worker type whose names are resolved, rendered as a round renders them.
    async fn dry_launches(
        &self,
        settings: &Arc<Settings>,
        key_name: &KeyName,
        facts: &mut PreflightFacts,
        now: Timestamp,
    ) {
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        let mut runs = JoinSet::new();
        for (name, worker_type) in &settings.worker_types {
            let Some(found) = facts.worker_types.get(name) else { continue };
            let Some(resolved) = self.resolved(settings, name, worker_type, found, &facts.images)
            else {
                continue;
            };
            let resolved = Arc::new(resolved);
            let sites = representative(worker_type, &resolved, |site| {
                let Ok(offerings) = &facts.offerings else { return true };
                offerings.get(&site.instance_type).is_some_and(|zones| {
                    site.placement.zone.as_ref().is_none_or(|zone| zones.contains(zone))
                })
            });
            for (n, site) in sites.into_iter().enumerate() {
                let client = self.clone();
                let settings = Arc::clone(settings);
                let permits = Arc::clone(&permits);
                let key_name = key_name.clone();
                let name = name.clone();
                let resolved = Arc::clone(&resolved);
                runs.spawn(async move {
                    let _permit = permits.acquire().await;
                    let launch = Launch {
                        key_name: &key_name,
                        name: &name,
                        worker_type: &settings.worker_types[&name],
                        resolved: Some(&resolved),
                        instance_type: &site.instance_type,
                        placement: &site.placement,
                        // Only the length matters, since nothing is launched with it.
                        stop_token: &"0".repeat(StopSecret::TOKEN_LEN),
                    };
                    // Unlike any token of a round, should EC2 remember the tokens of dry runs.
                    let token = ClientToken::new(format!("dry-run-{}-{n}", now.as_millisecond()));
                    let answer = client.would_request(&launch.call(token, 1, now)).await;
                    (name, n, site, answer)
                });
            }
        }
        let mut answers: Vec<(WorkerTypeName, usize, LaunchSite, DryRunAnswer)> =
            runs.join_all().await;
        answers.sort_by(|(name, n, ..), (other, m, ..)| (name, n).cmp(&(other, m)));
        for (name, _, site, answer) in answers {
            if let Some(found) = facts.worker_types.get_mut(&name) {
                found.launches.push((site, answer));
            }
        }
    }

    /// Returns what `resolve` would return, if all facts for it are known.
    fn resolved(
        &self,
        settings: &Settings,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        found: &WorkerTypeFacts,
        images: &Fact<BTreeMap<String, ImageFacts>>,
    ) -> Option<ResolvedWorkerType> {
        let image_id = found.image_id.as_ref().ok()?.clone();
        let image = images.as_ref().ok().and_then(|images| images.get(&image_id));
        let subnets = found.subnets.as_ref().ok()?;
        if !worker_type.subnets.iter().all(|id| subnets.contains_key(id)) {
            return None;
        }
        let mut security_group_ids: Vec<String> = Vec::new();
        for (configured, group) in &found.groups {
            let id = match group {
                Ok(Some(group)) => group.id.clone(),
                // `run` sends ids as they are, so EC2 checks them.
                _ if configured.starts_with(resolve::GROUP_ID) => configured.clone(),
                _ => return None,
            };
            if !security_group_ids.contains(&id) {
                security_group_ids.push(id);
            }
        }
        Some(ResolvedWorkerType {
            image_id,
            security_group_ids,
            user_data: settings.render_user_data(name, self.region()).ok()?,
            placements: found.placements.as_ref().ok()?.clone(),
            lasting_devices: image.map(|image| image.lasting_devices.clone()).unwrap_or_default(),
        })
    }
}

/// Returns the pools of the instance types with a `max-price`, in the zones that offer them, by what EC2 calls
/// the operating system of their image.
fn priced(
    settings: &Settings,
    worker_types: &BTreeMap<WorkerTypeName, WorkerTypeFacts>,
    images: &Fact<BTreeMap<String, ImageFacts>>,
    offerings: Option<&BTreeMap<InstanceType, BTreeSet<Zone>>>,
) -> BTreeMap<String, BTreeSet<Pool>> {
    let mut pools: BTreeMap<String, BTreeSet<Pool>> = BTreeMap::new();
    for (name, worker_type) in &settings.worker_types {
        if worker_type.max_price.is_none() {
            continue;
        }
        let image = worker_types.get(name).and_then(|found| found.image_id.as_ref().ok());
        let image = image.and_then(|id| images.as_ref().ok()?.get(id));
        let platform = image.map_or(ImageFacts::LINUX, ImageFacts::platform);
        let of_platform = pools.entry(platform.to_owned()).or_default();
        for instance_type in &worker_type.instance_types {
            let zones = offerings.and_then(|offerings| offerings.get(instance_type));
            of_platform.extend(zones.into_iter().flatten().map(|zone| Pool {
                instance_type: instance_type.clone(),
                zone: Some(zone.clone()),
            }));
        }
    }
    pools
}

/// Returns launch sites that cover every instance type and every zone or subnet, but not every pair: for a
/// hundred worker types those would be thousands of calls with the same answers.
fn representative(
    worker_type: &WorkerType,
    resolved: &ResolvedWorkerType,
    offered: impl Fn(&LaunchSite) -> bool,
) -> Vec<LaunchSite> {
    let all: Vec<LaunchSite> = worker_type
        .instance_types
        .iter()
        .flat_map(|instance_type| {
            resolved.placements.iter().map(move |placement| LaunchSite {
                instance_type: instance_type.clone(),
                placement: placement.clone(),
            })
        })
        .filter(offered)
        .collect();
    let mut chosen: Vec<LaunchSite> = Vec::new();
    let has_type = |chosen: &[LaunchSite], site: &LaunchSite| {
        chosen.iter().any(|other| other.instance_type == site.instance_type)
    };
    let has_placement = |chosen: &[LaunchSite], site: &LaunchSite| {
        chosen.iter().any(|other| other.placement == site.placement)
    };
    // First the sites that cover both: the diagonal covers a table.
    for site in &all {
        if !has_type(&chosen, site) && !has_placement(&chosen, site) {
            chosen.push(site.clone());
        }
    }
    for site in all {
        if !has_type(&chosen, &site) || !has_placement(&chosen, &site) {
            chosen.push(site);
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
    fn every_type_and_every_zone_is_tried() {
        let text = "[worker-types.a]\nimage-id = 'ami-1'\nmax-instances = 1\n\
                    instance-types = ['a.large', 'b.large', 'c.large']\n";
        let settings = config::parse(text, std::path::Path::new("/")).unwrap().settings;
        let worker_type = &settings.worker_types[&WorkerTypeName::from("a")];
        let zone = |zone: &str| ResolvedPlacement::new(Some(Zone::from(zone)), None);
        let resolved = ResolvedWorkerType {
            image_id: "ami-1".to_owned(),
            security_group_ids: Vec::new(),
            user_data: None,
            placements: vec![zone("z1"), zone("z2")],
            lasting_devices: Vec::new(),
        };
        let chosen = |offered: fn(&LaunchSite) -> bool| -> Vec<String> {
            let sites = representative(worker_type, &resolved, offered);
            let shown = |site: LaunchSite| {
                format!("{} {}", site.instance_type, site.placement.zone.unwrap())
            };
            sites.into_iter().map(shown).collect()
        };
        assert_eq!(chosen(|_| true), ["a.large z1", "b.large z2", "c.large z1"]);
        let only_z2 = |site: &LaunchSite| site.placement.zone == Some(Zone::from("z2"));
        assert_eq!(chosen(only_z2), ["a.large z2", "b.large z2", "c.large z2"]);
        assert!(chosen(|_| false).is_empty());
    }
}
