//! What came of it: findings, what was checked, and whether AWS answered.

use std::fmt;

use serde::Serialize;

use crate::domain::ids::WorkerTypeName;
use crate::domain::refusal::{Refusal, RefusalClass, UNRESOLVED};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Launches fail, or what was launched cannot be ended.
    Error,
    /// It works, and is seldom meant so.
    Warning,
    /// Good to know.
    Note,
    /// Nobody can tell without changing something, or nobody may look.
    NotCheckable,
}

impl Severity {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::NotCheckable => "not checkable",
        }
    }
}

/// What a finding is about: stable names for programs.
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
    /// The launching call as a whole.
    Launch,
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
            Self::SpotRole => "spot role",
            Self::Quota => "quota",
            Self::Capacity => "capacity",
        })
    }
}

/// Something that is not as it should be, or not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Whose it is; `None` is everybody's.
    pub worker_type: Option<WorkerTypeName>,
    /// What it is about.
    pub kind: FindingKind,
    /// Which one (`subnet-1`, `TerminateInstances`). May be empty where there is but one.
    pub subject: String,
    /// What is the matter.
    pub text: String,
    /// What to do about it.
    pub fix: String,
}

/// Something that was looked at and found good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedCheck {
    /// Whose it is; `None` is everybody's.
    pub worker_type: Option<WorkerTypeName>,
    /// What was looked at.
    pub kind: FindingKind,
    /// Which one.
    pub subject: String,
    /// What was found.
    pub text: String,
}

/// All that came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PreflightReport {
    /// In order: the account, then the worker types by name.
    pub findings: Vec<Finding>,
    /// What was found good, in the same order.
    pub checked: Vec<PassedCheck>,
    /// How many look-ups AWS did not answer: the verdict is not whole, and may be another later.
    pub unanswered: usize,
}

/// Whether `provisionerd run` cannot do without a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallNeed {
    /// It makes the call itself.
    Run,
    /// Only this check makes it.
    ValidateOnly,
    /// The same, and a network may be closed to the service (IAM has no endpoint in a VPC).
    Optional,
}

/// The verdict as it is written: all that is said is about one worker type, or about everybody.
#[derive(Debug)]
pub(super) struct FindingWriter<'a> {
    verdict: &'a mut PreflightReport,
    worker_type: Option<WorkerTypeName>,
}

impl PreflightReport {
    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn about(&mut self, worker_type: &WorkerTypeName) -> FindingWriter<'_> {
        FindingWriter { verdict: self, worker_type: Some(worker_type.clone()) }
    }

    pub(super) fn about_everybody(&mut self) -> FindingWriter<'_> {
        FindingWriter { verdict: self, worker_type: None }
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
        self.verdict.findings.push(Finding {
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
        self.verdict.checked.push(PassedCheck {
            worker_type: self.worker_type.clone(),
            kind,
            subject: subject.into(),
            text: text.into(),
        });
    }

    /// A look-up that did not bring what it was made for. `fix` is for the case that AWS knows no
    /// such thing.
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
                let text = format!("{operation} was not answered: {}", said(refusal));
                let fix = if needed == CallNeed::Optional {
                    "try where this service can be reached"
                } else {
                    self.verdict.unanswered += 1;
                    "try again later"
                };
                self.find(Severity::NotCheckable, kind, subject, text, fix);
            }
            RefusalClass::Unauthorized if needed == CallNeed::Run => self.error(
                kind,
                subject,
                format!("`run` needs {operation}, which is refused: {}", said(refusal)),
                format!("allow {operation}: `provisionerd iam-policy` prints what is needed"),
            ),
            RefusalClass::Unauthorized => self.find(
                Severity::NotCheckable,
                kind,
                subject,
                format!("these credentials may not call {operation}"),
                format!("validate with credentials that may; `run` does without {operation}"),
            ),
            RefusalClass::NoCapacity
            | RefusalClass::Quota
            | RefusalClass::NotFound
            | RefusalClass::UnknownProfile
            | RefusalClass::Invalid
            | RefusalClass::IdempotentMismatch => self.error(kind, subject, said(refusal), fix),
        }
    }

    /// Whether an error about this worker type, or about everybody, was found already.
    pub(super) fn has_errors(&self) -> bool {
        self.verdict.findings.iter().any(|finding| {
            finding.severity == Severity::Error
                && (finding.worker_type.is_none() || finding.worker_type == self.worker_type)
        })
    }
}

/// What AWS said, without what only a machine reads: the authorization message is encoded, and long.
pub(super) fn said(refusal: &Refusal) -> String {
    let message = refusal.message.split("Encoded authorization failure message").next();
    let message = message.unwrap_or_default().trim();
    if refusal.code == UNRESOLVED {
        return message.to_owned();
    }
    if message.is_empty() { refusal.code.clone() } else { format!("{}: {message}", refusal.code) }
}
