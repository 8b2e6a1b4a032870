//! The course of every program, from its arguments to its exit code.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::args::{CONFIG_VARIABLE, Colour, GlobalArgs, without_meaningless};
use crate::context::{self, Context};
use crate::exit::{ExitStatus, Failure};
use crate::output::{self, Notices, Output};
use crate::stderr;
use crate::style::Paint;
use crate::telemetry;

/// How long tasks that still run when a command has ended (a read from the terminal, a connection) may
/// delay the exit.
const RUNTIME_SHUTDOWN: Duration = Duration::from_millis(500);

/// Parses the arguments, runs `command` and prints its failure.
pub(crate) fn run<A, F>(command: F) -> ExitCode
where
    A: Parser + AsRef<GlobalArgs>,
    F: AsyncFnOnce(A, Context) -> Result<ExitStatus, Failure>,
{
    let args = match parse::<A>(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to stdout, which may be closed.
            let _ = error.print();
            let usage = error.use_stderr();
            return if usage { ExitStatus::USAGE } else { ExitStatus::DONE }.into();
        }
    };
    let mut globals = args.as_ref().clone();
    globals.config = globals.config.or_else(|| {
        let file = std::env::var_os(CONFIG_VARIABLE).filter(|file| !file.is_empty())?;
        Some(file.into())
    });
    let no_color = std::env::var_os("NO_COLOR");
    let paint = Paint::decide(globals.color, no_color.as_deref(), output::stderr_is_terminal());
    let notices = Notices::new(paint, globals.quiet > globals.verbose);
    let ended = start(args, globals, paint, notices, command);
    let status = ended.unwrap_or_else(|failure| {
        notices.failure(&failure);
        failure.status()
    });
    stderr::flush();
    status.into()
}

/// Parses like `try_parse`, but prints help and errors with the requested colours.
fn parse<A: Parser>(arguments: &[OsString]) -> Result<A, clap::Error> {
    let command = || without_meaningless(A::command()).color(Colour::asked_for(arguments).into());
    let mut matches = command().try_get_matches_from(arguments)?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command()))
}

fn start<A, F>(
    args: A,
    globals: GlobalArgs,
    paint: Paint,
    notices: Notices,
    command: F,
) -> Result<ExitStatus, Failure>
where
    F: AsyncFnOnce(A, Context) -> Result<ExitStatus, Failure>,
{
    let environment = context::text_environment(std::env::vars_os())?;
    telemetry::start(&globals, &environment, paint, io::stderr().is_terminal())?;
    let current_dir = std::env::current_dir().map_err(|error| {
        Failure::failed("failed to find the current directory").caused_by(&error)
    })?;
    let output = Output::stdout(globals.output);
    let context = Context { globals, output, notices, environment, current_dir };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One thread for connections and answers, beside this one, which computes the rounds.
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("failed to start the runtime").caused_by(&error))?;
    let ended = runtime.block_on(command(args, context));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    ended
}
