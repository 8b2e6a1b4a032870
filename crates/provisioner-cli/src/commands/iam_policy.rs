//! `provisionerd iam-policy`: the least-privilege IAM policy for this configuration.

use std::fmt;

use provisioner::internal::aws::iam_policy::{
    self, IamPolicy, NoKeyName, PolicyProgram, PolicyRequest, PolicyWarning,
};
use provisioner::internal::domain::ids::KeyName;

use super::config;
use crate::args::{IamPolicyArgs, PolicyFor};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::load;
use crate::output::Report;

/// Prints the policy, and on stderr a warning for everything that it has to allow beyond the need.
pub(super) fn iam_policy(
    args: &IamPolicyArgs,
    mut context: Context,
) -> Result<ExitStatus, Failure> {
    let IamPolicyArgs { program, prefix, with_worker_profile, key_names, worker_roles } = args;
    let for_setup =
        [("--prefix", prefix.is_some()), ("--with-worker-profile", *with_worker_profile)];
    let for_cleanup = [("--key-name", !key_names.is_empty())];
    only_with(*program, PolicyFor::Setup, &for_setup)?;
    only_with(*program, PolicyFor::Cleanup, &for_cleanup)?;

    let loaded = load::load_config(&context)?;
    let region = config::region(&loaded, &context.environment);
    let settings = loaded.settings;
    let region = region.as_deref();
    if let Some(region) = region {
        load::same_region(&settings, region)?;
    }
    let request = PolicyRequest {
        program: match program {
            PolicyFor::Run => PolicyProgram::Run,
            PolicyFor::Setup => PolicyProgram::Setup,
            PolicyFor::Cleanup => PolicyProgram::Cleanup,
        },
        settings: &settings,
        region,
        prefix: prefix.as_deref().unwrap_or(KeyName::DEFAULT_PREFIX),
        worker_profile: *with_worker_profile,
        key_names,
        worker_roles,
    };
    let policy = iam_policy::policy(&request).map_err(|NoKeyName| load::no_key_name())?;
    for PolicyWarning { kind: _, text, hint } in &policy.warnings {
        context.notices.warning(text, hint);
    }
    context.output.report(&policy)?;
    Ok(ExitStatus::DONE)
}

/// Refuses flags that only have a meaning for another program.
fn only_with(program: PolicyFor, with: PolicyFor, flags: &[(&str, bool)]) -> Result<(), Failure> {
    let word = if with == PolicyFor::Setup { "setup" } else { "cleanup" };
    match flags.iter().find(|(_, given)| *given && program != with) {
        None => Ok(()),
        Some((flag, _)) => Err(Failure::usage(format!("{flag} goes with `--for {word}` only"))
            .with_hint(format!("leave it out, or add `--for {word}`"))),
    }
}

impl Report for IamPolicy {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.policy.to_text())
    }
}
