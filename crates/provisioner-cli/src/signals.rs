//! SIGINT and SIGTERM: the first one asks the program to end, and the second one ends it. SIGHUP reloads the
//! configuration.

#[cfg(feature = "aws")]
use std::io::IsTerminal as _;
#[cfg(feature = "aws")]
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(feature = "aws")]
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::exit::{ExitStatus, Failure};
use crate::stderr;

fn take(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::failed("failed to listen for signals").caused_by(&error))
}

/// Returns a token that the first SIGINT or SIGTERM cancels. The second ends the process with 130.
///
/// Signals count from the moment this returns.
pub(crate) fn listen() -> Result<CancellationToken, Failure> {
    let interrupt = take(SignalKind::interrupt())?;
    let terminate = take(SignalKind::terminate())?;
    let token = CancellationToken::new();
    tokio::spawn(escalate(interrupt, terminate, token.clone()));
    Ok(token)
}

/// Returns a token that SIGINT or SIGTERM cancels, for work that may end at any time. The second signal ends
/// the process with 130 all the same, because a write to a stdout that nobody reads does not end.
pub(crate) fn ending() -> Result<CancellationToken, Failure> {
    let mut interrupt = take(SignalKind::interrupt())?;
    let mut terminate = take(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let ended = token.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        ended.cancel();
        next(&mut interrupt, &mut terminate).await;
        end_at_once();
    });
    Ok(token)
}

/// Returns a notification of each SIGHUP, which then no longer ends the process. If the terminal was closed,
/// the signal does not mean a reload, so `stop` is cancelled instead.
#[cfg(feature = "aws")]
pub(crate) fn hang_ups(stop: CancellationToken) -> Result<Arc<Notify>, Failure> {
    let mut signals = take(SignalKind::hangup())?;
    let on_terminal = std::io::stderr().is_terminal();
    let hang_up = Arc::new(Notify::new());
    let notified = Arc::clone(&hang_up);
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if on_terminal && !std::io::stderr().is_terminal() {
                stop.cancel();
            } else {
                notified.notify_one();
            }
        }
    });
    Ok(hang_up)
}

async fn escalate(mut interrupt: Signal, mut terminate: Signal, token: CancellationToken) {
    let name = next(&mut interrupt, &mut terminate).await;
    tracing::info!(
        signal = name,
        "{name}: ending after the action in flight; a second signal ends at once"
    );
    token.cancel();
    let name = next(&mut interrupt, &mut terminate).await;
    tracing::warn!(
        signal = name,
        "{name} again: ending at once; the next start settles an action in flight"
    );
    end_at_once();
}

fn end_at_once() -> ! {
    stderr::flush();
    #[expect(clippy::exit, reason = "at once, whatever is in flight")]
    std::process::exit(i32::from(ExitStatus::INTERRUPTED.code()));
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const CHILD: &str = "SIGNALS_TEST_CHILD";

    /// Is not a test by itself: the next test runs it as another process.
    #[tokio::test]
    async fn child_waits_for_signals() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let token = listen().unwrap();
        println!("\nlistening");
        token.cancelled().await;
        println!("\ncancelled");
        std::future::pending::<()>().await;
    }

    #[test]
    fn the_first_signal_asks_and_the_second_ends() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "signals::tests::child_waits_for_signals", "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let kill = |signal: &str| {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        };
        assert!(lines.any(|line| line == "listening"));
        kill("-TERM");
        assert!(lines.any(|line| line == "cancelled"));
        kill("-INT");
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}
