//! A strict reader of the `OpenMetrics` text format, independent of the code that writes it.

use std::collections::{BTreeMap, BTreeSet};

/// A family of metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// With the suffix (`_total`, `_bucket`).
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// Reads a complete exposition.
///
/// # Errors
/// Names the line that breaks a rule.
pub(crate) fn parse(text: &str) -> Result<Vec<Family>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families: Vec<Family> = Vec::new();
    let mut series = BTreeSet::new();
    for line in body.lines() {
        let bad = |why: &str| format!("{why}: {line:?}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or_else(|| bad("no help"))?;
            if !is_name(name) || families.iter().any(|family| family.name == name) {
                return Err(bad("not a new name"));
            }
            let name = name.to_owned();
            let help = help.to_owned();
            families.push(Family { name, help, ..Family::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| bad("no type"))?;
            let family = families.last_mut().filter(|family| family.name == name);
            let family = family.ok_or_else(|| bad("a type without its help"))?;
            if !family.kind.is_empty() || !["counter", "gauge", "histogram"].contains(&kind) {
                return Err(bad("not a type"));
            }
            kind.clone_into(&mut family.kind);
        } else {
            let sample = sample(line).ok_or_else(|| bad("not a sample"))?;
            let family = families.last_mut().ok_or_else(|| bad("a sample of no family"))?;
            let suffix = sample.name.strip_prefix(&family.name).unwrap_or("?");
            let fits = match family.kind.as_str() {
                "counter" => suffix == "_total" && sample.value >= 0.0,
                "gauge" => suffix.is_empty(),
                "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                _ => false,
            };
            if !fits {
                return Err(bad("a sample of another family or type"));
            }
            if !series.insert((sample.name.clone(), sample.labels.clone())) {
                return Err(bad("told twice"));
            }
            family.samples.push(sample);
        }
    }
    for family in families.iter().filter(|family| family.kind == "histogram") {
        buckets(family)?;
    }
    Ok(families)
}

/// Buckets grow to the one of everything, which is the count.
fn buckets(family: &Family) -> Result<(), String> {
    let mut by_labels: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le").ok_or("a bucket without a bound")?;
        let bound = bound.replace("+Inf", "inf").parse().map_err(|_| "not a bound")?;
        by_labels.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in by_labels {
        let grows = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
        let count = family
            .samples
            .iter()
            .find(|sample| sample.name.ends_with("_count") && sample.labels == labels);
        let whole = buckets.last().is_some_and(|(bound, all)| {
            bound.is_infinite() && count.is_some_and(|count| count.value.total_cmp(all).is_eq())
        });
        if !grows || !whole {
            return Err(format!("{} {labels:?}: {buckets:?}", family.name));
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, labels)) => (name, labels_of(labels.strip_suffix('}')?)?),
    };
    is_name(name).then(|| Sample { name: name.to_owned(), labels, value })
}

fn labels_of(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, tail) = rest.split_once("=\"")?;
        let (value, tail) = tail.split_once('"')?;
        let plain = is_name(name) && !value.contains(['\\', '\n']);
        if !plain || labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return None;
        }
        rest = match tail.strip_prefix(',') {
            Some("") => return None,
            Some(tail) => tail,
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    Some(labels)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
