//! Resolves the names in a worker type: image parameters, security group names, the subnets' zones.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types;

use super::pages::{FILTER_VALUES, PAGE_ITEMS, Pages, exact};
use super::{Client, Error};
use crate::aws::preflight::{SecurityGroupFacts, SubnetFacts};
use crate::domain::ids::{InstanceType, SubnetId, Zone};
use crate::domain::launch::{ResolvedPlacement, ResolvedWorkerType};
use crate::domain::refusal::RefusalClass;
use crate::settings::WorkerType;

/// The prefix of an image id that names a parameter of SSM.
const SSM: &str = "ssm:";
/// The prefix of security group ids. EC2 does not allow it in a group name (API Reference,
/// `CreateSecurityGroup`).
pub(super) const GROUP_ID: &str = "sg-";

/// What is known of the places in which worker types may launch. What could not be read is missing, which holds
/// up no launch: EC2's refusals tell the same, later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPlaces {
    /// The default subnets of the default VPC, one per zone.
    default_subnets: BTreeMap<SubnetId, SubnetFacts>,
    /// The zones in which each instance type is offered.
    offerings: BTreeMap<InstanceType, BTreeSet<Zone>>,
}

/// A look-up that launches can do without, and that failed.
#[derive(Clone, Debug)]
pub struct NotRead {
    /// What is unknown.
    pub what: &'static str,
    /// Why.
    pub error: Error,
}

impl KnownPlaces {
    const DEFAULT_SUBNETS: &str = "the default subnets";
    const OFFERINGS: &str = "the zones in which the instance types are offered";

    /// Takes over from `earlier` what could not be read this time because AWS did not answer. What these
    /// credentials may no longer read is unknown. The free addresses are of now or unknown: an old number
    /// could hold up launches for good.
    #[must_use]
    pub fn or_earlier(mut self, earlier: &Self, not_read: &[NotRead]) -> Self {
        let keeps = |what: &str| {
            let unanswered = [RefusalClass::Transient, RefusalClass::Throttled];
            let mut failed = not_read.iter().filter(|failed| failed.what == what);
            failed.any(|failed| unanswered.contains(&failed.error.class()))
        };
        if keeps(Self::DEFAULT_SUBNETS) {
            let aged = |(id, facts): (&SubnetId, &SubnetFacts)| {
                (id.clone(), SubnetFacts { free_addresses: None, ..facts.clone() })
            };
            self.default_subnets = earlier.default_subnets.iter().map(aged).collect();
        }
        if keeps(Self::OFFERINGS) {
            self.offerings = earlier.offerings.clone();
        }
        self
    }
}

impl Client {
    /// Looks up the places of these worker types together: one call for all default subnets, and one for the
    /// offerings of up to 200 instance types. Returns what could not be read, too.
    pub async fn known_places(&self, worker_types: &[&WorkerType]) -> (KnownPlaces, Vec<NotRead>) {
        let mut places = KnownPlaces::default();
        let mut not_read = Vec::new();
        let mut fail = |what, error| not_read.push(NotRead { what, error });
        match self.default_subnets(worker_types).await {
            Ok(subnets) => places.default_subnets = subnets,
            Err(error) => fail(KnownPlaces::DEFAULT_SUBNETS, error),
        }
        let types: BTreeSet<_> = worker_types.iter().flat_map(|it| &it.instance_types).collect();
        let types: Vec<_> = types.into_iter().cloned().collect();
        if !types.is_empty() {
            match self.offerings(&types).await {
                Ok(offerings) => places.offerings = offerings,
                Err(error) => fail(KnownPlaces::OFFERINGS, error),
            }
        }
        (places, not_read)
    }

    /// Returns the devices of each image whose volumes would outlive their instance. An image that does not
    /// exist is missing.
    pub async fn lasting_devices(
        &self,
        images: &[String],
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let images = self.images(images).await?;
        Ok(images.into_iter().map(|(id, image)| (id, image.lasting_devices)).collect())
    }

