//! `provisionerd demo`: shows the engine at work on the simulated EC2.

use std::io::{self, IsTerminal as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner_sim::demo::{Demo, Line};
use provisioner_sim::deployment::start;
#[cfg(feature = "aws")]
use provisioner_sim::http_server::{Doors, HttpServer};
#[cfg(feature = "aws")]
use provisioner_sim::world::World;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::{DemoArgs, OutputFormat, Speed};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::output::Output;
use crate::render::demo::{Frame, SummaryView, line, state};
use crate::screen::{Screen, Size};
use crate::signals;
use crate::style::Paint;

/// The time between two frames; nobody can read faster.
const FRAME: Duration = Duration::from_millis(100);
/// The simulated time between two lines with the current state.
const STATE: Duration = Duration::from_mins(15);

/// Shows a demonstration and its summary.
pub(crate) async fn demo(args: DemoArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let stop = signals::listen()?;
    // Programs to which it is served compare its times with their own clock.
    let begins = if args.serve_ec2.is_some() { Timestamp::now() } else { start() };
    let pace = Pace { began: begins, started: Instant::now(), speed: args.speed };
    let demo = Stand::new(Demo::new(args.seed, begins, args.length), pace);
    if let Some(port) = args.serve_ec2 {
        let endpoint = demo.serve(port, &stop).await?;
        context.notices.progress(usage(&endpoint));
    }
    let json = context.globals.output == OutputFormat::Json;
    let mut stage = match Size::of_stdout() {
        _ if json => Stage::Silent,
        Some(_) => {
            let no_color = context.environment.get("NO_COLOR").map(AsRef::as_ref);
            let is_terminal = io::stdout().is_terminal();
            let paint = Paint::decide(context.globals.color, no_color, is_terminal);
            let frame = Frame::new(format!("a simulated EC2, {}; Ctrl-C to end", pace.speed()));
            Stage::Terminal {
                frame: Box::new(frame),
                screen: Screen::default(),
                paint,
                drawn: None,
            }
        }
        None => Stage::Lines { last_state: None },
    };
    loop {
        let next = demo.lock().next_round();
        let Some(next) = next else {
            let mut demo = demo.lock();
            let lines = demo.finish();
            stage.show(&demo, lines, &mut context.output)?;
            break;
        };
        if !pace.until(next, &stop).await || context.output.is_closed() {
            break;
        }
        let mut demo = demo.lock();
        let mut lines = demo.advance(next);
        lines.extend(demo.round());
        stage.show(&demo, lines, &mut context.output)?;
    }
    let demo = demo.lock();
    stage.end(&demo, &mut context.output)?;
    context.output.report(&SummaryView::new(args.seed, demo.summary()))?;
    if !json {
        context.notices.progress("\nTo use your own account, see `setup-aws --help` and README.md");
    }
    Ok(ExitStatus::DONE)
}

/// The demonstration, shared with the server, which reads and changes its world between two steps.
#[derive(Clone)]
struct Stand {
    demo: Arc<Mutex<Demo>>,
    #[cfg(feature = "aws")]
    pace: Pace,
}

#[cfg(feature = "aws")]
impl Doors for Stand {
    fn enter<T>(&self, what: impl FnOnce(&mut World) -> T) -> T {
        let mut demo = self.lock();
        if let Some(now) = self.pace.now() {
            demo.catch_up(now);
        }
        what(demo.world_mut())
    }
}

impl Stand {
    #[cfg_attr(
        not(feature = "aws"),
        expect(unused_variables, reason = "nobody calls from outside")
    )]
    fn new(demo: Demo, pace: Pace) -> Self {
        Self {
            demo: Arc::new(Mutex::new(demo)),
            #[cfg(feature = "aws")]
            pace,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Demo> {
        self.demo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves its EC2 and a queue until `stop`, and returns the endpoint.
    #[cfg(feature = "aws")]
    async fn serve(&self, port: u16, stop: &CancellationToken) -> Result<String, Failure> {
        let loopback = HttpServer::bind(port).await.map_err(|error| {
            Failure::failed(format!("failed to listen on 127.0.0.1:{port}"))
                .caused_by(&error)
                .with_hint("name another port, or use `--serve-ec2 0` for a free one")
        })?;
        let endpoint = loopback.endpoint();
        let serving = loopback.serve_world(self.clone(), stop.clone().cancelled_owned());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(error = %error, "the simulated EC2 is no longer served: {error}");
            }
        });
        Ok(endpoint)
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with AWS it waits")]
    async fn serve(&self, _: u16, _: &CancellationToken) -> Result<String, Failure> {
        Err(super::needs_aws("`demo --serve-ec2`"))
    }
}

