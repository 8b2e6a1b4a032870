//! The result of `validate --aws`: findings, passed checks, and the number of unanswered look-ups.

use std::fmt;

use serde::Serialize;

use crate::domain::ids::WorkerTypeName;
use crate::domain::refusal::{Refusal, RefusalClass, UNRESOLVED};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Launches fail, or instances cannot be terminated.
    Error,
    /// It works, but is seldom intended.
    Warning,
    /// Good to know.
    Note,
    /// It cannot be known without changing something, or these credentials may not read it.
    NotCheckable,
}

impl Severity {
    /// Returns the word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::NotCheckable => "not checkable",
        }
    }
}

/// The subject of a finding: a stable name for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The key pair of the key-name.
    KeyPair,
    /// A permission of these credentials.
    Permission,
    /// An image.
    Image,
    /// An instance type.
    InstanceType,
    /// `max-price`.
    Price,
    /// A zone.
    Zone,
    /// A subnet, or the default VPC.
    Subnet,
    /// A security group.
    SecurityGroup,
    /// An instance profile.
    InstanceProfile,
    /// User data.
    UserData,
    /// The launching call.
    Launch,
    /// The instance metadata service.
    Metadata,
    /// A volume.
    Volume,
    /// The surplus credits of burstable instance types.
    Credits,
    /// The service-linked role for spot requests.
    SpotRole,
    /// A quota of the account.
    Quota,
    /// EC2's spot capacity.
    Capacity,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyPair => "key pair",
            Self::Permission => "permission",
            Self::Image => "image",
            Self::InstanceType => "instance type",
            Self::Price => "price",
            Self::Zone => "zone",
            Self::Subnet => "subnet",
            Self::SecurityGroup => "security group",
            Self::InstanceProfile => "instance profile",
            Self::UserData => "user data",
            Self::Launch => "launch",
            Self::Metadata => "instance metadata",
            Self::Volume => "volume",
            Self::Credits => "credits",
            Self::SpotRole => "spot role",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
        })
    }
}

/// Something that is wrong, or not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The worker type; `None` if it concerns all of them.
    pub worker_type: Option<WorkerTypeName>,
    /// The subject.
    pub kind: FindingKind,
    /// The name of the subject (`subnet-1`, `TerminateInstances`). Empty if there is only one of its kind.
    pub subject: String,
    /// The problem.
    pub text: String,
    /// What to do about it.
    pub fix: String,
}

/// A check that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedCheck {
    /// The worker type; `None` if it concerns all of them.
    pub worker_type: Option<WorkerTypeName>,
    /// The subject.
    pub kind: FindingKind,
    /// The name of the subject.
    pub subject: String,
    /// What was found.
    pub text: String,
}

/// All findings and passed checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PreflightReport {
    /// The findings: those of the account, then those of the worker types by name.
    pub findings: Vec<Finding>,
    /// The passed checks in the same order.
    pub checked: Vec<PassedCheck>,
    /// The number of look-ups that AWS did not answer. The report is then incomplete.
    pub unanswered: usize,
}

/// Which command depends on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallNeed {
    /// `run` makes the call itself.
    Run,
    /// Only `validate` makes it.
    ValidateOnly,
    /// Only `validate` makes it, and the network may not reach the service (IAM has no endpoint in a VPC).
    Optional,
    /// Only `validate` makes it, to read a setting of the account, and not every region has the call.
    AccountSetting,
}

/// Writes findings about one worker type, or about all of them, into the report.
#[derive(Debug)]
pub(super) struct FindingWriter<'a> {
    report: &'a mut PreflightReport,
    worker_type: Option<WorkerTypeName>,
}

impl PreflightReport {
    /// Returns the number of findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn about(&mut self, worker_type: &WorkerTypeName) -> FindingWriter<'_> {
        FindingWriter { report: self, worker_type: Some(worker_type.clone()) }
    }

    pub(super) fn about_all_worker_types(&mut self) -> FindingWriter<'_> {
        FindingWriter { report: self, worker_type: None }
    }
}

impl FindingWriter<'_> {
    pub(super) fn find(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        subject: impl Into<String>,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.report.findings.push(Finding {
            severity,
            worker_type: self.worker_type.clone(),
            kind,
            subject: subject.into(),
            text: text.into(),
            fix: fix.into(),
        });
    }

    pub(super) fn error(
        &mut self,
        kind: FindingKind,
        subject: impl Into<String>,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.find(Severity::Error, kind, subject, text, fix);
    }

    pub(super) fn good(
        &mut self,
        kind: FindingKind,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.report.checked.push(PassedCheck {
            worker_type: self.worker_type.clone(),
            kind,
            subject: subject.into(),
            text: text.into(),
        });
    }

    /// Adds a finding for a look-up that failed. `fix` is for the case that AWS knows no such resource.
    pub(super) fn unknown(
        &mut self,
        kind: FindingKind,
        subject: impl Into<String>,
        operation: &str,
        needed: CallNeed,
        refusal: &Refusal,
        fix: &str,
    ) {
        match refusal.class {
            RefusalClass::Transient | RefusalClass::Throttled => {
                let text = format!("{operation} was not answered: {}", message_of(refusal));
                let fix = if needed == CallNeed::Optional {
                    "try where this service can be reached"
                } else {
                    self.report.unanswered += 1;
                    "try again later"
                };
                self.find(Severity::NotCheckable, kind, subject, text, fix);
            }
            RefusalClass::Unauthorized if needed == CallNeed::Run => self.error(
                kind,
                subject,
                format!("`run` needs {operation}, which is refused: {}", message_of(refusal)),
                format!("allow {operation}: `provisionerd iam-policy` prints what is needed"),
            ),
            RefusalClass::Unauthorized => self.find(
                Severity::NotCheckable,
                kind,
                subject,
                format!("these credentials may not call {operation}"),
                format!("validate with credentials that may; `run` does without {operation}"),
            ),
            _ if needed == CallNeed::AccountSetting => {
                let text = format!("{operation} was refused: {}", message_of(refusal));
                self.find(Severity::NotCheckable, kind, subject, text, fix);
            }
            RefusalClass::NoCapacity
            | RefusalClass::UnsuitablePlace
            | RefusalClass::NoFreeAddresses
            | RefusalClass::Unclear
            | RefusalClass::Quota
            | RefusalClass::NotFound
            | RefusalClass::UnknownProfile
            | RefusalClass::Invalid
            | RefusalClass::IdempotentMismatch => {
                self.error(kind, subject, message_of(refusal), fix);
            }
        }
    }

    /// Returns whether an error about this worker type, or about all of them, was found already.
    pub(super) fn has_errors(&self) -> bool {
        self.report.findings.iter().any(|finding| {
            finding.severity == Severity::Error
                && (finding.worker_type.is_none() || finding.worker_type == self.worker_type)
        })
    }
}

/// Returns AWS's message without the encoded authorization details, which are long and not for people.
pub(super) fn message_of(refusal: &Refusal) -> String {
    let message = refusal.message.split("Encoded authorization failure message").next();
    let message = message.unwrap_or_default().trim();
    if refusal.code == UNRESOLVED {
        return message.to_owned();
    }
    if message.is_empty() { refusal.code.clone() } else { format!("{}: {message}", refusal.code) }
}
