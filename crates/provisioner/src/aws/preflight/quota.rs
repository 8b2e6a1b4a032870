//! Names the spot quotas to check by hand, with the vCPUs that they need. EC2 does not report quotas.

use std::collections::BTreeMap;

use super::facts::PreflightFacts;
use super::report::{FindingKind, PreflightReport, Severity};
use crate::domain::ids::InstanceType;
use crate::settings::Settings;

/// A quota's name and code (EC2 User Guide, "Spot Instance quotas"; the codes are Service Quotas').
type Quota = (&'static str, &'static str);

fn quota_of(instance_type: &InstanceType) -> Option<Quota> {
    let family: String =
        instance_type.as_str().chars().take_while(char::is_ascii_alphabetic).collect();
    Some(match family.as_str() {
        "g" | "gr" | "vt" => ("All G and VT Spot Instance Requests", "L-3819A6DF"),
        "f" => ("All F Spot Instance Requests", "L-88CF9481"),
        "inf" => ("All Inf Spot Instance Requests", "L-B5D1601B"),
        "p" => ("All P Spot Instance Requests", "L-7212CCBC"),
        "dl" => ("All DL Spot Instance Requests", "L-85EED4F7"),
        "trn" => ("All Trn Spot Instance Requests", "L-6B0D517C"),
        "x" => ("All X Spot Instance Requests", "L-E3A00192"),
        // We know of no spot quota for Mac, High Memory and HPC types.
        "mac" | "u" | "hpc" => return None,
        _ => ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08"),
    })
}

pub(super) fn assess(settings: &Settings, facts: &PreflightFacts, report: &mut PreflightReport) {
    // `None` if the vCPUs of a type are not known.
    let mut most: BTreeMap<Quota, Option<u64>> = BTreeMap::new();
    for worker_type in settings.worker_types.values() {
        let mut of_this_type: BTreeMap<Quota, Option<u64>> = BTreeMap::new();
        for instance_type in &worker_type.instance_types {
            let Some(quota) = quota_of(instance_type) else { continue };
            let vcpus = facts
                .instance_types
                .as_ref()
                .ok()
                .and_then(|types| Some(u64::from(types.get(instance_type)?.vcpus?)));
            let all = vcpus.map(|vcpus| vcpus.saturating_mul(worker_type.max_instances));
            of_this_type
                .entry(quota)
                .and_modify(|most| *most = most.zip(all).map(|(a, b)| a.max(b)))
                .or_insert(all);
        }
        for (quota, all) in of_this_type {
            most.entry(quota)
                .and_modify(|sum| *sum = sum.zip(all).map(|(a, b)| a.saturating_add(b)))
                .or_insert(all);
        }
    }
    for ((name, code), vcpus) in most {
        let needed = vcpus.map_or_else(String::new, |vcpus| {
            format!("; all worker types at their maximum need {vcpus} vCPUs of it")
        });
        report.about_all_worker_types().find(
            Severity::NotCheckable,
            FindingKind::Quota,
            format!("{name} ({code})"),
            format!("EC2 does not report the account's quota{needed}"),
            format!(
                "aws service-quotas get-service-quota --service-code ec2 --quota-code {code} --region {}",
                facts.region
            ),
        );
    }
}
