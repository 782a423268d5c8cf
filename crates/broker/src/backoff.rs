//! Pauses between retries.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Pauses that double with each retry, up to a maximum. Each is drawn at random from the upper half, so that many processes
/// do not retry at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    /// Pauses from `min` to `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, current: min }
    }

    /// The maximum pause.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// Starts again with the shortest pause, after a success.
    pub fn reset(&mut self) {
        self.current = self.min;
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.current;
        self.current = (self.current * 2).min(self.max);
        rand::random_range(pause / 2..=pause)
    }

    /// Sleeps for the next pause, or until shutdown.
    pub async fn rest(&mut self, shutdown: &CancellationToken) {
        rest(self.pause(), shutdown).await;
    }
}

/// Sleeps for the pause, or until shutdown.
pub(crate) async fn rest(pause: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_afresh_after_a_success() {
        let milliseconds = Duration::from_millis;
        let mut backoff = Backoff::new(milliseconds(50), milliseconds(300));
        for longest in [50, 100, 200, 300, 300] {
            let pause = backoff.pause();
            assert!(
                pause >= milliseconds(longest) / 2 && pause <= milliseconds(longest),
                "{pause:?} of {longest}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= milliseconds(50));
    }

    #[tokio::test]
    async fn shutdown_ends_a_pause() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        Backoff::new(Duration::from_secs(600), Duration::from_secs(600)).rest(&shutdown).await;
    }
}
