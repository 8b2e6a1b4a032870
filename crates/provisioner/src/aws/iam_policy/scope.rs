//! The resources that the configuration names, as ARNs and as values of conditions.

use std::collections::BTreeSet;

use super::{NoKeyName, PolicyProgram, PolicyRequest};
use crate::domain::ids::{KeyName, SubnetId};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE, profile_name};
use crate::settings::{Settings, Strays, WorkerType};

/// The pattern of a version 4 UUID.
const ANY_UUID: &str = "????????-????-4???-????-????????????";
/// The prefix of an image id that names a parameter of SSM.
const SSM: &str = "ssm:";

/// Everything that a policy has to know of the configuration.
#[derive(Debug)]
pub(super) struct PolicyScope {
    pub(super) program: PolicyProgram,
    pub(super) partition: &'static str,
    pub(super) names: KeyNames,
    /// The region and account of each key-name.
    pub(super) places: Vec<KeyNamePlace>,
    pub(super) launch: LaunchScope,
    /// For [`PolicyProgram::Setup`]: whether a worker profile is made, too.
    pub(super) worker_profile: bool,
    /// For [`PolicyProgram::Setup`]: the key-name that the configuration contains.
    pub(super) earlier: Option<String>,
    pub(super) ends_strays: bool,
}

/// The key-names of a policy.
#[derive(Debug)]
pub(super) enum KeyNames {
    /// These names.
    Known(Vec<String>),
    /// The pattern of names that do not exist yet.
    Pattern(String),
}

/// A key-name with its region and account. `*` stands for an unknown one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyNamePlace {
    pub(super) region: String,
    pub(super) account: String,
    /// The key-name, escaped for ARNs.
    pub(super) key_name: String,
}

/// Everything that launches of the worker types use.
#[derive(Debug, Default)]
pub(super) struct LaunchScope {
    pub(super) images: ResourceIds,
    pub(super) subnets: ResourceIds,
    pub(super) security_groups: ResourceIds,
    pub(super) snapshots: ResourceIds,
    pub(super) interfaces: bool,
    /// The parameters that name images.
    pub(super) parameters: BTreeSet<String>,
    /// The instance profiles, by name or ARN.
    pub(super) profiles: BTreeSet<String>,
    /// The roles behind the profiles, by name or ARN.
    pub(super) roles: BTreeSet<String>,
    /// The profiles whose role is unknown, and assumed to have the same name.
    pub(super) guessed: BTreeSet<String>,
    pub(super) tag_keys: BTreeSet<String>,
    /// Whether the lists were too long, and are replaced by wildcards.
    pub(super) shortened: bool,
}

/// Resources by their ids, or all resources.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ResourceIds {
    ListedItem(BTreeSet<String>),
    All,
}

impl Default for ResourceIds {
    fn default() -> Self {
        Self::ListedItem(BTreeSet::new())
    }
}

impl ResourceIds {
    fn add<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        if let Self::ListedItem(listed) = self {
            listed.extend(ids.into_iter().map(literal));
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::ListedItem(ids) if !ids.is_empty())
    }

    pub(super) fn patterns(&self) -> Vec<&str> {
        match self {
            Self::ListedItem(ids) => ids.iter().map(String::as_str).collect(),
            Self::All => vec!["*"],
        }
    }
}

/// Escapes a text so that it matches only itself in an ARN or a condition (IAM User Guide, "IAM policy elements:
/// Variables and tags", special characters).
fn literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '$' => escaped.extend(["${", c.encode_utf8(&mut [0; 4]), "}"]),
            other => escaped.push(other),
        }
    }
    escaped
}

fn or_any(text: Option<&str>) -> String {
    text.map_or_else(|| "*".to_owned(), literal)
}

/// Returns the partition of a region (AWS General Reference, "Amazon Resource Names").
fn partition(region: &str) -> &'static str {
    let prefixes = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ];
    let found = prefixes.into_iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("aws", |(_, partition)| partition)
}

