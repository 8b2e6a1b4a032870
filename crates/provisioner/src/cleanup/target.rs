//! The key-names to clean up, each with its region.

use serde::Serialize;

use super::CleanupError;
use crate::config::Loaded;
use crate::config::edit::Saved;
use crate::domain::ids::KeyName;
use crate::settings::Settings;

/// A key-name to clean up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CleanupTarget {
    /// The key-name.
    pub key_name: KeyName,
    /// Its region.
    pub region: String,
    /// Its account, if the configuration names one.
    #[serde(skip)]
    pub saved_account: Option<String>,
    /// Where it is named.
    pub named: NamedBy,
    /// Whether the configuration says that `setup-aws` made worker profiles for its key-names.
    #[serde(skip)]
    pub has_profile: bool,
}

/// Where a key-name is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// `provisioner.key-name` or `provisioner.retired`, wherever they are set.
    InConfiguration,
    /// `--key-name`, and not the configuration.
    OnCommandLine,
    /// Both.
    InBoth,
}

impl CleanupTarget {
    /// Returns whether `--key-name` spells it out.
    pub fn is_spelled_out(&self) -> bool {
        matches!(self.named, NamedBy::OnCommandLine | NamedBy::InBoth)
    }
}

/// Returns the key-names in force, from all layers of the configuration and not only from the edited file.
pub fn key_names_in_force(loaded: &Loaded) -> Saved {
    let Settings { provisioner, aws, .. } = &loaded.settings;
    let profile =
        loaded.entries.iter().find(|entry| entry.key == "worker-defaults.iam-instance-profile");
    Saved {
        key_name: provisioner.key_name.clone(),
        retired: provisioner.retired.clone(),
        region: aws.saved_region.clone(),
        account_id: aws.account_id.clone(),
        iam_instance_profile: profile.and_then(|entry| entry.value.as_str()).map(str::to_owned),
    }
}

/// Lists the key-names [in force](key_names_in_force) and those of `--key-name`, each in its own region.
///
/// # Errors
/// Fails if the configuration's key-name is in another region than `region`, the one in force.
pub fn targets(
    saved: &Saved,
    spelled_out: &[KeyName],
    region: &str,
) -> Result<Vec<CleanupTarget>, CleanupError> {
    let mut targets: Vec<CleanupTarget> = Vec::new();
    let profile = saved.iam_instance_profile.as_deref();
    let has_profile = profile.is_some_and(|profile| saved.made_profile(profile));
    if let Some(key_name) = &saved.key_name {
        if let Some(saved_region) = saved.region.as_deref().filter(|saved| *saved != region) {
            return Err(CleanupError::WrongRegion {
                key_name: key_name.to_string(),
                saved: saved_region.to_owned(),
                in_force: region.to_owned(),
            });
        }
        targets.push(CleanupTarget {
            key_name: key_name.clone(),
            region: region.to_owned(),
            saved_account: saved.account_id.clone(),
            named: NamedBy::InConfiguration,
            has_profile,
        });
    }
    for retired in &saved.retired {
        let same = |target: &CleanupTarget| {
            target.key_name == retired.key_name && target.region == retired.region
        };
        if !targets.iter().any(same) {
            targets.push(CleanupTarget {
                key_name: retired.key_name.clone(),
                region: retired.region.clone(),
                saved_account: retired.account_id.clone(),
                named: NamedBy::InConfiguration,
                has_profile,
            });
        }
    }
    for key_name in spelled_out {
        let same =
            |target: &&mut CleanupTarget| target.key_name == *key_name && target.region == region;
        match targets.iter_mut().find(same) {
            Some(target) if target.named == NamedBy::InConfiguration => {
                target.named = NamedBy::InBoth;
            }
            Some(_) => {}
            None => targets.push(CleanupTarget {
                key_name: key_name.clone(),
                region: region.to_owned(),
                saved_account: None,
                named: NamedBy::OnCommandLine,
                has_profile: false,
            }),
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RetiredKeyName;

    fn saved() -> Saved {
        Saved {
            key_name: Some(KeyName::from("now")),
            region: Some("us-west-2".to_owned()),
            account_id: Some("1".to_owned()),
            retired: vec![RetiredKeyName {
                key_name: KeyName::from("old"),
                region: "eu-west-1".to_owned(),
                account_id: Some("1".to_owned()),
            }],
            iam_instance_profile: None,
        }
    }

    #[test]
    fn each_key_name_is_covered_once_in_its_own_region() {
        let spelled_out = ["now", "mine", "mine"].map(KeyName::from);
        let targets = targets(&saved(), &spelled_out, "us-west-2").unwrap();
        let shown: Vec<_> = targets
            .iter()
            .map(|target| (target.key_name.as_str(), target.region.as_str(), target.named))
            .collect();
        assert_eq!(
            shown,
            [
                ("now", "us-west-2", NamedBy::InBoth),
                ("old", "eu-west-1", NamedBy::InConfiguration),
                ("mine", "us-west-2", NamedBy::OnCommandLine),
            ]
        );
    }

    #[test]
    fn a_profile_named_after_a_key_name_is_ours() {
        let with = |profile: &str| {
            let saved = Saved { iam_instance_profile: Some(profile.to_owned()), ..saved() };
            let targets = targets(&saved, &[KeyName::from("mine")], "us-west-2").unwrap();
            targets.iter().map(|target| target.has_profile).collect::<Vec<_>>()
        };
        let all_of_the_file = [true, true, false];
        assert_eq!(with("now"), all_of_the_file);
        assert_eq!(with("old"), all_of_the_file);
        assert_eq!(with("arn:aws:iam::1:instance-profile/now"), all_of_the_file);
        assert_eq!(with("mine"), [false; 3]);
    }

    #[test]
    fn another_region_in_force_is_an_error_that_names_both() {
        let error = targets(&saved(), &[], "eu-west-1").unwrap_err();
        assert!(error.is_usage());
        let text = error.to_string();
        assert!(text.contains("us-west-2") && text.contains("eu-west-1"), "{text}");
    }

    #[test]
    fn an_empty_file_names_nothing() {
        assert_eq!(targets(&Saved::default(), &[], "us-west-2").unwrap(), []);
    }
}