    /// Looks up the default subnets of the default VPC, unless every one of these worker types names its own.
    pub(super) async fn default_subnets(
        &self,
        worker_types: &[&WorkerType],
    ) -> Result<BTreeMap<SubnetId, SubnetFacts>, Error> {
        let mut found = BTreeMap::new();
        if worker_types.iter().all(|worker_type| !worker_type.subnets.is_empty()) {
            return Ok(found);
        }
        let mut pages = Pages::of("DescribeSubnets", "the default subnets");
        while pages.remain() {
            let page = self
                .ec2
                .describe_subnets()
                .filters(exact("default-for-az", ["true"]))
                .max_results(PAGE_ITEMS)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            let default = page.subnets().iter().filter(|it| it.default_for_az() != Some(false));
            found.extend(default.filter_map(subnet));
            pages.advance(page.next_token())?;
        }
        Ok(found)
    }

    /// Resolves the names in a worker type. Makes no calls if there are no names.
    pub async fn resolve(
        &self,
        worker_type: &WorkerType,
        known: &KnownPlaces,
    ) -> Result<ResolvedWorkerType, Error> {
        let subnets = self.subnets(&worker_type.subnets).await?;
        let mut placements = placements(worker_type, &subnets, &known.default_subnets)?;
        for placement in &mut placements {
            let Some(zone) = &placement.zone else { continue };
            // A type of which nothing is known may be offered.
            let is_missing = |instance_type: &&InstanceType| {
                known.offerings.get(*instance_type).is_some_and(|zones| !zones.contains(zone))
            };
            let missing = worker_type.instance_types.iter().filter(is_missing);
            placement.not_offered = missing.cloned().collect();
        }
        let security_group_ids =
            self.security_group_ids(&worker_type.security_groups, &subnets).await?;
        Ok(ResolvedWorkerType {
            image_id: self.image_id(&worker_type.image_id).await?,
            security_group_ids,
            // The daemon renders it, since the template contains the region and the queue.
            user_data: None,
            placements,
            lasting_devices: Vec::new(),
        })
    }