impl PolicyScope {
    pub(super) fn new(request: &PolicyRequest<'_>) -> Result<Self, NoKeyName> {
        let PolicyRequest {
            program,
            settings,
            region,
            prefix,
            worker_profile,
            key_names,
            worker_roles,
        } = *request;
        let account = settings.aws.account_id.as_deref();
        let place = |key_name: String| KeyNamePlace {
            region: or_any(region),
            account: or_any(account),
            key_name,
        };
        let own = &settings.provisioner.key_name;
        let mut places: BTreeSet<KeyNamePlace> = BTreeSet::new();
        let names = if program == PolicyProgram::Setup {
            let pattern = format!("{}{ANY_UUID}", literal(prefix));
            places.insert(place(pattern.clone()));
            KeyNames::Pattern(pattern)
        } else {
            places.extend(own.iter().map(|name| place(literal(name.as_str()))));
            if program == PolicyProgram::Cleanup {
                places.extend(key_names.iter().map(|name| place(literal(name.as_str()))));
                places.extend(settings.provisioner.retired.iter().map(|retired| KeyNamePlace {
                    region: literal(&retired.region),
                    account: or_any(retired.account_id.as_deref().or(account)),
                    key_name: literal(retired.key_name.as_str()),
                }));
            }
            let names: BTreeSet<String> =
                places.iter().map(|place| place.key_name.clone()).collect();
            KeyNames::Known(names.into_iter().collect())
        };
        if places.is_empty() {
            return Err(NoKeyName);
        }
        let own = own.as_ref().map(KeyName::as_str);
        Ok(Self {
            program,
            partition: region.map_or("aws", partition),
            names,
            places: places.into_iter().collect(),
            launch: LaunchScope::new(settings, own, worker_roles),
            worker_profile,
            earlier: own.filter(|_| program == PolicyProgram::Setup).map(literal),
            ends_strays: settings.provisioner.strays == Strays::Terminate,
        })
    }

    /// Returns the regions, or nothing if one of them is unknown.
    pub(super) fn regions(&self) -> Vec<String> {
        let regions: BTreeSet<&str> =
            self.places.iter().map(|place| place.region.as_str()).collect();
        let known = !regions.contains("*");
        regions.into_iter().filter(|_| known).map(str::to_owned).collect()
    }

    /// Returns the ARNs of EC2's resources of a kind, for every place.
    pub(super) fn ec2(&self, kind: &str, ids: &[&str]) -> Vec<String> {
        // Images and snapshots are shared among accounts, so their ARNs contain no account.
        let is_shared = ["image", "snapshot"].contains(&kind);
        // Subnets and groups may be shared by another account (AWS RAM): their ARNs then name its number.
        let may_be_anothers = ["subnet", "security-group"].contains(&kind);
        let arns = self.places.iter().flat_map(|place| {
            let account = match (is_shared, may_be_anothers) {
                (true, _) => "",
                (false, true) => "*",
                (false, false) => &place.account,
            };
            ids.iter()
                .map(move |id| self.arn("ec2", &place.region, account, &format!("{kind}/{id}")))
        });
        unique(arns)
    }

    /// Returns the ARNs of the key pairs, each in its place.
    pub(super) fn key_pairs(&self) -> Vec<String> {
        unique(self.places.iter().map(|place| {
            let KeyNamePlace { region, account, key_name } = place;
            self.arn("ec2", region, account, &format!("key-pair/{key_name}"))
        }))
    }

    /// Returns the ARNs of IAM's resources of a kind that are named after the key-names. For `setup-aws`
    /// these are the earlier key-name, and the new one if it gets a worker profile.
    pub(super) fn own_iam(&self, kind: &str) -> Vec<String> {
        if self.program != PolicyProgram::Setup {
            return self.named_iam(kind);
        }
        let earlier = self.earlier.iter().flat_map(|name| {
            let accounts = self.places.iter().map(|place| &place.account);
            accounts.map(move |account| self.arn("iam", "", account, &format!("{kind}/{name}")))
        });
        unique(earlier.chain(self.new_iam(kind)))
    }

    /// Returns the ARNs of IAM's resources of a kind that `setup-aws` will make.
    pub(super) fn new_iam(&self, kind: &str) -> Vec<String> {
        if self.worker_profile { self.named_iam(kind) } else { Vec::new() }
    }

    fn named_iam(&self, kind: &str) -> Vec<String> {
        unique(self.places.iter().map(|place| {
            self.arn("iam", "", &place.account, &format!("{kind}/{}", place.key_name))
        }))
    }

    /// Returns the ARNs of IAM's resources of a kind, which are given by name or ARN.
    pub(super) fn iam<'a>(
        &self,
        kind: &str,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Vec<String> {
        unique(names.into_iter().flat_map(|name| {
            if name.starts_with("arn:") {
                return vec![literal(name)];
            }
            let resource = format!("{kind}/{}", literal(name));
            let accounts = self.places.iter().map(|place| &place.account);
            accounts.map(|account| self.arn("iam", "", account, &resource)).collect()
        }))
    }

    /// Returns the ARNs of the parameters that name images.
    pub(super) fn parameters(&self) -> Vec<String> {
        unique(self.launch.parameters.iter().flat_map(|parameter| {
            if parameter.starts_with("arn:") {
                return vec![literal(parameter)];
            }
            let resource = format!("parameter/{}", literal(parameter.trim_start_matches('/')));
            // AWS's own parameters belong to no account.
            let public = parameter.starts_with("/aws/");
            let arn = |place: &KeyNamePlace| {
                let account = if public { "*" } else { &place.account };
                self.arn("ssm", &place.region, account, &resource)
            };
            self.places.iter().map(arn).collect()
        }))
    }

