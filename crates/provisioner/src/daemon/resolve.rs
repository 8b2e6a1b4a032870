//! What worker types name in AWS (image parameters, security groups, subnets), looked up now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::aws::Client;
use crate::domain::error_chain::error_chain;
use crate::domain::ids::WorkerTypeName;
use crate::domain::launch::ResolvedWorkerType;
use crate::engine::Resolved;
use crate::settings::Settings;

/// A public image parameter changes every few days; a new image need not be used within seconds.
const REFRESH_AFTER: Duration = Duration::from_mins(10);
/// A name that does not resolve may be about to be created. Doubled with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Look-ups at a time: well within the burst that EC2 allows describing calls.
const AT_ONCE: usize = 8;
/// What is not answered by then is looked up in a later round: no worker type waits for another's names.
const PATIENCE: Duration = Duration::from_secs(15);

type Answer = (WorkerTypeName, Result<ResolvedWorkerType, String>);

/// Notes which volumes of the images would outlive their instances, with one call for all images.
async fn add_lasting_devices(answers: &mut [Answer], client: &Client, until: Instant) {
    let resolved = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let images: BTreeSet<_> = resolved.map(|resolved| resolved.image_id.clone()).collect();
    let images: Vec<_> = images.into_iter().collect();
    if images.is_empty() {
        return;
    }
    let devices = timeout_at(until, client.lasting_devices(&images)).await.unwrap_or_default();
    for resolved in answers.iter_mut().filter_map(|(_, answer)| answer.as_mut().ok()) {
        let lasting = devices.get(&resolved.image_id).cloned();
        resolved.lasting_devices = lasting.unwrap_or_default();
    }
}

/// What worker types name in AWS, and when each is to be looked up next.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    resolved: Resolved,
    known: BTreeMap<WorkerTypeName, Known>,
}

#[derive(Debug)]
struct Known {
    next: Instant,
    failures: u32,
    /// The last good answer, used on while a later look-up fails.
    good: Option<ResolvedWorkerType>,
}

impl Resolver {
    /// Forgets the worker types that `keep` does not name: they are looked up at once.
    pub(super) fn keep(&mut self, keep: impl Fn(&WorkerTypeName) -> bool) {
        self.known.retain(|name, _| keep(name));
        self.resolved.retain(|name, _| keep(name));
    }

    /// What is known now, as of the last look-up.
    pub(super) fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// Looks up the worker types that are due. A failure concerns that type alone.
    pub(super) async fn run(&mut self, settings: &Settings, client: &Client) {
        let until = Instant::now() + PATIENCE;
        let is_due = |name: &WorkerTypeName| {
            self.known.get(name).is_none_or(|known| known.next <= Instant::now())
        };
        let due: Vec<_> = settings.worker_types.iter().filter(|(name, _)| is_due(name)).collect();
        if due.is_empty() {
            return;
        }
        let worker_types: Vec<_> = due.iter().map(|(_, worker_type)| *worker_type).collect();
        let places = timeout_at(until, client.known_places(&worker_types)).await;
        let places = Arc::new(places.unwrap_or_default());
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        let mut look_ups = JoinSet::new();
        for (name, worker_type) in due {
            let user_data = settings
                .render_user_data(name, client.region())
                .map_err(|error| error_chain(&error));
            let (client, name, worker_type) = (client.clone(), name.clone(), worker_type.clone());
            let seats = Arc::clone(&seats);
            let places = Arc::clone(&places);
            look_ups.spawn(async move {
                let look = async {
                    let user_data = user_data?;
                    let _seat = seats.acquire().await;
                    let resolved = client.resolve(&worker_type, &places).await;
                    resolved
                        .map(|resolved| ResolvedWorkerType { user_data, ..resolved })
                        .map_err(|error| error_chain(&error))
                };
                let late = || {
                    Err(format!("its names in AWS were not known after {}s", PATIENCE.as_secs()))
                };
                let answer = timeout_at(until, look).await.unwrap_or_else(|_| late());
                (name, answer)
            });
        }
        let mut answers = look_ups.join_all().await;
        answers.sort_by(|(a, _), (b, _)| a.cmp(b));
        add_lasting_devices(&mut answers, client, until).await;
        for (name, answer) in answers {
            let answer = self.remember(&name, answer);
            self.resolved.insert(name, answer);
        }
    }

    /// Notes when to look `name` up again. Returns what is to be used until then.
    fn remember(
        &mut self,
        name: &WorkerTypeName,
        answer: Result<ResolvedWorkerType, String>,
    ) -> Result<ResolvedWorkerType, String> {
        let now = Instant::now();
        let known =
            self.known.entry(name.clone()).or_insert(Known { next: now, failures: 0, good: None });
        match answer {
            Ok(resolved) => {
                *known =
                    Known { next: now + REFRESH_AFTER, failures: 0, good: Some(resolved.clone()) };
                Ok(resolved)
            }
            Err(why) => {
                let pause = FIRST_RETRY.saturating_mul(1 << known.failures.min(6));
                known.next = now + pause.min(REFRESH_AFTER);
                known.failures = known.failures.saturating_add(1);
                match &known.good {
                    Some(good) => {
                        tracing::warn!(worker_type = %name, error = why, "the last known names of `{name}` are used on: {why}");
                        Ok(good.clone())
                    }
                    None => Err(why),
                }
            }
        }
    }
}