    pub(super) async fn image_id(&self, configured: &str) -> Result<String, Error> {
        const OPERATION: &str = "GetParameter";
        let Some(name) = configured.strip_prefix(SSM) else { return Ok(configured.to_owned()) };
        let resource = || format!("image parameter `{name}`");
        let answer = self
            .ssm
            .get_parameter()
            .name(name)
            .send()
            .await
            .map_err(|error| Error::new(OPERATION, resource(), error))?;
        let value =
            answer.parameter().and_then(|parameter| parameter.value()).unwrap_or_default().trim();
        if value.strip_prefix("ami-").is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        }) {
            return Ok(value.to_owned());
        }
        // Some public parameters hold JSON that contains the image id.
        let shown: String = value.chars().take(40).collect();
        Err(Error::unresolved(OPERATION, resource(), format!("{shown:?} is not an image id")))
    }

    /// Returns the subnets by id. A subnet that does not exist is an error.
    async fn subnets(&self, ids: &[SubnetId]) -> Result<BTreeMap<SubnetId, SubnetFacts>, Error> {
        let found = self.known_subnets(ids).await?;
        let missing: Vec<_> =
            ids.iter().filter(|id| !found.contains_key(*id)).map(SubnetId::as_str).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let why = format!("no such subnet in {}", self.region());
        Err(Error::unresolved("DescribeSubnets", missing.join(", "), why))
    }

    /// Returns those of the subnets that exist, by id.
    pub(super) async fn known_subnets(
        &self,
        ids: &[SubnetId],
    ) -> Result<BTreeMap<SubnetId, SubnetFacts>, Error> {
        let mut found = BTreeMap::new();
        for chunk in ids.chunks(FILTER_VALUES) {
            let ids: Vec<_> = chunk.iter().map(SubnetId::as_str).collect();
            let resource = format!("subnets {}", ids.join(", "));
            let mut pages = Pages::of("DescribeSubnets", resource);
            while pages.remain() {
                let page = self
                    .ec2
                    .describe_subnets()
                    .filters(exact("subnet-id", chunk.iter().map(SubnetId::as_str)))
                    .max_results(PAGE_ITEMS)
                    .set_next_token(pages.token())
                    .send()
                    .await
                    .map_err(|error| pages.error(error))?;
                found.extend(page.subnets().iter().filter_map(subnet));
                pages.advance(page.next_token())?;
            }
        }
        Ok(found)
    }

    /// Returns the ids of the groups in the given order, each once.
    pub(super) async fn security_group_ids(
        &self,
        groups: &[String],
        subnets: &BTreeMap<SubnetId, SubnetFacts>,
    ) -> Result<Vec<String>, Error> {
        let names: BTreeSet<&str> = groups
            .iter()
            .map(String::as_str)
            .filter(|group| !group.starts_with(GROUP_ID))
            .collect();
        let by_name = if names.is_empty() {
            BTreeMap::new()
        } else {
            let vpc = self.vpc(&names, subnets).await?;
            self.groups_by_name(&names, &vpc).await?
        };
        let mut ids: Vec<String> = Vec::with_capacity(groups.len());
        for group in groups {
            let id = by_name.get(group).unwrap_or(group);
            if !ids.contains(id) {
                ids.push(id.clone());
            }
        }
        Ok(ids)
    }

    /// Returns the VPC in which group names are looked up: that of the subnets, or without subnets the
    /// default VPC, where EC2 launches in that case.
    async fn vpc(
        &self,
        names: &BTreeSet<&str>,
        subnets: &BTreeMap<SubnetId, SubnetFacts>,
    ) -> Result<String, Error> {
        let vpcs: BTreeSet<&str> = subnets.values().map(|subnet| subnet.vpc.as_str()).collect();
        let mut vpcs = vpcs.into_iter();
        match (vpcs.next(), vpcs.next()) {
            (Some(vpc), None) => Ok(vpc.to_owned()),
            (Some(one), Some(other)) => Err(Error::unresolved(
                "DescribeSubnets",
                groups_called(names),
                format!(
                    "the subnets lie in several VPCs ({one}, {other}): give the groups' ids, and the \
                     subnets of each VPC a worker type of their own"
                ),
            )),
            (None, _) => self.default_vpc().await?.ok_or_else(|| {
                let why = format!(
                    "{} has no default VPC to look the names up in: give `subnets`, or the groups' ids",
                    self.region()
                );
                Error::unresolved("DescribeVpcs", groups_called(names), why)
            }),
        }
    }

    /// Returns the default VPC of the region, if it has one.
    pub(super) async fn default_vpc(&self) -> Result<Option<String>, Error> {
        let answer = self
            .ec2
            .describe_vpcs()
            .filters(exact("is-default", ["true"]))
            .send()
            .await
            .map_err(|error| Error::new("DescribeVpcs", "the default VPC", error))?;
        let default = answer.vpcs().iter().find(|vpc| vpc.is_default() != Some(false));
        Ok(default.and_then(|vpc| vpc.vpc_id.clone()))
    }

    /// Returns a security group by id, if it exists.
    pub(super) async fn group(&self, id: &str) -> Result<Option<SecurityGroupFacts>, Error> {
        let answer = self
            .ec2
            .describe_security_groups()
            .filters(exact("group-id", [id]))
            .send()
            .await
            .map_err(|error| Error::new("DescribeSecurityGroups", id, error))?;
        let found = answer.security_groups().iter().find(|group| group.group_id() == Some(id));
        Ok(found.map(|group| SecurityGroupFacts { id: id.to_owned(), vpc: group.vpc_id.clone() }))
    }

    /// Returns the ids of all named groups by name. A name with no group or with several is an error.
    async fn groups_by_name(
        &self,
        names: &BTreeSet<&str>,
        vpc: &str,
    ) -> Result<BTreeMap<String, String>, Error> {
        const OPERATION: &str = "DescribeSecurityGroups";
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut pages = Pages::of(OPERATION, groups_called(names));
        while pages.remain() {
            let page = self
                .ec2
                .describe_security_groups()
                .filters(exact("group-name", names.iter().copied()))
                .filters(exact("vpc-id", [vpc]))
                .max_results(PAGE_ITEMS)
                .set_next_token(pages.token())
                .send()
                .await
                .map_err(|error| pages.error(error))?;
            for group in page.security_groups() {
                let elsewhere = group.vpc_id().is_some_and(|id| id != vpc);
                if let (Some(name), Some(id), false) =
                    (group.group_name(), group.group_id(), elsewhere)
                    && names.contains(name)
                {
                    found.entry(name.to_owned()).or_default().insert(id.to_owned());
                }
            }
            pages.advance(page.next_token())?;
        }
        let mut by_name = BTreeMap::new();
        for name in names {
            let ids: Vec<String> = found.remove(*name).unwrap_or_default().into_iter().collect();
            let [id] = ids.as_slice() else {
                let why = if ids.is_empty() {
                    format!("no security group of that name in {vpc}")
                } else {
                    format!("{vpc} has several of that name ({}): give the id", ids.join(", "))
                };
                return Err(Error::unresolved(OPERATION, groups_called([name]), why));
            };
            by_name.insert((*name).to_owned(), id.clone());
        }
        Ok(by_name)
    }
}

