//! `provisionerd demo`: the engine on the simulated EC2, to be watched.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::clock;
use provisioner_sim::demo::{Demo, Line};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::args::{DemoArgs, OutputFormat, Speed};
use crate::context::Context;
use crate::demo::{Frame, SummaryView, line, state};
use crate::exit::{ExitStatus, Failure};
use crate::output::Output;
use crate::screen::{Screen, Size};
use crate::signals;
use crate::style::Paint;

/// Between two frames: more often nobody can read.
const FRAME: Duration = Duration::from_millis(100);
/// Between two lines that tell how it stands, on the simulated clock.
const STATE: Duration = Duration::from_mins(15);

/// Shows a demonstration, and what came of it.
pub(crate) async fn demo(args: DemoArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let stop = signals::listen()?;
    let mut demo = Demo::new(args.seed, args.length);
    let pace = Pace { began: demo.now(), started: Instant::now(), speed: args.speed };
    let json = context.globals.output == OutputFormat::Json;
    let mut stage = match Size::of_stdout() {
        _ if json => Stage::Silent,
        Some(_) => {
            let no_color = context.environment.get("NO_COLOR").map(AsRef::as_ref);
            let is_terminal = io::stdout().is_terminal();
            let paint = Paint::decide(context.globals.color, no_color, is_terminal);
            let frame = Frame::new(format!("a simulated EC2, {}; Ctrl-C ends", pace.speed()));
            Stage::Terminal {
                frame: Box::new(frame),
                screen: Screen::default(),
                paint,
                drawn: None,
            }
        }
        None => Stage::Lines { told: None },
    };
    loop {
        let Some(next) = demo.next_round() else {
            let lines = demo.finish();
            stage.show(&demo, lines, &mut context.output)?;
            break;
        };
        if !pace.until(next, &stop).await || context.output.is_closed() {
            break;
        }
        let mut lines = demo.advance(next);
        lines.extend(demo.round());
        stage.show(&demo, lines, &mut context.output)?;
    }
    stage.end(&demo, &mut context.output)?;
    context.output.report(&SummaryView::new(args.seed, demo.summary()))?;
    if !json {
        context.notices.progress("\nFor your own account: `setup-aws --help`, and README.md");
    }
    Ok(ExitStatus::DONE)
}

/// Simulated time beside real time.
#[derive(Clone, Copy)]
struct Pace {
    began: Timestamp,
    started: Instant,
    speed: Speed,
}

impl Pace {
    /// Waits until it is `next`. `false`: it is to end.
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

    fn speed(&self) -> String {
        match self.speed {
            Speed::Max => "as fast as it can be".to_owned(),
            Speed::Times(times) => format!("{times} times as fast as a clock"),
        }
    }
}

/// Where it is shown.
enum Stage {
    /// Nowhere: only the summary counts.
    Silent,
    /// Plain lines.
    Lines { told: Option<Timestamp> },
    /// A table that is drawn over and over.
    Terminal { frame: Box<Frame>, screen: Screen, paint: Paint, drawn: Option<Instant> },
}

impl Stage {
    fn show(&mut self, demo: &Demo, lines: Vec<Line>, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Silent => Ok(()),
            Self::Lines { told } => {
                let mut text: String = lines.iter().map(line).collect();
                let due = told.is_none_or(|told| clock::age(told, demo.now()) >= STATE);
                if due {
                    *told = Some(demo.now());
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
        // Terminals change their size.
        let Some(size) = Size::of_stdout() else { return Ok(()) };
        let text = frame.draw(&demo.glance(), size, *paint);
        output.show(&screen.replace(&text))
    }

    /// The last state, and room for the summary.
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
