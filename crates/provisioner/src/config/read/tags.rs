//! `tags` of a worker type.

use std::collections::BTreeMap;

use crate::config::section::Section;
use crate::config::setting::Rejection;

/// The number of tags that EC2 allows on one resource (EC2 User Guide, "Tag restrictions"), less our own.
const MAX_TAGS: usize = 50 - 5;
/// The longest key, in characters (Amazon EC2 API Reference, `Tag`).
const MAX_KEY: usize = 127;
/// The longest value, in characters (within the maximum of the Amazon EC2 API Reference,
/// `Tag`).
const MAX_VALUE: usize = 255;

pub(super) fn read(section: &Section<'_>) -> BTreeMap<String, String> {
    let tags = section.free_texts(check);
    if tags.len() > MAX_TAGS {
        let message = format!("{} tags are too many", tags.len());
        section.problem_here(message, format!("EC2 leaves room for {MAX_TAGS}"));
    }
    tags
}

fn check(key: &str, value: &str) -> Result<(), Rejection> {
    let refuse = |message: String, hint: &str| Err(Rejection::new(message, hint));
    let lower = key.to_lowercase();
    for prefix in ["provisioner:", "aws:"] {
        if lower.starts_with(prefix) {
            return refuse(format!("tags that begin with `{prefix}` are reserved"), "rename it");
        }
    }
    if key.is_empty() {
        return refuse("a tag has no key".to_owned(), "");
    }
    let key_len = key.chars().count();
    let value_len = value.chars().count();
    if key_len > MAX_KEY {
        return refuse(format!("the tag's key has {key_len} characters"), "127 at most");
    }
    if value_len > MAX_VALUE {
        return refuse(format!("the tag's value has {value_len} characters"), "255 at most");
    }
    Ok(())
}