    fn arn(&self, service: &str, region: &str, account: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{region}:{account}:{resource}", self.partition)
    }
}

fn unique(arns: impl IntoIterator<Item = String>) -> Vec<String> {
    arns.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

impl LaunchScope {
    fn new(settings: &Settings, key_name: Option<&str>, worker_roles: &[String]) -> Self {
        let mut scope = Self::default();
        let our_keys = [TAG_KEY_NAME, TAG_WORKER_TYPE, TAG_INTENT, TAG_NAME];
        scope.tag_keys.extend(our_keys.map(str::to_owned));
        for worker_type in settings.worker_types.values() {
            scope.add(worker_type);
        }
        if settings.worker_types.is_empty() {
            // Worker types will be added later, and launches may then use anything.
            scope.allow_all();
        }
        for profile in &scope.profiles {
            // The profile that `setup-aws` made has a role of the same name.
            let ours = key_name == Some(profile_name(profile));
            if ours || worker_roles.is_empty() {
                scope.roles.insert(role_like(profile));
            } else {
                scope.roles.extend(worker_roles.iter().cloned());
            }
            if !ours && worker_roles.is_empty() {
                scope.guessed.insert(profile.clone());
            }
        }
        scope
    }

    fn add(&mut self, worker_type: &WorkerType) {
        let WorkerType {
            image_id,
            subnets,
            security_groups,
            iam_instance_profile,
            tags,
            launch_specification,
            aliases: _,
            instance_types: _,
            availability_zones: _,
            user_data: _,
            max_price: _,
            policy: _,
            request_timeout: _,
            min_instances: _,
            max_instances: _,
            tasks_per_instance: _,
            idle_timeout: _,
            boot_timeout: _,
            max_lifetime: _,
        } = worker_type;
        match image_id.strip_prefix(SSM) {
            Some(parameter) => {
                // The version or label of a parameter is not part of its ARN.
                let name = if parameter.starts_with("arn:") {
                    parameter
                } else {
                    parameter.split(':').next().unwrap_or_default()
                };
                self.parameters.insert(name.to_owned());
                self.images = ResourceIds::All;
            }
            None => self.images.add([image_id.as_str()]),
        }

        let interfaces = &launch_specification.network_interfaces;
        self.interfaces |= !interfaces.is_empty();
        self.subnets.add(subnets.iter().map(SubnetId::as_str));
        self.subnets.add(interfaces.iter().filter_map(|interface| interface.subnet_id.as_deref()));
        let has_subnet = interfaces.iter().all(|interface| interface.subnet_id.is_some());
        if subnets.is_empty() && (interfaces.is_empty() || !has_subnet) {
            // EC2 chooses a default subnet.
            self.subnets = ResourceIds::All;
        }
        let groups = security_groups.iter().map(String::as_str);
        let further =
            interfaces.iter().flat_map(|interface| interface.groups.iter().map(String::as_str));
        let groups: Vec<&str> = groups.chain(further).collect();
        // Each round resolves names to ids; without groups EC2 takes the VPC's default group.
        if groups.is_empty() || groups.iter().any(|group| !group.starts_with("sg-")) {
            self.security_groups = ResourceIds::All;
        }
        self.security_groups.add(groups);
        let volumes = launch_specification.block_device_mappings.iter();
        let volumes = volumes.filter_map(|mapping| mapping.ebs.as_ref());
        self.snapshots.add(volumes.filter_map(|volume| volume.snapshot_id.as_deref()));

        self.profiles.extend(iam_instance_profile.clone());
        self.tag_keys.extend(tags.keys().map(|key| literal(key)));
    }

    /// Returns whether resources are listed by id, and could be replaced by wildcards.
    pub(super) fn lists_ids(&self) -> bool {
        [&self.images, &self.subnets, &self.security_groups, &self.snapshots]
            .into_iter()
            .any(ResourceIds::is_list)
    }

    /// Allows all images, subnets and security groups, and all snapshots if launches use some.
    pub(super) fn allow_all(&mut self) {
        self.shortened = self.lists_ids();
        if self.snapshots.is_list() {
            self.snapshots = ResourceIds::All;
        }
        for ids in [&mut self.images, &mut self.subnets, &mut self.security_groups] {
            *ids = ResourceIds::All;
        }
    }
}

/// Returns the role with the name of an instance profile, as `setup-aws` and AWS's console name it.
fn role_like(profile: &str) -> String {
    let name = profile_name(profile);
    match profile.split_once(":instance-profile/") {
        Some((arn, _)) => format!("{arn}:role/{name}"),
        None => name.to_owned(),
    }
}
