//! Edits of the local configuration file by `setup-aws` and `cleanup-aws`.
//!
//! The file is the user's. `toml_edit` parses it and locates its items; the edits themselves are made in the
//! text, so that every other byte stays, including line ends and comments. After each edit the text is
//! parsed again, and an edit that did not have the intended result is never written.

mod atomic;
mod splice;

use std::io;
use std::path::{Path, PathBuf};

use toml_edit::{Document, TableLike};

use crate::domain::ids::KeyName;
use crate::domain::launch::profile_name;
use crate::settings::RetiredKeyName;
use atomic::Target;
use splice::Text;

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It exists but cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is not valid TOML.
    #[error("{}:{line}: broken TOML: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A key that is to be read or edited has a wrong value.
    #[error("{}: {key}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The dotted key.
        key: String,
        /// What is wrong.
        message: String,
    },
    /// It cannot be replaced.
    #[error("failed to write {}: {hint}", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// How to fix it.
        hint: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process changed it in the meantime.
    #[error("{} was changed by another process in the meantime; nothing was written to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The edit did not have the intended result, so nothing was written.
    #[error("{}: cannot set or remove `{key}` in this layout; edit it by hand", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The dotted key.
        key: String,
    },
}

/// What a configuration file alone, without the other layers, says about its key-names. See
/// [`ConfigFile::saved`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// `provisioner.key-name`.
    pub key_name: Option<KeyName>,
    /// `provisioner.retired`.
    pub retired: Vec<RetiredKeyName>,
    /// `aws.region`.
    pub region: Option<String>,
    /// `aws.account-id`.
    pub account_id: Option<String>,
    /// `worker-defaults.iam-instance-profile`.
    pub iam_instance_profile: Option<String>,
}

impl Saved {
    /// Returns whether `setup-aws` made this instance profile, which is then named after one of the
    /// key-names.
    pub fn made_profile(&self, profile: &str) -> bool {
        let retired = self.retired.iter().map(|retired| &retired.key_name);
        let mut names = self.key_name.iter().chain(retired);
        names.any(|name| name.as_str() == profile_name(profile))
    }
}

/// A configuration file open for editing. Nothing is written before [`ConfigFile::save`].
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    target: Target,
    text: Text,
}

