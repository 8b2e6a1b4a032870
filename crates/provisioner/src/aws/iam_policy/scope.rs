//! What the configuration names, as ARNs and as values of conditions.

use std::collections::BTreeSet;

use super::{For, NoKeyName, Request};
use crate::domain::ids::SubnetId;
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_NAME, TAG_WORKER_TYPE, profile_name};
use crate::settings::{Settings, Strays, WorkerType};

/// A version 4 UUID in text, each random digit any character.
const ANY_UUID: &str = "????????-????-4???-????-????????????";
/// What an image id begins with when it names a parameter of SSM.
const SSM: &str = "ssm:";

/// What a policy is about.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) program: For,
    pub(super) partition: &'static str,
    pub(super) names: Names,
    /// Where each key-name lives.
    pub(super) places: Vec<Place>,
    pub(super) launch: LaunchScope,
    /// [`For::Setup`]: a worker profile is made too.
    pub(super) worker_profile: bool,
    /// [`For::Setup`]: the key-name that the configuration holds.
    pub(super) earlier: Option<String>,
    pub(super) ends_strays: bool,
}

/// The key-names.
#[derive(Debug)]
pub(super) enum Names {
    /// These.
    Known(Vec<String>),
    /// Not made yet: a pattern that they fit.
    Pattern(String),
}

/// A key-name, and where it lives. What is not known is `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) region: String,
    pub(super) account: String,
    /// As it stands in an ARN.
    pub(super) key_name: String,
}

/// What is launched, from the worker types.
#[derive(Debug, Default)]
pub(super) struct LaunchScope {
    pub(super) images: Ids,
    pub(super) subnets: Ids,
    pub(super) security_groups: Ids,
    pub(super) snapshots: Ids,
    pub(super) interfaces: bool,
    /// Parameters that name images.
    pub(super) parameters: BTreeSet<String>,
    /// Instance profiles, by name or ARN.
    pub(super) profiles: BTreeSet<String>,
    /// The roles behind them, likewise.
    pub(super) roles: BTreeSet<String>,
    /// Profiles whose role is not known, but taken to have the same name.
    pub(super) guessed: BTreeSet<String>,
    pub(super) tag_keys: BTreeSet<String>,
    /// The lists were too long.
    pub(super) shortened: bool,
}

/// Ids one by one, or all there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ids {
    Listed(BTreeSet<String>),
    All,
}

impl Default for Ids {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

impl Ids {
    fn add<'a>(&mut self, ids: impl IntoIterator<Item = &'a str>) {
        if let Self::Listed(listed) = self {
            listed.extend(ids.into_iter().map(literal));
        }
    }

    fn is_list(&self) -> bool {
        matches!(self, Self::Listed(ids) if !ids.is_empty())
    }

    pub(super) fn patterns(&self) -> Vec<&str> {
        match self {
            Self::Listed(ids) => ids.iter().map(String::as_str).collect(),
            Self::All => vec!["*"],
        }
    }
}

/// Text as it matches only itself in an ARN or a condition (IAM User Guide, "IAM policy elements:
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

/// The partition that a region lies in (AWS General Reference, "Amazon Resource Names").
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

impl Scope {
    pub(super) fn new(request: &Request<'_>) -> Result<Self, NoKeyName> {
        let Request { program, settings, region, prefix, worker_profile, key_names, worker_roles } =
            *request;
        let account = settings.aws.account_id.as_deref();
        let place =
            |key_name: String| Place { region: or_any(region), account: or_any(account), key_name };
        let own = &settings.provisioner.key_name;
        let mut places: BTreeSet<Place> = BTreeSet::new();
        let names = if program == For::Setup {
            let pattern = format!("{}{ANY_UUID}", literal(prefix));
            places.insert(place(pattern.clone()));
            Names::Pattern(pattern)
        } else {
            places.extend(own.iter().map(|name| place(literal(name.as_str()))));
            if program == For::Cleanup {
                places.extend(key_names.iter().map(|name| place(literal(name.as_str()))));
                places.extend(settings.provisioner.retired.iter().map(|retired| Place {
                    region: literal(&retired.region),
                    account: or_any(retired.account_id.as_deref().or(account)),
                    key_name: literal(retired.key_name.as_str()),
                }));
            }
            let names: BTreeSet<String> = places.iter().map(|it| it.key_name.clone()).collect();
            Names::Known(names.into_iter().collect())
        };
        if places.is_empty() {
            return Err(NoKeyName);
        }
        let own = own.as_ref().map(crate::domain::ids::KeyName::as_str);
        Ok(Self {
            program,
            partition: region.map_or("aws", partition),
            names,
            places: places.into_iter().collect(),
            launch: LaunchScope::new(settings, own, worker_roles),
            worker_profile,
            earlier: own.filter(|_| program == For::Setup).map(literal),
            ends_strays: settings.provisioner.strays == Strays::Terminate,
        })
    }

    /// The regions, or nothing if not all are known.
    pub(super) fn regions(&self) -> Vec<String> {
        let regions: BTreeSet<&str> = self.places.iter().map(|it| it.region.as_str()).collect();
        let known = !regions.contains("*");
        regions.into_iter().filter(|_| known).map(str::to_owned).collect()
    }

