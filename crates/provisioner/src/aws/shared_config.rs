//! AWS's shared configuration files: the profiles, and the region that each of them names.
//!
//! The SDK reads the same files for everything else, but neither reports whether a profile exists nor which
//! file and line a region comes from, and offline commands are built without it. The rules for profiles
//! are the SDK's (AWS SDKs and Tools Reference Guide, "Shared config and credentials files"). No secret is
//! kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::domain::suggest;

/// The profile that is used by default.
pub const DEFAULT_PROFILE: &str = "default";

/// The content of the shared configuration files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedConfig {
    files: [PathBuf; 2],
    profiles: BTreeMap<String, ProfileSettings>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ProfileSettings {
    region: Option<ProfileSetting>,
    source_profile: Option<ProfileSetting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ProfileSetting {
    value: String,
    file: PathBuf,
    line: usize,
}

/// A region that a profile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRegion {
    /// The region.
    pub region: String,
    /// The file that names it.
    pub file: PathBuf,
    /// The line in the file, counted from 1.
    pub line: usize,
}

/// The named profile does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no AWS profile `{profile}`: neither {} nor {} has it",
    config.display(),
    credentials.display()
)]
pub struct NoSuchProfile {
    /// The profile.
    pub profile: String,
    /// The configuration file.
    pub config: PathBuf,
    /// The credentials file.
    pub credentials: PathBuf,
    /// The profiles that exist.
    pub known: Vec<String>,
}

