//! What worker types name in AWS (image parameters, security groups, subnets), looked up now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::aws::{Client, KnownPlaces, NotRead};
use crate::domain::error_chain::error_chain;
use crate::domain::ids::WorkerTypeName;
use crate::domain::launch::ResolvedWorkerType;
use crate::engine::Resolved;
use crate::settings::{Settings, WorkerType};

/// A public image parameter changes every few days; a new image need not be used within seconds.
const REFRESH_AFTER: Duration = Duration::from_mins(10);
/// A name that does not resolve may be about to be created. Doubled with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Look-ups at a time: well within the burst that EC2 allows describing calls.
const AT_ONCE: usize = 8;
/// What is not answered by then is looked up in a later round: no worker type waits for another's names.
const PATIENCE: Duration = Duration::from_secs(15);

/// What all worker types share is not waited for as long, so that it leaves time for the names of each.
const PLACES_PATIENCE: Duration = Duration::from_secs(5);
/// Launches can do without this knowledge.
const LASTING_DEVICES: &str = "the volumes of the images that would outlive their instances";

type Answer = (WorkerTypeName, Result<ResolvedWorkerType, String>);

/// What worker types name in AWS, and when each is to be looked up next.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    resolved: Resolved,
    known: BTreeMap<WorkerTypeName, Known>,
    /// As of the last look-up.
    places: Arc<KnownPlaces>,
    /// The devices of each image whose volumes would outlive their instance. An image never changes.
    lasting_devices: BTreeMap<String, Vec<String>>,
    /// What could not be read and was reported, so that it is reported once.
    reported: BTreeSet<&'static str>,
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
        self.look_up_places(&worker_types, client).await;
        let places = Arc::clone(&self.places);
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
        self.add_lasting_devices(&mut answers, client, until).await;
        for (name, answer) in answers {
            let answer = self.remember(&name, answer);
            self.resolved.insert(name, answer);
        }
    }

    /// Looks up what all worker types share. What is not answered stays as it was.
    async fn look_up_places(&mut self, worker_types: &[&WorkerType], client: &Client) {
        let until = Instant::now() + PLACES_PATIENCE;
        let Ok((places, not_read)) = timeout_at(until, client.known_places(worker_types)).await
        else {
            let seconds = PLACES_PATIENCE.as_secs();
            let why = format!("EC2 did not answer within {seconds}s");
            self.report_unknown("the places in which to launch", &why);
            return;
        };
        self.reported.retain(|what| {
            *what == LASTING_DEVICES || not_read.iter().any(|failed| failed.what == *what)
        });
        for NotRead { what, error } in &not_read {
            self.report_unknown(what, &error_chain(error));
        }
        self.places = Arc::new(places.or_earlier(&self.places, &not_read));
    }

    /// Notes which volumes of the images would outlive their instances, with one call for all images that are
    /// new.
    async fn add_lasting_devices(
        &mut self,
        answers: &mut [Answer],
        client: &Client,
        until: Instant,
    ) {
        let resolved = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let images: BTreeSet<_> = resolved.map(|resolved| resolved.image_id.clone()).collect();
        let is_new = |image: &String| !self.lasting_devices.contains_key(image);
        let images: Vec<_> = images.into_iter().filter(is_new).collect();
        if !images.is_empty() {
            match timeout_at(until, client.lasting_devices(&images)).await {
                Ok(Ok(found)) => {
                    self.reported.remove(LASTING_DEVICES);
                    self.lasting_devices.extend(found);
                }
                Ok(Err(error)) => self.report_unknown(LASTING_DEVICES, &error_chain(&error)),
                Err(_) => self.report_unknown(LASTING_DEVICES, "EC2 did not answer in time"),
            }
        }
        for resolved in answers.iter_mut().filter_map(|(_, answer)| answer.as_mut().ok()) {
            let lasting = self.lasting_devices.get(&resolved.image_id).cloned();
            resolved.lasting_devices = lasting.unwrap_or_default();
        }
    }

    /// Warns that something is not known, once until it is known again.
    fn report_unknown(&mut self, what: &'static str, why: &str) {
        if self.reported.insert(what) {
            tracing::warn!(
                error = why,
                "{what} could not be read, and launches go on without them: {why}"
            );
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
