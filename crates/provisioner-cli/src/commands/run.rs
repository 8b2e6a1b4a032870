//! `provisionerd run`: the loop, or one round of it.

use crate::args::RunArgs;
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};

#[cfg(not(feature = "aws"))]
#[expect(clippy::unused_async, reason = "with AWS it waits")]
pub(crate) async fn run(_: RunArgs, _: Context) -> Result<ExitStatus, Failure> {
    Err(super::needs_aws("`provisionerd run`"))
}

#[cfg(feature = "aws")]
pub(crate) use with_aws::run;

#[cfg(feature = "aws")]
mod with_aws {
    use std::pin::pin;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use jiff::Timestamp;
    use provisioner::internal::config;
    use provisioner::internal::daemon::{Daemon, MissingLedger, RoundEnd};
    use provisioner::internal::domain::plural;
    use provisioner::internal::engine::NoteKind;
    use provisioner::internal::queue::Queue;
    use provisioner::internal::settings::Settings;
    use provisioner::internal::status::StatusPicture;
    use tokio::sync::{Notify, watch};
    use tokio_util::sync::CancellationToken;

    use super::{Context, ExitStatus, Failure, RunArgs};
    use crate::args::OutputFormat;
    use crate::connect::{self, Connection, NotConnected};
    use crate::health::Health;
    use crate::metrics::Metrics;
    use crate::notify::Notifier;
    use crate::reload::reload_at;
    use crate::render::PlanView;
    use crate::{descriptors, load, notify, server, signals, workers};

    /// The pauses between attempts to connect while AWS does not answer: doubled each time, so that an
    /// outage of seconds delays the start by seconds, and a long one costs one call a minute.
    const FIRST_PAUSE: Duration = Duration::from_secs(1);
    const LONGEST_PAUSE: Duration = Duration::from_mins(1);

    /// Runs rounds until it is stopped, or a single one.
    pub(crate) async fn run(args: RunArgs, context: Context) -> Result<ExitStatus, Failure> {
        let loaded = load::load_config(&context)?;
        load::key_name(&loaded.settings)?;
        load::known_profile(&loaded, &context)?;
        let config::Loaded { settings, entries, .. } = loaded;
        let settings = Arc::new(settings);
        let stop = signals::listen()?;
        descriptors::raise_limit();
        let hang_ups = if args.once { None } else { Some(signals::hang_ups(stop.clone())?) };
        let mut notifier = Notifier::default();
        let Some(connection) = connect(&settings, args.once, &stop, &mut notifier).await? else {
            return Ok(ExitStatus::DONE);
        };
        let attempts = connection.client.call_counter().clone();
        let daemon = open(&settings, connection, args)?;
        let metrics = Arc::new(Metrics::new(attempts, daemon.stop_listener().cloned(), &settings));
        let Some(hang_ups) = hang_ups else {
            return once(daemon, context, args, &stop).await;
        };
        let reloading = Reloading { hang_ups: &hang_ups, context: &context, entries };
        forever(daemon, &settings, &stop, reloading, metrics, notifier).await
    }

    /// Connects to AWS. Returns `None` if it was stopped before AWS answered.
    async fn connect(
        settings: &Settings,
        once: bool,
        stop: &CancellationToken,
        notifier: &mut Notifier,
    ) -> Result<Option<Connection>, Failure> {
        let mut pause = FIRST_PAUSE;
        let mut logged = String::new();
        loop {
            let connected = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                connected = connect::connect(settings) => connected,
            };
            match connected {
                Ok(connection) => return Ok(Some(connection)),
                // A daemon survives an outage at its start as it does a later one.
                Err(NotConnected::Unanswered(failure)) if !once => {
                    let why = failure.to_string();
                    if why == logged {
                        tracing::debug!("{why}; trying again in {}s", pause.as_secs());
                    } else {
                        tracing::error!("{why}; trying again until AWS answers");
                        logged = why;
                    }
                    notifier.still_starting(&format!("waiting for AWS: {failure}"));
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Ok(None),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(not_connected) => return Err(not_connected.into()),
            }
        }
    }

    fn open(
        settings: &Arc<Settings>,
        connection: Connection,
        args: RunArgs,
    ) -> Result<Daemon<Queue>, Failure> {
        let state_dir = connection.state_dir(settings)?;
        let queue = Queue::from_settings(settings)
            .map_err(|error| Failure::from_error(ExitStatus::USAGE, &error))?;
        let Connection { client, key_name, .. } = connection;
        let settings = Arc::clone(settings);
        let absent = if args.assume_clean { MissingLedger::IsClean } else { MissingLedger::IsLost };
        let opened = if args.dry_run {
            Daemon::dry_run(settings, key_name, client, queue, &state_dir, absent)
        } else {
            Daemon::open(settings, key_name, client, queue, &state_dir, absent)
        };
        let mut daemon = opened.map_err(|error| connect::state_dir_failure(&error))?;
        if args.assume_alone {
            daemon.assume_alone();
        }
        Ok(daemon)
    }

