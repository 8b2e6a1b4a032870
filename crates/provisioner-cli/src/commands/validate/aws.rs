//! `provisionerd validate --aws`: checks the AWS resources that the configuration names.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use provisioner::internal::aws::preflight::{
    self, Finding, PassedCheck, PreflightReport, Severity,
};
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::plural::count;
use provisioner::internal::domain::shown::shown;
use provisioner::internal::settings::Settings;
use serde::Serialize;

use crate::connect::{Connection, connect};
use crate::exit::Failure;

/// The width of the column with the severity of a finding.
const COLUMN: usize = "not checkable".len() + 2;

/// The checks that were made in AWS, and their findings.
#[derive(Serialize)]
pub(super) struct AwsChecks {
    account_id: String,
    region: String,
    #[serde(flatten)]
    verdict: PreflightReport,
    /// The worker types that were checked, in order.
    #[serde(skip)]
    worker_types: Vec<WorkerTypeName>,
}

/// Checks in AWS. Fails if the account or region is not the one that `setup-aws` saved, or if AWS cannot be
/// reached.
pub(super) async fn check_aws(settings: Settings) -> Result<AwsChecks, Failure> {
    let settings = Arc::new(settings);
    let Connection { client, key_name, account, .. } = connect(&settings).await?;
    let now = Timestamp::now();
    // Many concurrent calls make a large future, which is kept on the heap.
    let facts = Box::pin(client.preflight(&settings, &key_name, now)).await;
    Ok(AwsChecks {
        account_id: account,
        region: client.region().to_owned(),
        verdict: preflight::assess(&settings, &facts, now),
        worker_types: settings.worker_types.keys().cloned().collect(),
    })
}

impl AwsChecks {
    /// Returns why the exit code is not 0, if so.
    pub(super) fn failure(&self) -> Option<Failure> {
        let unanswered = self.verdict.unanswered;
        match self.verdict.count(Severity::Error) {
            0 if unanswered > 0 => {
                let what = count(unanswered, "look-up");
                let text = format!("AWS did not answer {what}: the checks are incomplete");
                Some(Failure::failed(text).with_hint("try again later"))
            }
            0 => None,
            n => Some(Failure::usage(format!(
                "{} in what the configuration names in AWS",
                count(n, "error")
            ))),
        }
    }

    fn write_group(
        &self,
        f: &mut fmt::Formatter<'_>,
        worker_type: Option<&WorkerTypeName>,
    ) -> fmt::Result {
        let mut findings: Vec<&Finding> = self
            .verdict
            .findings
            .iter()
            .filter(|finding| finding.worker_type.as_ref() == worker_type)
            .collect();
        findings.sort_by_key(|finding| finding.severity);
        let first = findings.partition_point(|finding| finding.severity < Severity::NotCheckable);
        let (findings, not_checkable) = findings.split_at(first);
        for finding in findings {
            write_finding(f, finding)?;
        }
        for PassedCheck { kind, subject, text, .. } in self
            .verdict
            .checked
            .iter()
            .filter(|checked| checked.worker_type.as_ref() == worker_type)
        {
            write_line(f, "ok", &format!("{kind} {subject}"), text)?;
        }
        for finding in not_checkable {
            write_finding(f, finding)?;
        }
        Ok(())
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let Finding { severity, worker_type: _, kind, subject, text, fix } = finding;
    write_line(f, severity.as_str(), &format!("{kind} {subject}"), text)?;
    if fix.is_empty() { Ok(()) } else { writeln!(f, "  {:COLUMN$}fix: {fix}", "") }
}

fn write_line(f: &mut fmt::Formatter<'_>, word: &str, what: &str, text: &str) -> fmt::Result {
    // Messages of EC2 and names that others gave are in both.
    writeln!(f, "  {word:COLUMN$}{}: {}", shown(what.trim_end()), shown(text))
}

impl fmt::Display for AwsChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\naccount {} in {}", self.account_id, self.region)?;
        self.write_group(f, None)?;
        for name in &self.worker_types {
            writeln!(f, "\nworker type {name}")?;
            self.write_group(f, Some(name))?;
        }
        let of = |severity| self.verdict.count(severity);
        let mut counts =
            vec![count(of(Severity::Error), "error"), count(of(Severity::Warning), "warning")];
        if of(Severity::NotCheckable) > 0 {
            counts.push(format!("{} not checkable", of(Severity::NotCheckable)));
        }
        writeln!(f, "\n{}", counts.join(", "))
    }
}
