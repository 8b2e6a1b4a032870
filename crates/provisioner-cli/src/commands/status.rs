//! `provisionerd status`: how the deployment is doing, once or again and again.

#[cfg(feature = "aws")]
mod direct;
mod look;

use std::time::Duration;

use jiff::Timestamp;
use provisioner::domain::duration;
use provisioner::status::{Status, StatusSource};

use crate::args::{OutputFormat, StatusArgs};
use crate::context::Context;
use crate::exit::{ExitStatus, Failure};
use crate::render::{StatusView, USUAL_WIDTH};
use crate::screen::{Screen, Size, cut, fit};
use crate::signals;
use crate::style::Paint;

use look::{Looker, NotSeen};

/// Looks and tells.
pub(super) async fn status(args: StatusArgs, mut context: Context) -> Result<ExitStatus, Failure> {
    let StatusArgs { url, watch, interval } = args;
    let mut looker = Looker::new(url, &context)?;
    let mut show = Show::new(&context);
    if watch {
        return again_and_again(&mut looker, interval, &mut show, &mut context).await;
    }
    let status = looker.look().await.map_err(NotSeen::failure)?;
    show.once(&status, &mut context)?;
    if status.source == StatusSource::Direct && status.knows_nothing() {
        return Err(Failure::failed("neither EC2 nor the queue could be read"));
    }
    Ok(ExitStatus::DONE)
}

async fn again_and_again(
    looker: &mut Looker,
    interval: Duration,
    show: &mut Show,
    context: &mut Context,
) -> Result<ExitStatus, Failure> {
    let end = signals::ending()?;
    while !context.output.is_closed() {
        // Nothing is lost with a look that is given up: it changes nothing.
        let Some(looked) = end.run_until_cancelled(looker.look()).await else { break };
        let status = match looked {
            Ok(status) => status,
            Err(NotSeen::Now(_, why)) => Status::unknown(looker.source(), *why, Timestamp::now()),
            Err(NotSeen::Ever(failure)) => return Err(failure),
        };
        show.again(&status, &looker.place(), interval, context)?;
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
    /// Something has been shown.
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

    /// One after the other; on a terminal, one in the place of the other.
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
        // Terminals change their size.
        let Some(Size { columns, rows }) = Size::of_stdout() else {
            let gap = if begun { "\n" } else { "" };
            return context.output.show(&format!("{gap}{:.0}\n{}", status.time, self.view(status)));
        };
        let mut view = self.view(status);
        let narrow = columns < USUAL_WIDTH;
        if narrow {
            // The table does not get this narrow, and a colour would be cut in two.
            view.paint = Paint::Plain;
        }
        let every = duration::format(interval);
        let head = format!("{:.0}  every {every}, Ctrl-C ends  {place}", status.time);
        let mut lines = vec![cut(&head, columns), String::new()];
        lines.extend(
            view.lines().into_iter().map(|line| if narrow { cut(&line, columns) } else { line }),
        );
        context.output.show(&self.screen.replace(&fit(lines, rows)))
    }

    /// A terminal shows the `^C` that ended it: what comes next begins on a line of its own.
    fn end(&self, context: &mut Context) -> Result<(), Failure> {
        if self.begun && Size::of_stdout().is_some() {
            return context.output.show("\n");
        }
        Ok(())
    }
}