    async fn once(
        mut daemon: Daemon<Queue>,
        mut context: Context,
        args: RunArgs,
        stop: &CancellationToken,
    ) -> Result<ExitStatus, Failure> {
        let (view, plan, incomplete) = match daemon.round(stop).await {
            RoundEnd::Stopped => return Ok(ExitStatus::DONE),
            RoundEnd::Failed { error, .. } => {
                return Err(Failure::from_error(ExitStatus::FAILED, &error)
                    .with_hint(error.hint().unwrap_or_default()));
            }
            RoundEnd::Planned(plan) => (PlanView::of_plan(&plan, Timestamp::now()), plan, false),
            RoundEnd::Done(report) => {
                let view = PlanView::of_report(&report, Timestamp::now());
                (view, report.plan, report.incomplete)
            }
        };
        // In text form the log has reported it already, except for a dry run, which did nothing else.
        if args.dry_run || context.globals.output == OutputFormat::Json {
            context.output.report(&view)?;
        }
        if let Some(note) = plan.notes.iter().find(|note| note.kind == NoteKind::DemandUnknown) {
            return Err(Failure::failed(note.text.clone()));
        }
        // The exit code must report a lost ledger even if there was no demand to withhold launches from.
        let held = daemon.held_until();
        let has_note = |kind| plan.notes.iter().any(|note| note.kind == kind);
        if let Some(until) = held.filter(|_| !has_note(NoteKind::LedgerLost)) {
            tracing::warn!(
                "the in-flight ledger was lost: nothing is launched before {until} (`--assume-clean` \
                 overrides)"
            );
        }
        Ok(if incomplete || held.is_some() || plan.notes.iter().any(|note| note.kind.withholds()) {
            ExitStatus::PARTLY
        } else {
            ExitStatus::DONE
        })
    }

    /// What reloads need besides the daemon.
    struct Reloading<'a> {
        hang_ups: &'a Notify,
        context: &'a Context,
        /// The configuration in force.
        entries: Vec<config::Entry>,
    }

    async fn forever(
        mut daemon: Daemon<Queue>,
        settings: &Settings,
        stop: &CancellationToken,
        reloading: Reloading<'_>,
        metrics: Arc<Metrics>,
        mut notifier: Notifier,
    ) -> Result<ExitStatus, Failure> {
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            queue = settings.queue.base_url,
            worker_types = settings.worker_types.len(),
            "started: {}, tasks from {}",
            plural::count(settings.worker_types.len(), "worker type"),
            settings.queue.base_url
        );
        let wake = Arc::new(Notify::new());
        let (health_sender, health) =
            watch::channel(Health::starting(settings.provisioner.interval));
        let (picture_sender, picture) =
            watch::channel(StatusPicture::new(settings.worker_types.keys()));
        let mut attending = pin!(notify::attend(health.clone(), stop));
        let links = server::Links {
            wake: Arc::clone(&wake),
            health,
            picture,
            metrics: Arc::clone(&metrics),
        };
        let listening = CancellationToken::new();
        let server = server::start(&settings.server, links, listening.clone()).await?;
        if let (Some(workers), Some(stop_listener)) =
            (&settings.server.workers, daemon.stop_listener())
        {
            let links =
                workers::Links { stop_listener: stop_listener.clone(), wake: Arc::clone(&wake) };
            workers::start(workers, links, listening.clone()).await?;
        }
        let Reloading { hang_ups, context, entries } = reloading;
        let reloading = reload_at(hang_ups, context, daemon.reloader(), entries, |last| {
            metrics.reloaded(last.failure.is_none());
            health_sender.send_modify(|health| health.reload_failure.clone_from(&last.failure));
            picture_sender.send_modify(|picture| picture.reloaded(last.clone()));
        });
        let running = Box::pin(daemon.run(stop, &wake, |turn| {
            metrics.update(&turn, Instant::now());
            health_sender.send_modify(|health| health.update(&turn));
            picture_sender.send_modify(|picture| turn.show(picture));
            notifier.round(&turn);
        }));
        let ended = tokio::select! {
            never = &mut attending => match never {},
            ended = running => ended,
            never = reloading => match never {},
        };
        // The loop may see the signal first. Then this poll tells the service manager that we are stopping.
        stop.cancel();
        tokio::select! {
            biased;
            never = attending => match never {},
            () = std::future::ready(()) => {}
        }
        listening.cancel();
        if let Some(server) = server {
            server.ended().await;
        }
        match ended {
            Ok(()) => {
                tracing::info!("stopped; instances and requests are left as they are");
                Ok(ExitStatus::DONE)
            }
            Err(error) => Err(Failure::from_error(ExitStatus::FAILED, &error)),
        }
    }
}
