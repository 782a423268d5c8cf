//! Shutdown of a process through one token. The first SIGINT or SIGTERM cancels it. Tasks treat that as the end of their
//! input: they drain, flush and return. The second signal ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A token that the first SIGINT or SIGTERM cancels. The second one ends the process at once, with the exit
/// code that a shell gives to that signal (130, 143).
///
/// Call it once, inside a Tokio runtime and before anything is started: from then on both signals are caught. If the system
/// refuses the registration, the signals keep their default action, which ends the process.
#[must_use]
pub fn on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(interrupts), Ok(terminations)) => {
            // This task lives until the process ends; nothing waits for it.
            TaskTracker::new().spawn(watch(interrupts, terminations, token.clone()));
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot catch signals: a signal will end the process without draining");
        }
    }
    token
}

/// A task ended before the shutdown.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// It returned.
    #[error("a task ended before the shutdown")]
    Ended,
    /// It panicked. The panic was printed where it happened.
    #[error("a task panicked")]
    Panicked(#[source] JoinError),
}

/// Waits for tasks that run until `shutdown`. If one of them ends early, cancels the token so that the others drain: a
/// process that has lost a task must end and be restarted, instead of continuing and looking healthy.
///
/// # Errors
/// The first task that ended early, after all have ended.
pub async fn together(mut tasks: JoinSet<()>, shutdown: &CancellationToken) -> Result<(), Lost> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let lost = match ended {
            Ok(()) if shutdown.is_cancelled() => continue,
            Ok(()) => Lost::Ended,
            Err(error) => Lost::Panicked(error),
        };
        shutdown.cancel();
        outcome = outcome.and(Err(lost));
    }
    outcome
}

async fn watch(mut interrupts: Signal, mut terminations: Signal, token: CancellationToken) {
    let name = next(&mut interrupts, &mut terminations).await.0;
    tracing::info!(signal = name, "shutting down; a second signal ends the process at once");
    token.cancel();
    let (name, exit_code) = next(&mut interrupts, &mut terminations).await;
    tracing::warn!(signal = name, "second signal: exiting without draining");
    std::process::exit(exit_code);
}

async fn next(interrupts: &mut Signal, terminations: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupts.recv() => ("SIGINT", 130),
        _ = terminations.recv() => ("SIGTERM", 143),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal, raise};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn when_one_task_is_lost_the_others_drain() {
        async fn lost(first: impl Future<Output = ()> + Send + 'static) -> Result<(), Lost> {
            let shutdown = CancellationToken::new();
            let mut tasks = JoinSet::new();
            tasks.spawn(first);
            tasks.spawn(shutdown.clone().cancelled_owned());
            timeout(Duration::from_secs(10), together(tasks, &shutdown)).await.unwrap()
        }
        assert!(matches!(lost(async { panic!("as the test wants it") }).await, Err(Lost::Panicked(_))));
        assert!(matches!(lost(async {}).await, Err(Lost::Ended)));
    }

    #[tokio::test]
    async fn tasks_end_with_the_shutdown() {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(shutdown.clone().cancelled_owned());
        shutdown.cancel();
        together(tasks, &shutdown).await.unwrap();
    }

    // One test, because all tests of a process share its signals and a second one would end it.
    #[tokio::test]
    async fn the_first_signal_cancels_the_token() {
        let token = on_signal();
        assert!(!token.is_cancelled());
        raise(Signal::SIGTERM).unwrap();
        timeout(Duration::from_secs(10), token.cancelled()).await.unwrap();
    }
}
