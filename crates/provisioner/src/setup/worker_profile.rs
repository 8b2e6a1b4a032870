//! The workers' IAM role and instance profile: made, undone, waited for.

use super::{SetupCause, SetupReport, SetupWarning};
use crate::aws::{Client, Ensured, Error, IAM_PAUSES};
use crate::config::edit::Saved;
use crate::domain::ids::KeyName;
use crate::domain::observed::Whose;

/// What of a worker profile exists because of us.
#[derive(Default)]
pub(super) struct MadeProfile {
    role: Made,
    instance_profile: Made,
    /// The role is in the profile.
    joined: Made,
}

/// Whether something was made.
#[derive(Clone, Copy, Default, PartialEq)]
enum Made {
    #[default]
    No,
    /// No answer came.
    Perhaps,
    Yes,
}

impl Made {
    fn by(result: &Result<Ensured, Error>) -> Self {
        match result {
            Ok(_) => Self::Yes,
            Err(error) if error.class().is_definite() => Self::No,
            Err(_) => Self::Perhaps,
        }
    }
}

/// Makes the role, the instance profile, and puts the one into the other.
pub(super) async fn make(
    client: &Client,
    key_name: &KeyName,
    made: &mut MadeProfile,
) -> Result<(), (&'static str, SetupCause)> {
    let failed = |attempt| move |error| (attempt, SetupCause::Aws(error));
    let result = client.create_role(key_name).await;
    made.role = Made::by(&result);
    result.map_err(failed("make the IAM role"))?;
    let result = client.create_instance_profile(key_name).await;
    made.instance_profile = Made::by(&result);
    result.map_err(failed("make the instance profile"))?;
    let result = client.add_role(key_name).await;
    made.joined = Made::by(&result);
    result.map_err(failed("put the IAM role into the instance profile"))?;
    Ok(())
}

impl MadeProfile {
    /// Takes it back. Returns what stays, in words.
    pub(super) async fn undo(self, client: &Client, key_name: &KeyName) -> Vec<String> {
        let mut left = Vec::new();
        let mut step = |what: &str, result: Result<bool, Error>| {
            if let Err(error) = result {
                left.push(format!("{what} `{key_name}` ({error})"));
            }
        };
        // No look first: what was just made may not show yet.
        if self.joined != Made::No {
            let removed = client.remove_role(key_name, key_name.as_str()).await;
            step("IAM role in the instance profile", removed);
        }
        if self.instance_profile != Made::No {
            let surely = self.instance_profile == Made::Yes;
            step("instance profile", client.delete_instance_profile(key_name, surely).await);
        }
        if self.role != Made::No {
            let surely = self.role == Made::Yes;
            step("IAM role", client.delete_role(key_name, surely).await);
        }
        left
    }
}

/// Whether a role or instance profile of an earlier key-name is there. If nobody can tell, what the file
/// says stands.
pub(super) async fn is_left(client: &Client, key_name: &KeyName, saved: &Saved) -> bool {
    match client.worker_profile(key_name).await {
        Ok(found) => [found.role, found.instance_profile].contains(&Whose::Ours),
        Err(error) => {
            tracing::debug!(%error, "IAM does not say whether something of `{key_name}` is left");
            saved.iam_instance_profile.as_ref().is_some_and(|profile| saved.made_profile(profile))
        }
    }
}

/// Waits until IAM shows the worker profile that `report` tells of, if any, with the role in it: half a
/// minute at most, after which the report warns. Changes nothing.
///
/// EC2 may hear of it still later, and only a launch would tell, for which an image is needed and more
/// permissions than setup has: the engine waits for that.
pub(super) async fn wait(
    client: &Client,
    report: &mut SetupReport,
    progress: &mut (dyn FnMut(&str) + Send),
) {
    let Some(name) = report.iam_instance_profile.clone().filter(|_| !report.dry_run) else {
        return;
    };
    let mut pauses = IAM_PAUSES.into_iter();
    let problem = loop {
        let problem = match client.instance_profile(name.as_str()).await {
            Ok(Some(profile)) if profile.has_role => return,
            Ok(_) => "IAM does not show it yet".to_owned(),
            // It was made; whether it shows is not worth more than a try.
            Err(error) => break error.to_string(),
        };
        let Some(pause) = pauses.next() else { break problem };
        progress(&format!("waiting for IAM to show the instance profile `{name}`"));
        tokio::time::sleep(pause).await;
    };
    report.warnings.push(SetupWarning {
        message: format!("the instance profile `{name}` may not be usable yet: {problem}"),
        hint: "`provisionerd run` waits for it; `provisionerd validate --aws` tells whether it is there"
            .to_owned(),
    });
}
