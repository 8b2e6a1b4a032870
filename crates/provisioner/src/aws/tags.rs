//! Converts tags from and to EC2's list of pairs.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{ResourceType, Tag, TagSpecification};

use crate::domain::ids::{ClientToken, KeyName, WorkerTypeName};
use crate::domain::launch::{TAG_INTENT, TAG_KEY_NAME, TAG_WORKER_TYPE};
use crate::domain::observed::OwnTags;

/// Returns our tags; other tags are ignored.
pub(crate) fn own_tags(tags: &[Tag]) -> OwnTags {
    let value = |key: &str| value(tags, key);
    OwnTags {
        key_name: value(TAG_KEY_NAME).map(KeyName::new),
        worker_type: value(TAG_WORKER_TYPE).map(WorkerTypeName::new),
        intent: value(TAG_INTENT).map(ClientToken::new),
    }
}

/// Returns the value of one tag.
pub(crate) fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

/// Returns tags as the SDK sends them.
pub(crate) fn sdk_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Returns the tags for a resource that a call makes.
pub(crate) fn specification(
    resource: ResourceType,
    tags: &BTreeMap<String, String>,
) -> TagSpecification {
    TagSpecification::builder().resource_type(resource).set_tags(Some(sdk_tags(tags))).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_tags_are_read_among_others() {
        let tags = BTreeMap::from([
            (TAG_KEY_NAME.to_owned(), "k".to_owned()),
            (TAG_WORKER_TYPE.to_owned(), "linux".to_owned()),
            ("team".to_owned(), "ci".to_owned()),
        ]);
        let own = own_tags(&sdk_tags(&tags));
        assert_eq!(own.key_name, Some(KeyName::from("k")));
        assert_eq!(own.worker_type, Some(WorkerTypeName::from("linux")));
        assert_eq!(own.intent, None);
    }
}
