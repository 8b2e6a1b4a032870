//! The targets of links exist, including their headings.

use std::fs;
use std::path::Path;

use super::{documents, root};

/// Returns the anchors that GitHub generates for the headings of a document.
fn anchors(text: &str) -> Vec<String> {
    let mut in_code = false;
    let mut anchors = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        let heading = line.trim_start_matches('#');
        if in_code || heading.len() == line.len() {
            continue;
        }
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        anchors.push(kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
    }
    anchors
}

#[test]
fn every_link_has_a_target() {
    let mut followed = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (target, _) in links.filter(|(target, _)| !target.starts_with("https://")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() {
                file.clone()
            } else {
                file.parent().unwrap_or(Path::new("")).join(path)
            };
            assert!(path.exists(), "{}: {target}", file.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&path).unwrap());
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{}: {target}",
                    file.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed >= 10, "{followed} links");
}

#[test]
fn every_document_can_be_reached_from_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for file in documents() {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(name) || name == "README.md", "{name}");
    }
}
