//! Makes the workers' IAM role and instance profile, undoes that, and waits until IAM shows them.

use super::{SetupCause, SetupReport, SetupWarning};
use crate::aws::{Client, Ensured, Error, IAM_PAUSES};
use crate::config::edit::Saved;
use crate::domain::ids::KeyName;
use crate::domain::observed::Whose;

/// What this run has made of the worker profile.
#[derive(Default)]
pub(super) struct MadeProfile {
    role: Made,
    instance_profile: Made,
    /// Whether the role was put into the profile.
    joined: Made,
}

/// Whether a resource was made.
#[derive(Clone, Copy, Default, PartialEq)]
enum Made {
    #[default]
    No,
    /// Unknown, since there was no answer.
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

/// Makes the role and the instance profile, and puts the role into the profile.
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
    /// Undoes it. Returns what could not be undone, for people.
    pub(super) async fn undo(self, client: &Client, key_name: &KeyName) -> Vec<String> {
        let mut left = Vec::new();
        let mut step = |what: &str, result: Result<bool, Error>| {
            if let Err(error) = result {
                left.push(format!("{what} `{key_name}` ({error})"));
            }
        };
        // Without reading first, since IAM may not show yet what was just made.
        if self.joined != Made::No {
            let removed = client.remove_role(key_name, key_name.as_str()).await;
            step("IAM role in the instance profile", removed);
        }
        if self.instance_profile != Made::No {
            let was_made = self.instance_profile == Made::Yes;
            step("instance profile", client.delete_instance_profile(key_name, was_made).await);
        }
        if self.role != Made::No {
            let was_made = self.role == Made::Yes;
            step("IAM role", client.delete_role(key_name, was_made).await);
        }
        left
    }
}

/// Returns whether a role or instance profile of an earlier key-name exists. If IAM does not answer, the
/// configuration file decides.
pub(super) async fn is_left(client: &Client, key_name: &KeyName, saved: &Saved) -> bool {
    match client.worker_profile(key_name).await {
        Ok(found) => [found.role, found.instance_profile].contains(&Whose::Ours),
        Err(error) => {
            tracing::debug!(%error, "IAM does not say whether something of `{key_name}` is left");
            saved.iam_instance_profile.as_ref().is_some_and(|profile| saved.made_profile(profile))
        }
    }
}

/// Waits until IAM shows the worker profile of `report` with its role, if there is one. Gives up after half
/// a minute with a warning in the report. Changes nothing.
///
/// EC2 may learn of the profile still later. Only a launch would show that, which needs an image and more
/// permissions than setup has, so the engine waits for it.
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
            // The profile was made, and checking is not worth more than one try.
            Err(error) => break error.to_string(),
        };
        let Some(pause) = pauses.next() else { break problem };
        progress(&format!("waiting for IAM to show the instance profile `{name}`"));
        tokio::time::sleep(pause).await;
    };
    report.warnings.push(SetupWarning {
        message: format!("the instance profile `{name}` may not be usable yet: {problem}"),
        hint:
            "`provisionerd run` waits for it; `provisionerd validate --aws` shows whether it exists"
                .to_owned(),
    });
}
