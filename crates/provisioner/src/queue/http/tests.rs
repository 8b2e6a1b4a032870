//! Tests of the queue: reading responses, and HTTP against a server on loopback.

mod reading;
mod requests;

use std::collections::BTreeMap;

use super::tally::TaskFilter;
use crate::domain::ids::WorkerTypeName;

/// Two worker types, the second with an alias, at `/workerType`.
fn filter() -> TaskFilter {
    filter_at(&["workerType"])
}

fn filter_at(pointer: &[&str]) -> TaskFilter {
    let names = [("linux", "linux"), ("windows", "windows"), ("ami-7eaecc4e", "windows")];
    let names = names.map(|(from, to)| (from.to_owned(), WorkerTypeName::from(to)));
    let pointer = pointer.iter().map(|&segment| segment.to_owned()).collect();
    TaskFilter::new(pointer, BTreeMap::from(names), None)
}
