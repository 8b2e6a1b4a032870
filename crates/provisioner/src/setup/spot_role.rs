//! The service-linked role for spot requests.

use super::{SetupReport, SetupWarning, SpotRoleState};
use crate::aws::{Client, Ensured};
use crate::domain::launch::SPOT_ROLE;

/// Makes sure that it exists, or in a dry run only checks. A failure is a warning in the report, since the
/// role may exist even if these credentials may not read it.
pub(super) async fn ensure(client: &Client, report: &mut SetupReport) {
    let found = if report.dry_run {
        let found = client.has_spot_role().await;
        found.map(|there| if there { SpotRoleState::Exists } else { SpotRoleState::Absent })
    } else {
        let ensured = client.ensure_spot_role().await;
        ensured.map(|ensured| match ensured {
            Ensured::Created => SpotRoleState::Made,
            Ensured::Unchanged => SpotRoleState::Exists,
        })
    };
    match found {
        Ok(found) => report.spot_role = found,
        Err(error) => report.warnings.push(SetupWarning {
            message: format!(
                "it is not known whether the account has the service-linked role `{SPOT_ROLE}`, without \
                 which EC2 refuses spot requests: {error}"
            ),
            hint: "an administrator runs once: aws iam create-service-linked-role --aws-service-name \
                   spot.amazonaws.com (\"has been taken in this account\" means that it is there)"
                .to_owned(),
        }),
    }
}
