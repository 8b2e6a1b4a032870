//! AWS's shared configuration files: which profiles there are, and which region each of them names.
//!
//! The SDK reads the same files for the rest, and tells neither whether a profile is there nor which
//! file a region came from. What it takes for a profile is one here (AWS SDKs and Tools Reference
//! Guide, "Shared config and credentials files"). No secret is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::domain::suggest;

/// The profile that is used where none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// What the shared configuration files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedConfig {
    files: [PathBuf; 2],
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Profile {
    region: Option<Setting>,
    source_profile: Option<Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    value: String,
    file: PathBuf,
    line: usize,
}

/// A region that a profile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRegion {
    /// The region.
    pub region: String,
    /// The file that says it.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

/// A profile was named that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no AWS profile `{profile}`: neither {} nor {} has it",
    config.display(),
    credentials.display()
)]
pub struct NoSuchProfile {
    /// The profile.
    pub profile: String,
    /// The configuration file that was looked into.
    pub config: PathBuf,
    /// The credentials file that was looked into.
    pub credentials: PathBuf,
    /// The profiles there are.
    pub known: Vec<String>,
}

impl NoSuchProfile {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        if self.known.is_empty() {
            return "`aws configure --profile NAME` makes one".to_owned();
        }
        suggest::hint(&self.profile, &self.known.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The two files differ in how they spell sections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Config,
    Credentials,
}

impl SharedConfig {
    /// Reads the files that `environment` names, or those in the home directory. One that cannot be
    /// read counts as empty, as it does to the SDK.
    pub fn read(environment: &BTreeMap<String, String>) -> Self {
        let file = |variable: &str, default: &str| {
            let named = environment.get(variable).map_or(default, String::as_str);
            in_home(named, environment.get("HOME").map(String::as_str))
        };
        let config = file("AWS_CONFIG_FILE", "~/.aws/config");
        let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
        let text = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
        let mut profiles = BTreeMap::new();
        // In this order: what the credentials file says wins.
        take_in(&mut profiles, &config, &text(&config), Kind::Config);
        take_in(&mut profiles, &credentials, &text(&credentials), Kind::Credentials);
        Self { files: [config, credentials], profiles }
    }

    /// Checks that a profile that somebody named is there.
    pub fn check(&self, profile: &str) -> Result<(), NoSuchProfile> {
        if self.profiles.contains_key(profile) {
            return Ok(());
        }
        let [config, credentials] = self.files.clone();
        let known = self.profiles.keys().cloned().collect();
        Err(NoSuchProfile { profile: profile.to_owned(), config, credentials, known })
    }

    /// The region of a profile, or else of those it takes its credentials from.
    pub fn region(&self, profile: &str) -> Option<ProfileRegion> {
        let mut name = profile;
        // As many steps as there are profiles: a circle ends, too.
        for _ in 0..self.profiles.len() {
            let Profile { region, source_profile } = self.profiles.get(name)?;
            if let Some(Setting { value, file, line }) = region.clone() {
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

fn take_in(profiles: &mut BTreeMap<String, Profile>, file: &Path, text: &str, kind: Kind) {
    // Where both stand in one file, the prefixed one replaces the other.
    let prefixed_default = text
        .lines()
        .any(|line| section(line).is_some_and(|it| words(it) == ["profile", "default"]));
    let mut inside: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(name) = section(line) {
            let plain_default = kind == Kind::Config && words(name) == [DEFAULT_PROFILE];
            inside = profile_name(name, kind).filter(|_| !(plain_default && prefixed_default));
            if let Some(name) = &inside {
                profiles.entry(name.clone()).or_default();
            }
            continue;
        }
        // What is indented goes on with the line before, and is of nobody's interest here.
        let is_setting = !line.starts_with(BLANK) && !line.starts_with(COMMENT);
        let Some((name, (key, value))) =
            inside.as_ref().zip(line.split_once('=').filter(|_| is_setting))
        else {
            continue;
        };
        let setting = Setting {
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

/// What stands between the brackets of a section's first line.
fn section(line: &str) -> Option<&str> {
    let line = line.strip_prefix('[')?;
    let line = line.split_once(COMMENT).map_or(line, |(line, _)| line);
    line.trim_matches(BLANK).strip_suffix(']')
}

fn words(section: &str) -> Vec<&str> {
    section.split(BLANK).filter(|word| !word.is_empty()).collect()
}

/// The profile that a section is about, if it is about one.
fn profile_name(section: &str, kind: Kind) -> Option<String> {
    let name = match (words(section).as_slice(), kind) {
        ([name], Kind::Credentials) | (["profile", name], Kind::Config) => *name,
        ([DEFAULT_PROFILE], Kind::Config) => DEFAULT_PROFILE,
        _ => return None,
    };
    // Others the SDK ignores.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c);
    name.chars().all(allowed).then(|| name.to_owned())
}

/// A comment in a line needs a blank before it.
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
    fn a_profile_that_is_not_there_is_told_with_both_files_and_the_nearest() {
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
    fn a_region_is_told_with_its_place() {
        let config = "[profile a]\noutput = json\nRegion = eu-west-1 ; there\n\n[profile b]\ns3 =\n  \
                      region = no\nsource_profile = a\n[profile c]\nsource_profile = c\n";
        let shared = read(config, "[d]\nregion=us-east-1#x\n");
        let region = |name: &str| shared.region(name).map(|it| (it.region, it.line));
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