/// Returns what to type in another terminal.
fn usage(endpoint: &str) -> String {
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    format!(
        "\
The simulated EC2 and a queue answer at
  {endpoint}
In another terminal, in an empty directory:
  export AWS_ENDPOINT_URL={endpoint} AWS_REGION=us-west-2 AWS_DEFAULT_REGION=us-west-2
  export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any
  setup-aws
  cat >>provisioner.toml <<'END'

[queue]
host = \"127.0.0.1\"
port = {port}

[worker-types.linux]
image-id = \"ami-1\"
instance-types = [\"c7g.large\", \"m7g.large\"]
max-price = 0.08
max-instances = 4
END
  provisionerd run
Tasks for it:
  curl -d '{{\"workerType\":\"linux\",\"count\":3,\"seconds\":60}}' {endpoint}/0.1.0/jobs
What there is, in a third terminal in the same directory, with the same exports:
  provisionerd status
  aws --endpoint-url {endpoint} --region us-west-2 ec2 describe-instances
"
    )
}

/// Maps simulated time to real time.
#[derive(Clone, Copy)]
struct Pace {
    began: Timestamp,
    started: Instant,
    speed: Speed,
}

impl Pace {
    /// Waits until the simulated time is `next`. Returns `false` if `stop` was cancelled first.
    async fn until(&self, next: Timestamp, stop: &CancellationToken) -> bool {
        let wait = async {
            match self.speed {
                Speed::Max => tokio::task::yield_now().await,
                Speed::Times(times) => {
                    let real = clock::age(self.began, next).div_f64(times);
                    tokio::time::sleep_until(self.started + real).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = wait => true,
        }
    }

    /// Returns the present simulated time, unless it does not follow the machine's clock.
    #[cfg(feature = "aws")]
    fn now(&self) -> Option<Timestamp> {
        let Speed::Times(times) = self.speed else { return None };
        Some(clock::after(self.began, self.started.elapsed().mul_f64(times)))
    }

    fn speed(&self) -> String {
        match self.speed {
            Speed::Max => "as fast as possible".to_owned(),
            Speed::Times(times) => format!("at {times} times real time"),
        }
    }
}

/// Where the demonstration is shown.
enum Stage {
    /// Only the summary is printed.
    Silent,
    /// As plain lines.
    Lines { last_state: Option<Timestamp> },
    /// As a table that is redrawn in place.
    Terminal { frame: Box<Frame>, screen: Screen, paint: Paint, drawn: Option<Instant> },
}

impl Stage {
    fn show(&mut self, demo: &Demo, lines: Vec<Line>, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Silent => Ok(()),
            Self::Lines { last_state } => {
                let mut text: String = lines.iter().map(line).collect();
                let due = last_state.is_none_or(|last| clock::age(last, demo.now()) >= STATE);
                if due {
                    *last_state = Some(demo.now());
                    text.push_str(&state(&demo.glance()));
                }
                if text.is_empty() { Ok(()) } else { output.show(&text) }
            }
            Self::Terminal { frame, drawn, .. } => {
                frame.add(lines);
                if drawn.is_some_and(|drawn| drawn.elapsed() < FRAME) {
                    return Ok(());
                }
                *drawn = Some(Instant::now());
                self.draw(demo, output)
            }
        }
    }

    fn draw(&mut self, demo: &Demo, output: &mut Output) -> Result<(), Failure> {
        let Self::Terminal { frame, screen, paint, .. } = self else { return Ok(()) };
        // The terminal may have been resized.
        let Some(size) = Size::of_stdout() else { return Ok(()) };
        let text = frame.draw(&demo.glance(), size, *paint);
        output.show(&screen.replace(&text))
    }

    /// Shows the last state, and leaves room for the summary.
    fn end(&mut self, demo: &Demo, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Silent => Ok(()),
            Self::Lines { .. } => output.show(&state(&demo.glance())),
            Self::Terminal { .. } => {
                self.draw(demo, output)?;
                output.show("\n")
            }
        }
    }
}
