//! IAM, as far as the provisioner's programs use it: the role of spot requests, and roles and instance profiles
//! for workers. Its answers have another form than EC2's (AWS IAM API Reference, "Common errors", `GetRole`).

use std::collections::BTreeMap;

use provisioner::internal::domain::refusal::Refusal;

use super::accounts::ACCOUNT;
use super::form::Form;
use super::xml::{Node, text, time, tree};
use crate::world::{World, refusal};

/// The version of IAM's API.
pub(super) const VERSION: &str = "2010-05-08";

/// Its XML namespace.
pub(super) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// The service-linked role of spot requests (EC2 User Guide, "Service-linked role for Spot Instance requests").
const SPOT_ROLE: &str = "AWSServiceRoleForEC2Spot";

/// The tags of a role or an instance profile.
type Tags = BTreeMap<String, String>;

/// What there is in IAM.
#[derive(Clone, Debug)]
pub(crate) struct Iam {
    roles: BTreeMap<String, Role>,
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default)]
struct Role {
    trust: String,
    tags: Tags,
}

#[derive(Clone, Debug, Default)]
struct Profile {
    /// At most one, as in IAM.
    role: Option<String>,
    tags: Tags,
}

impl Default for Iam {
    /// The account has launched spot instances before.
    fn default() -> Self {
        let roles = BTreeMap::from([(SPOT_ROLE.to_owned(), Role::default())]);
        Self { roles, profiles: BTreeMap::new() }
    }
}

/// Carries out a call. Returns the elements of its result.
pub(super) fn carry_out(
    world: &mut World,
    action: &str,
    mut form: Form,
) -> Result<Vec<Node>, Refusal> {
    let now = world.now;
    let iam = &mut world.iam;
    let role = form.text("RoleName");
    let profile = form.text("InstanceProfileName");
    let tags = tags(&mut form)?;
    let role_name = || role.clone().ok_or_else(|| missing("RoleName"));
    let profile_name = || profile.clone().ok_or_else(|| missing("InstanceProfileName"));
    let shown_role = |iam: &Iam, name: &str| tree("Role", shown_role(iam, name, now));
    let inside = match action {
        "GetRole" => {
            let name = role_name()?;
            iam.role(&name)?;
            vec![shown_role(iam, &name)]
        }
        "CreateRole" => {
            let name = role_name()?;
            form.text("Description");
            let trust = form.required("AssumeRolePolicyDocument")?;
            if iam.roles.contains_key(&name) {
                return Err(exists("Role", &name));
            }
            iam.roles.insert(name.clone(), Role { trust, tags });
            vec![shown_role(iam, &name)]
        }
        "DeleteRole" => {
            let name = role_name()?;
            iam.role(&name)?;
            if iam.profiles.values().any(|profile| profile.role.as_deref() == Some(&*name)) {
                let message =
                    "Cannot delete entity, must remove roles from instance profile first.";
                return Err(refusal("DeleteConflict", message));
            }
            iam.roles.remove(&name);
            vec![]
        }
        "CreateServiceLinkedRole" => {
            form.text("AWSServiceName");
            let message = format!(
                "Service role name {SPOT_ROLE} has been taken in this account, please try a different suffix."
            );
            return Err(refusal("InvalidInput", message));
        }
        "ListAttachedRolePolicies" => {
            iam.role(&role_name()?)?;
            vec![tree("AttachedPolicies", []), text("IsTruncated", false)]
        }
        "ListRolePolicies" => {
            iam.role(&role_name()?)?;
            vec![tree("PolicyNames", []), text("IsTruncated", false)]
        }
        "GetInstanceProfile" => {
            let name = profile_name()?;
            iam.profile(&name)?;
            vec![tree("InstanceProfile", shown_profile(iam, &name, now))]
        }
        "CreateInstanceProfile" => {
            let name = profile_name()?;
            if iam.profiles.contains_key(&name) {
                return Err(exists("Instance Profile", &name));
            }
            iam.profiles.insert(name.clone(), Profile { role: None, tags });
            vec![tree("InstanceProfile", shown_profile(iam, &name, now))]
        }
        "DeleteInstanceProfile" => {
            let name = profile_name()?;
            if iam.profile(&name)?.role.is_some() {
                let message =
                    "Cannot delete entity, must remove roles from instance profile first.";
                return Err(refusal("DeleteConflict", message));
            }
            iam.profiles.remove(&name);
            vec![]
        }
        "AddRoleToInstanceProfile" => {
            let role = role_name()?;
            iam.role(&role)?;
            let profile = iam.profile_mut(&profile_name()?)?;
            if profile.role.is_some() {
                let message = "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1";
                return Err(refusal("LimitExceeded", message));
            }
            profile.role = Some(role);
            vec![]
        }
        "RemoveRoleFromInstanceProfile" => {
            let role = role_name()?;
            let profile = iam.profile_mut(&profile_name()?)?;
            if profile.role.as_ref() != Some(&role) {
                return Err(no_entity("Role", &role));
            }
            profile.role = None;
            vec![]
        }
        _ => {
            let message = format!("The simulated IAM has no {action}.");
            return Err(refusal("InvalidAction", message));
        }
    };
    form.finish()?;
    Ok(inside)
}