impl NoSuchProfile {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        if self.known.is_empty() {
            return "`aws configure --profile NAME` makes one".to_owned();
        }
        suggest::hint(&self.profile, &self.known.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The kind of a file; the two kinds spell their sections differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Config,
    Credentials,
}

impl SharedConfig {
    /// Reads the files that `environment` names, or those in the home directory. A file that cannot be read
    /// counts as empty, as for the SDK.
    pub fn read(environment: &BTreeMap<String, String>) -> Self {
        let file = |variable: &str, default: &str| {
            let named = environment.get(variable).map_or(default, String::as_str);
            in_home(named, environment.get("HOME").map(String::as_str))
        };
        let config = file("AWS_CONFIG_FILE", "~/.aws/config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
        let text = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
        let mut profiles = BTreeMap::new();
        // In this order, since settings in the credentials file take precedence.
        read_file(&mut profiles, &config, &text(&config), FileKind::Config);
        read_file(&mut profiles, &credentials, &text(&credentials), FileKind::Credentials);
        Self { files: [config, credentials], profiles }
    }

    /// Checks that a profile exists.
    pub fn check(&self, profile: &str) -> Result<(), NoSuchProfile> {
        if self.profiles.contains_key(profile) {
            return Ok(());
        }
        let [config, credentials] = self.files.clone();
        let known = self.profiles.keys().cloned().collect();
        Err(NoSuchProfile { profile: profile.to_owned(), config, credentials, known })
    }

    /// Returns the region of a profile, or else that of the profiles from which it takes its credentials.
    pub fn region(&self, profile: &str) -> Option<ProfileRegion> {
        let mut name = profile;
        // There are as many steps as profiles, so that a circle ends, too.
        for _ in 0..self.profiles.len() {
            let ProfileSettings { region, source_profile } = self.profiles.get(name)?;
            if let Some(ProfileSetting { value, file, line }) = region.clone() {
                return Some(ProfileRegion { region: value, file, line });
            }
            name = &source_profile.as_ref()?.value;
        }
        None
    }
}

fn in_home(path: &str, home: Option<&str>) -> PathBuf {
    match (Path::new(path).strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}

const BLANK: &[char] = &[' ', '\t'];
const COMMENT: &[char] = &['#', ';'];

fn read_file(
    profiles: &mut BTreeMap<String, ProfileSettings>,
    file: &Path,
    text: &str,
    kind: FileKind,
) {
    // If a file has both spellings of the default profile, the prefixed one replaces the other.
    let prefixed_default = text
        .lines()
        .any(|line| section(line).is_some_and(|name| words(name) == ["profile", "default"]));
    let mut inside: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = section(line) {
            let plain_default = kind == FileKind::Config && words(name) == [DEFAULT_PROFILE];
            inside = profile_name(name, kind).filter(|_| !(plain_default && prefixed_default));
            if let Some(name) = &inside {
                profiles.entry(name.clone()).or_default();
            }
            continue;
        }
        // An indented line continues a setting that does not matter here.
        let is_setting = !line.starts_with(BLANK) && !line.starts_with(COMMENT);
        let Some((name, (key, value))) =
            inside.as_ref().zip(line.split_once('=').filter(|_| is_setting))
        else {
            continue;
        };
        let setting = ProfileSetting {
            value: without_comment(value).to_owned(),
            file: file.to_owned(),
            line: index + 1,
        };
        let profile = profiles.entry(name.clone()).or_default();
        match key.trim_matches(BLANK).to_ascii_lowercase().as_str() {
            "region" => profile.region = Some(setting),
            "source_profile" => profile.source_profile = Some(setting),
            _ => {}
        }
    }
}

/// Returns the text between the brackets of a section's first line.
fn section(line: &str) -> Option<&str> {
    let line = line.strip_prefix('[')?;
    let line = line.split_once(COMMENT).map_or(line, |(line, _)| line);
    line.trim_matches(BLANK).strip_suffix(']')
}

fn words(section: &str) -> Vec<&str> {
    section.split(BLANK).filter(|word| !word.is_empty()).collect()
}

/// Returns the profile that a section describes, if it describes one.
fn profile_name(section: &str, kind: FileKind) -> Option<String> {
    let name = match (words(section).as_slice(), kind) {
        ([name], FileKind::Credentials) | (["profile", name], FileKind::Config) => *name,
        ([DEFAULT_PROFILE], FileKind::Config) => DEFAULT_PROFILE,
        _ => return None,
    };
    // The SDK ignores names with other characters.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c);
    name.chars().all(allowed).then(|| name.to_owned())
}

/// Removes a comment from a value. A comment must follow a blank.
fn without_comment(value: &str) -> &str {
    let end = value.char_indices().zip(value.chars().skip(1)).find_map(|((at, before), c)| {
        (before.is_whitespace() && COMMENT.contains(&c)).then_some(at)
    });
    value[..end.unwrap_or(value.len())].trim_matches(BLANK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, credentials: &str) -> SharedConfig {
        let dir = tempfile::tempdir().unwrap();
        let aws = dir.path().join(".aws");
        std::fs::create_dir(&aws).unwrap();
        std::fs::write(aws.join("config"), config).unwrap();
        std::fs::write(aws.join("credentials"), credentials).unwrap();
        let home = dir.path().to_str().unwrap().to_owned();
        SharedConfig::read(&BTreeMap::from([("HOME".to_owned(), home)]))
    }

    fn names(shared: &SharedConfig) -> Vec<&str> {
        shared.profiles.keys().map(String::as_str).collect()
    }

    #[test]
    fn sections_are_profiles_as_each_file_spells_them() {
        let config = "[default]\n[profile a]\n[ profile\tb ] # ours\n[c]\n[profile \"d e\"]\n\
                      [sso-session s]\n  [profile indented]\n# [profile no]\n";
        let credentials = "[a]\n[f]\n[profile g]\n";
        assert_eq!(names(&read(config, credentials)), ["a", "b", "default", "f"]);
        assert_eq!(names(&read("", "")), Vec::<&str>::new());
    }

    #[test]
    fn a_missing_profile_is_reported_with_both_files_and_the_nearest_name() {
        let shared = read("[profile production]\n", "[staging]\n");
        assert_eq!(shared.check("staging"), Ok(()));
        let error = shared.check("prodution").unwrap_err();
        let text = error.to_string();
        for part in ["`prodution`", ".aws/config", ".aws/credentials"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.hint(), "did you mean `production`?");
        assert_eq!(shared.check("x").unwrap_err().hint(), "known: production, staging");
        assert!(read("", "").check("default").unwrap_err().hint().contains("aws configure"));
    }

    #[test]
    fn a_region_comes_with_its_file_and_line() {
        let config = "[profile a]\noutput = json\nRegion = eu-west-1 ; there\n\n[profile b]\ns3 =\n  \
                      region = no\nsource_profile = a\n[profile c]\nsource_profile = c\n";
        let shared = read(config, "[d]\nregion=us-east-1#x\n");
        let region = |name: &str| shared.region(name).map(|found| (found.region, found.line));
        assert_eq!(region("a"), Some(("eu-west-1".to_owned(), 3)));
        assert_eq!(region("b"), region("a"), "it takes its credentials from there");
        assert_eq!(region("c"), None);
        assert_eq!(region("d"), Some(("us-east-1#x".to_owned(), 2)), "no blank, no comment");
        assert_eq!(region("e"), None);
        assert!(shared.region("a").unwrap().file.ends_with(".aws/config"));
    }

    #[test]
    fn the_prefixed_default_replaces_the_plain_one() {
        let shared = read("[default]\nregion = a\n[profile default]\noutput = json\n", "");
        assert_eq!((names(&shared), shared.region("default")), (vec!["default"], None));
    }

    #[test]
    fn the_environment_names_the_files() {
        let environment =
            [("HOME", "/h"), ("AWS_CONFIG_FILE", "~/c"), ("AWS_SHARED_CREDENTIALS_FILE", "/s")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shared = SharedConfig::read(&BTreeMap::from(environment));
        assert_eq!(shared.files, [PathBuf::from("/h/c"), PathBuf::from("/s")]);
    }
}