fn subnet(found: &types::Subnet) -> Option<(SubnetId, SubnetFacts)> {
    let zone = Zone::from(found.availability_zone()?);
    let vpc = found.vpc_id().unwrap_or_default().to_owned();
    let free_addresses = found.available_ip_address_count().and_then(|n| u32::try_from(n).ok());
    Some((SubnetId::from(found.subnet_id()?), SubnetFacts { zone, vpc, free_addresses }))
}

pub(super) fn placements(
    worker_type: &WorkerType,
    subnets: &BTreeMap<SubnetId, SubnetFacts>,
    default_subnets: &BTreeMap<SubnetId, SubnetFacts>,
) -> Result<Vec<ResolvedPlacement>, Error> {
    let zones = &worker_type.availability_zones;
    if worker_type.subnets.is_empty() {
        return Ok(default_placements(zones, default_subnets));
    }
    let mut placements = Vec::new();
    for id in &worker_type.subnets {
        let Some(facts) = subnets.get(id) else { continue };
        if zones.is_empty() || zones.contains(&facts.zone) {
            placements.push(in_subnet(id, facts));
        }
    }
    if placements.is_empty() {
        let there: BTreeSet<&str> = subnets.values().map(|subnet| subnet.zone.as_str()).collect();
        let there: Vec<&str> = there.into_iter().collect();
        let wanted: Vec<&str> = zones.iter().map(Zone::as_str).collect();
        return Err(Error::unresolved(
            "DescribeSubnets",
            format!("zones {}", wanted.join(", ")),
            format!("the subnets are in {} only", there.join(", ")),
        ));
    }
    Ok(placements)
}

fn in_subnet(id: &SubnetId, facts: &SubnetFacts) -> ResolvedPlacement {
    ResolvedPlacement {
        free_addresses: facts.free_addresses.map(u64::from),
        ..ResolvedPlacement::new(Some(facts.zone.clone()), Some(id.clone()))
    }
}

/// The places of a worker type without `subnets`: the default subnets, where EC2 would launch, but one for each
/// zone instead of one of EC2's choice for every request.
fn default_placements(
    zones: &[Zone],
    default_subnets: &BTreeMap<SubnetId, SubnetFacts>,
) -> Vec<ResolvedPlacement> {
    let by_zone: BTreeMap<&Zone, ResolvedPlacement> =
        default_subnets.iter().map(|(id, facts)| (&facts.zone, in_subnet(id, facts))).collect();
    if zones.is_empty() {
        return if by_zone.is_empty() {
            vec![ResolvedPlacement::default()]
        } else {
            by_zone.into_values().collect()
        };
    }
    let in_zone = |zone: &Zone| {
        let of_zone = by_zone.get(zone).cloned();
        of_zone.unwrap_or_else(|| ResolvedPlacement::new(Some(zone.clone()), None))
    };
    zones.iter().map(in_zone).collect()
}

fn groups_called<'a>(names: impl IntoIterator<Item = &'a &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    format!("security group {}", names.join(", "))
}