impl Iam {
    fn role(&self, name: &str) -> Result<&Role, Refusal> {
        let unknown = || {
            let message = format!("The role with name {name} cannot be found.");
            refusal("NoSuchEntity", message)
        };
        self.roles.get(name).ok_or_else(unknown)
    }

    fn profile(&self, name: &str) -> Result<&Profile, Refusal> {
        self.profiles.get(name).ok_or_else(|| no_entity("Instance Profile", name))
    }

    fn profile_mut(&mut self, name: &str) -> Result<&mut Profile, Refusal> {
        self.profiles.get_mut(name).ok_or_else(|| no_entity("Instance Profile", name))
    }
}

fn missing(name: &str) -> Refusal {
    refusal("ValidationError", format!("The request must contain the parameter {name}"))
}

fn no_entity(kind: &str, name: &str) -> Refusal {
    refusal("NoSuchEntity", format!("{kind} {name} cannot be found."))
}

fn exists(kind: &str, name: &str) -> Refusal {
    refusal("EntityAlreadyExists", format!("{kind} with name {name} already exists."))
}

/// Takes the tags that a call gives to what it makes.
fn tags(form: &mut Form) -> Result<Tags, Refusal> {
    let tags = form.structure("Tags").map(|mut tags| tags.structures("member"));
    let tag = |mut tag: Form| Ok((tag.required("Key")?, tag.text("Value").unwrap_or_default()));
    tags.unwrap_or_default().into_iter().map(tag).collect()
}

fn members(name: &'static str, items: impl IntoIterator<Item = Vec<Node>>) -> Node {
    tree(name, items.into_iter().map(|inside| tree("member", inside)))
}

fn shown_tags(tags: &Tags) -> Node {
    members("Tags", tags.iter().map(|(key, value)| vec![text("Key", key), text("Value", value)]))
}

fn shown_role(iam: &Iam, name: &str, now: jiff::Timestamp) -> Vec<Node> {
    let none = Role::default();
    let role = iam.roles.get(name).unwrap_or(&none);
    vec![
        text("Path", "/"),
        text("RoleName", name),
        text("RoleId", "AROASIMULATED"),
        text("Arn", format_args!("arn:aws:iam::{ACCOUNT}:role/{name}")),
        time("CreateDate", now),
        text("AssumeRolePolicyDocument", &role.trust),
        shown_tags(&role.tags),
    ]
}

fn shown_profile(iam: &Iam, name: &str, now: jiff::Timestamp) -> Vec<Node> {
    let none = Profile::default();
    let profile = iam.profiles.get(name).unwrap_or(&none);
    let roles = profile.role.iter().map(|role| shown_role(iam, role, now));
    vec![
        text("Path", "/"),
        text("InstanceProfileName", name),
        text("InstanceProfileId", "AIPASIMULATED"),
        text("Arn", format_args!("arn:aws:iam::{ACCOUNT}:instance-profile/{name}")),
        time("CreateDate", now),
        members("Roles", roles),
        shown_tags(&profile.tags),
    ]
}