    /// The ARNs of EC2's resources of a kind, in every place.
    pub(super) fn ec2(&self, kind: &str, ids: &[&str]) -> Vec<String> {
        // Images and snapshots are shared among accounts: their ARNs name none.
        let of_nobody = ["image", "snapshot"].contains(&kind);
        let arns = self.places.iter().flat_map(|place| {
            let account = if of_nobody { "" } else { &place.account };
            ids.iter()
                .map(move |id| self.arn("ec2", &place.region, account, &format!("{kind}/{id}")))
        });
        unique(arns)
    }

    /// The ARNs of the key pairs, each in its place.
    pub(super) fn key_pairs(&self) -> Vec<String> {
        unique(self.places.iter().map(|place| {
            let Place { region, account, key_name } = place;
            self.arn("ec2", region, account, &format!("key-pair/{key_name}"))
        }))
    }

    /// The ARNs of IAM's resources of a kind that are named after the key-names; for `setup-aws` after the
    /// one before, and the one to come if it gets a worker profile.
    pub(super) fn own_iam(&self, kind: &str) -> Vec<String> {
        if self.program != For::Setup {
            return self.named_iam(kind);
        }
        let earlier = self.earlier.iter().flat_map(|name| {
            let accounts = self.places.iter().map(|place| &place.account);
            accounts.map(move |account| self.arn("iam", "", account, &format!("{kind}/{name}")))
        });
        unique(earlier.chain(self.new_iam(kind)))
    }

    /// The same, of what is to be made.
    pub(super) fn new_iam(&self, kind: &str) -> Vec<String> {
        if self.worker_profile { self.named_iam(kind) } else { Vec::new() }
    }

    fn named_iam(&self, kind: &str) -> Vec<String> {
        unique(self.places.iter().map(|place| {
            self.arn("iam", "", &place.account, &format!("{kind}/{}", place.key_name))
        }))
    }

    /// The ARNs of IAM's resources of a kind, by name or ARN.
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

    /// The ARNs of the parameters that name images.
    pub(super) fn parameters(&self) -> Vec<String> {
        unique(self.launch.parameters.iter().flat_map(|parameter| {
            if parameter.starts_with("arn:") {
                return vec![literal(parameter)];
            }
            let resource = format!("parameter/{}", literal(parameter.trim_start_matches('/')));
            // AWS's own belong to no account.
            let public = parameter.starts_with("/aws/");
            let arn = |place: &Place| {
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
            // To be added yet, and then what they name is to be launched.
            scope.allow_all();
        }
        for profile in &scope.profiles {
            // The one that `setup-aws` made has a role of the same name.
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
                // A version or a label of it is no part of its ARN.
                let name = if parameter.starts_with("arn:") {
                    parameter
                } else {
                    parameter.split(':').next().unwrap_or_default()
                };
                self.parameters.insert(name.to_owned());
                self.images = Ids::All;
            }
            None => self.images.add([image_id.as_str()]),
        }

        let interfaces = &launch_specification.network_interfaces;
        self.interfaces |= !interfaces.is_empty();
        self.subnets.add(subnets.iter().map(SubnetId::as_str));
        self.subnets.add(interfaces.iter().filter_map(|it| it.subnet_id.as_deref()));
        let has_subnet = interfaces.iter().all(|it| it.subnet_id.is_some());
        if subnets.is_empty() && (interfaces.is_empty() || !has_subnet) {
            // A default subnet.
            self.subnets = Ids::All;
        }
        let groups = security_groups.iter().map(String::as_str);
        let further = interfaces.iter().flat_map(|it| it.groups.iter().map(String::as_str));
        let groups: Vec<&str> = groups.chain(further).collect();
        // Names are resolved to ids by each round; none is the VPC's default group.
        if groups.is_empty() || groups.iter().any(|group| !group.starts_with("sg-")) {
            self.security_groups = Ids::All;
        }
        self.security_groups.add(groups);
        let volumes = launch_specification.block_device_mappings.iter();
        let volumes = volumes.filter_map(|mapping| mapping.ebs.as_ref());
        self.snapshots.add(volumes.filter_map(|volume| volume.snapshot_id.as_deref()));

        self.profiles.extend(iam_instance_profile.clone());
        self.tag_keys.extend(tags.keys().map(|key| literal(key)));
    }

    /// Whether anything is listed one by one that could be allowed as a whole.
    pub(super) fn lists_ids(&self) -> bool {
        [&self.images, &self.subnets, &self.security_groups, &self.snapshots]
            .into_iter()
            .any(Ids::is_list)
    }

    /// Allows all images, subnets and security groups, and all snapshots if any.
    pub(super) fn allow_all(&mut self) {
        self.shortened = self.lists_ids();
        if self.snapshots.is_list() {
            self.snapshots = Ids::All;
        }
        for ids in [&mut self.images, &mut self.subnets, &mut self.security_groups] {
            *ids = Ids::All;
        }
    }
}

/// The role of the same name as an instance profile. `setup-aws` and AWS's console make it so.
fn role_like(profile: &str) -> String {
    let name = profile_name(profile);
    match profile.split_once(":instance-profile/") {
        Some((arn, _)) => format!("{arn}:role/{name}"),
        None => name.to_owned(),
    }
}