impl ConfigFile {
    /// Opens the file, or starts an empty one if it does not exist.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let target = Target::open(path)
            .map_err(|source| EditError::Read { path: path.to_owned(), source })?;
        let text = Text::new(target.text().to_owned());
        let file = Self { path: path.to_owned(), target, text };
        file.parse()?;
        Ok(file)
    }

    /// Returns the path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file existed when it was opened.
    pub fn exists(&self) -> bool {
        self.target.exists()
    }

    /// Returns the text as it would be saved.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// Checks that [`Self::save`] can succeed, without changing anything. This is for callers that are about
    /// to create resources that only this file will record.
    pub fn ensure_writable(&self) -> Result<(), EditError> {
        self.target.ensure_writable().map_err(|error| self.not_writable(error))
    }

    /// Returns what the file says.
    pub fn saved(&self) -> Result<Saved, EditError> {
        let document = self.parse()?;
        let text = |section: &str, key: &str| self.string(document.as_table(), section, key);
        let key_name = text("provisioner", "key-name")?
            .map(|name| self.key_name("provisioner.key-name", &name))
            .transpose()?;
        Ok(Saved {
            key_name,
            retired: self.retired(document.as_table())?,
            region: text("aws", "region")?,
            account_id: text("aws", "account-id")?,
            iam_instance_profile: text("worker-defaults", "iam-instance-profile")?,
        })
    }

    /// Sets `provisioner.key-name`, `aws.region`, and `aws.account-id`.
    pub fn set_key_name(
        &mut self,
        key_name: &KeyName,
        region: &str,
        account_id: &str,
    ) -> Result<(), EditError> {
        self.set("provisioner", "key-name", key_name.as_str())?;
        self.set("aws", "region", region)?;
        self.set("aws", "account-id", account_id)
    }

    /// Sets `worker-defaults.iam-instance-profile`.
    pub fn set_iam_instance_profile(&mut self, name: &str) -> Result<(), EditError> {
        self.set("worker-defaults", "iam-instance-profile", name)
    }

    /// Appends a key-name to `provisioner.retired` unless it is listed already.
    pub fn retire(&mut self, retired: &RetiredKeyName) -> Result<(), EditError> {
        let mut wanted = self.saved()?.retired;
        if wanted.contains(retired) {
            return Ok(());
        }
        wanted.push(retired.clone());
        let key = "provisioner.retired";
        let before = self.text.clone();
        let edited = self.text.append_retired(retired);
        let as_meant = edited.is_some() && self.saved().is_ok_and(|saved| saved.retired == wanted);
        self.keep_if(as_meant, before, key)
    }

    /// Removes `provisioner.key-name` and `aws.account-id` if the key-name is `gone`, and
    /// `provisioner.retired` if all key-names in it are. `gone` receives the region if the file has one.
    /// Tables stay even if they are empty.
    pub fn remove_key_names(
        &mut self,
        gone: impl Fn(&KeyName, Option<&str>) -> bool,
    ) -> Result<(), EditError> {
        let Saved { key_name, retired, region, .. } = self.saved()?;
        // Without a key-name in this file, the account belongs to one in another layer.
        if key_name.is_none_or(|key_name| gone(&key_name, region.as_deref())) {
            self.remove("provisioner", "key-name")?;
            self.remove("aws", "account-id")?;
        }
        if retired.iter().all(|entry| gone(&entry.key_name, Some(&entry.region))) {
            self.remove("provisioner", "retired")?;
        }
        Ok(())
    }

    /// Removes `worker-defaults.iam-instance-profile` if it is `deleted`.
    pub fn remove_iam_instance_profile(&mut self, deleted: &str) -> Result<(), EditError> {
        if self.saved()?.iam_instance_profile.as_deref() == Some(deleted) {
            self.remove("worker-defaults", "iam-instance-profile")?;
        }
        Ok(())
    }

    /// Returns whether [`Self::save`] would change the file.
    pub fn is_edited(&self) -> bool {
        self.text.as_str() != self.target.text()
    }

    /// Writes the file completely or not at all, even if the machine stops in between. Permissions and owner
    /// stay; a new file gets 0644 less the umask. A symlink stays, and its target is replaced.
    pub fn save(&mut self) -> Result<(), EditError> {
        let unchanged = self.target.is_as_opened().map_err(|error| self.not_writable(error))?;
        if !unchanged {
            return Err(EditError::Changed { path: self.path.clone() });
        }
        let written = self.target.replace(self.text.as_str());
        written.map_err(|error| self.not_writable(error))
    }

    fn not_writable(&self, source: io::Error) -> EditError {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "create its directory",
            io::ErrorKind::PermissionDenied => {
                "make the file and its directory writable for the user running this program"
            }
            io::ErrorKind::IsADirectory => "it is a directory; name a file with --config",
            io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is read-only; name another file with --config"
            }
            _ => "check the file and its directory",
        };
        EditError::NotWritable { path: self.path.clone(), hint, source }
    }

    fn set(&mut self, section: &str, key: &str, value: &str) -> Result<(), EditError> {
        // A value that is right already keeps its quotes, too.
        let found =
            self.parse().and_then(|document| self.string(document.as_table(), section, key));
        if found.is_ok_and(|found| found.as_deref() == Some(value)) {
            return Ok(());
        }
        let before = self.text.clone();
        let edited = self.text.set(section, key, value);
        let as_meant = edited.is_some()
            && self.parse().is_ok_and(|document| {
                let found = self.string(document.as_table(), section, key);
                found.is_ok_and(|found| found.as_deref() == Some(value))
            });
        self.keep_if(as_meant, before, &format!("{section}.{key}"))
    }

    fn remove(&mut self, section: &str, key: &str) -> Result<(), EditError> {
        let before = self.text.clone();
        let edited = self.text.remove(section, key);
        let as_meant = edited.is_some()
            && self
                .parse()
                .is_ok_and(|document| splice::find(document.as_table(), section, key).is_none());
        self.keep_if(as_meant, before, &format!("{section}.{key}"))
    }

    fn keep_if(&mut self, as_meant: bool, before: Text, key: &str) -> Result<(), EditError> {
        if as_meant {
            return Ok(());
        }
        self.text = before;
        Err(EditError::Layout { path: self.path.clone(), key: key.to_owned() })
    }

    fn parse(&self) -> Result<Document<&str>, EditError> {
        let text = self.text.as_str();
        Document::parse(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            EditError::Parse {
                path: self.path.clone(),
                line: 1 + before.matches('\n').count(),
                message: error.message().replace('\n', ", "),
            }
        })
    }

    fn value_error(&self, key: impl Into<String>, message: &str) -> EditError {
        EditError::Value { path: self.path.clone(), key: key.into(), message: message.to_owned() }
    }

    /// Reads a string. An empty one counts as unset, as everywhere in the configuration.
    fn string(
        &self,
        root: &dyn TableLike,
        section: &str,
        key: &str,
    ) -> Result<Option<String>, EditError> {
        let Some(table) = root.get(section) else { return Ok(None) };
        let table =
            table.as_table_like().ok_or_else(|| self.value_error(section, "expected a table"))?;
        self.text_in(table, key, &format!("{section}.{key}"))
    }

    fn text_in(
        &self,
        table: &dyn TableLike,
        key: &str,
        dotted: &str,
    ) -> Result<Option<String>, EditError> {
        let text = match table.get(key) {
            None => return Ok(None),
            // `aws.account-id` may be written without quotes.
            Some(item) => match (item.as_str(), item.as_integer()) {
                (Some(text), _) => text.to_owned(),
                (None, Some(integer)) if key == "account-id" => format!("{integer:012}"),
                _ => return Err(self.value_error(dotted, "expected a string")),
            },
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn key_name(&self, key: &str, text: &str) -> Result<KeyName, EditError> {
        KeyName::parse(text).map_err(|error| self.value_error(key, &error.to_string()))
    }

    fn retired(&self, root: &dyn TableLike) -> Result<Vec<RetiredKeyName>, EditError> {
        let Some(item) = splice::find(root, "provisioner", "retired") else {
            return Ok(Vec::new());
        };
        let tables = splice::tables(item).ok_or_else(|| {
            self.value_error("provisioner.retired", "expected an array of tables")
        })?;
        let entry = |(index, table): (usize, &dyn TableLike)| {
            let dotted = |key: &str| format!("provisioner.retired[{index}].{key}");
            let text = |key: &str| self.text_in(table, key, &dotted(key));
            let required =
                |key: &str| text(key)?.ok_or_else(|| self.value_error(dotted(key), "is required"));
            Ok(RetiredKeyName {
                key_name: self.key_name(&dotted("key-name"), &required("key-name")?)?,
                region: required("region")?,
                account_id: text("account-id")?,
            })
        };
        tables.into_iter().enumerate().map(entry).collect()
    }
}

#[cfg(test)]
mod tests;
