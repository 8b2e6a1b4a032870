//! `provisionerd status`: prints the state of the deployment, once or repeatedly.

#[cfg(feature = "aws")]
mod direct;
mod probe;

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::duration;
use provisioner::internal::status::{Status, StatusSource};

use crate::args::{OutputFormat, StatusArgs};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::render::{StatusView, USUAL_WIDTH};
use crate::screen::{Screen, Size, cut, fit};
use crate::signals;
use crate::style::Paint;

use probe::{NotRead, StatusProbe};

/// Reads the status and prints it.
pub(super) async fn status(args: StatusArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let StatusArgs { url, watch, interval } = args;
    let mut probe = StatusProbe::new(url, &context)?;
    let mut show = Show::new(&context);
    if watch {
        return repeat(&mut probe, interval, &mut show, &mut context).await;
    }
    let status = probe.read().await.map_err(NotRead::failure)?;
    show.once(&status, &mut context)?;
    // A daemon that answered did what it was asked for, whatever it knows.
    let unread = match (status.source, status.observed.is_some(), status.demand_known) {
        (StatusSource::Daemon, _, _) | (_, true, true) => return Ok(ExitStatus::DONE),
        (_, false, true) => "EC2 could not be read",
        (_, true, false) => "the queue could not be read",
        (_, false, false) => "neither EC2 nor the queue could be read",
    };
    Err(Failure::failed(unread))
}

async fn repeat(
    probe: &mut StatusProbe,
    interval: Duration,
    show: &mut Show,
    context: &mut Context,
) -> Result<ExitStatus, Failure> {
    let end = signals::ending()?;
    while !context.output.is_closed() {
        // Reading changes nothing, so it may be cancelled at any time.
        let Some(read) = end.run_until_cancelled(probe.read()).await else { break };
        let status = match read {
            Ok(status) => status,
            Err(NotRead::Temporary(_, why)) => {
                Status::unknown(probe.source(), *why, Timestamp::now())
            }
            Err(NotRead::Permanent(failure)) => return Err(failure),
        };
        show.again(&status, &probe.place(), interval, context)?;
        if end.run_until_cancelled(tokio::time::sleep(interval)).await.is_none() {
            break;
        }
    }
    show.end(context)?;
    Ok(ExitStatus::DONE)
}

/// How a status is shown.
struct Show {
    paint: Paint,
    screen: Screen,
    /// Whether something has been shown.
    begun: bool,
}

impl Show {
    fn new(context: &Context) -> Self {
        let no_color = context.environment.get("NO_COLOR").map(String::as_ref);
        let is_terminal = Size::of_stdout().is_some();
        let paint = Paint::decide(context.globals.color, no_color, is_terminal);
        Self { paint, screen: Screen::default(), begun: false }
    }

    fn view<'a>(&self, status: &'a Status) -> StatusView<'a> {
        let width = Size::of_stdout().map_or(USUAL_WIDTH, |size| size.columns);
        StatusView { status, paint: self.paint, width }
    }

    fn once(&self, status: &Status, context: &mut Context) -> Result<(), Failure> {
        context.output.print(&self.view(status))
    }

    /// Shows one status after the other; on a terminal, each replaces the one before.
    fn again(
        &mut self,
        status: &Status,
        place: &str,
        interval: Duration,
        context: &mut Context,
    ) -> Result<(), Failure> {
        if context.globals.output == OutputFormat::Json {
            return self.once(status, context);
        }
        let begun = std::mem::replace(&mut self.begun, true);
        // The terminal may have been resized.
        let Some(Size { columns, rows }) = Size::of_stdout() else {
            let gap = if begun { "\n" } else { "" };
            return context.output.show(&format!("{gap}{:.0}\n{}", status.time, self.view(status)));
        };
        let mut view = self.view(status);
        let narrow = columns < USUAL_WIDTH;
        if narrow {
            // The table does not become this narrow, so lines are cut, and a cut must not split a colour code.
            view.paint = Paint::Plain;
        }
        let every = duration::format(interval);
        let head = format!("{:.0}  every {every}, Ctrl-C to end  {place}", status.time);
        let mut lines = vec![cut(&head, columns), String::new()];
        lines.extend(
            view.lines().into_iter().map(|line| if narrow { cut(&line, columns) } else { line }),
        );
        context.output.show(&self.screen.replace(&fit(lines, rows)))
    }

    /// Ends the line on which the terminal shows the `^C` that ended the command.
    fn end(&self, context: &mut Context) -> Result<(), Failure> {
        if self.begun && Size::of_stdout().is_some() {
            return context.output.show("\n");
        }
        Ok(())
    }
}
