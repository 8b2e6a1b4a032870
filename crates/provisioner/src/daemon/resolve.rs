//! What worker types name in AWS (image parameters, security groups, subnets), looked up now and then.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_smithy_types::base64;
use tokio::time::Instant;

use crate::aws::Client;
use crate::demand::Demand;
use crate::ids::WorkerTypeName;
use crate::launch::ResolvedWorkerType;
use crate::settings::Settings;

/// A public image parameter changes every few days; a new image need not be used within seconds.
const REFRESH_AFTER: Duration = Duration::from_mins(10);
/// A name that does not resolve may be about to be created.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// When each worker type is to be looked up next.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    next: BTreeMap<WorkerTypeName, Instant>,
    /// The last good answer, used on while a later look-up fails.
    good: BTreeMap<WorkerTypeName, ResolvedWorkerType>,
}

type Answer = (WorkerTypeName, Result<ResolvedWorkerType, String>);

impl Resolver {
    /// Looks up the worker types that may launch and are due. A failure concerns that type alone.
    pub(super) async fn run(
        &mut self,
        settings: &Settings,
        client: &Client,
        demand: Option<&Demand>,
    ) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (name, worker_type) in &settings.worker_types {
            let pending = demand.is_some_and(|demand| demand.pending.contains_key(name));
            let needed = pending || worker_type.min_instances > 0 || self.good.contains_key(name);
            if !needed || self.next.get(name).is_some_and(|at| Instant::now() < *at) {
                continue;
            }
            let user_data = match settings.render_user_data(name, client.region()) {
                Ok(user_data) => user_data.map(base64::encode),
                Err(error) => {
                    answers.push((name.clone(), Err(super::chain(&error))));
                    continue;
                }
            };
            let (answer, pause) = match client.resolve(worker_type).await {
                Ok(resolved) => {
                    let resolved = ResolvedWorkerType { user_data, ..resolved };
                    self.good.insert(name.clone(), resolved.clone());
                    (Ok(resolved), REFRESH_AFTER)
                }
                Err(error) => {
                    let text = super::chain(&error);
                    match self.good.get(name) {
                        Some(good) => {
                            tracing::warn!(worker_type = %name, error = text, "the last known names are used on");
                            (Ok(good.clone()), RETRY_AFTER)
                        }
                        None => (Err(text), RETRY_AFTER),
                    }
                }
            };
            self.next.insert(name.clone(), Instant::now() + pause);
            answers.push((name.clone(), answer));
        }
        answers
    }
}
