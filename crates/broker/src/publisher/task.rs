//! The task that owns the channel. It runs epochs until there is nothing left to do.

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::backlog::Backlog;
use super::epoch::{End, Epoch};
use super::metrics::Metrics;
use super::state::{State, announce};
use crate::Settings;

pub(super) struct Task {
    settings: Settings,
    app_id: &'static str,
    backlog: Backlog,
    metrics: Metrics,
    state: watch::Sender<State>,
}

impl Task {
    pub(super) fn new(
        settings: Settings,
        app_id: &'static str,
        backlog: Backlog,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<State>) {
        let (state, watched) = watch::channel(State::Disconnected("not connected yet".to_owned()));
        (Self { settings, app_id, backlog, metrics, state }, watched)
    }

    pub(super) async fn run(mut self) {
        let mut backoff = self.settings.backoff();
        loop {
            let opening = Box::pin(Epoch::open(&self.settings, self.app_id, &self.metrics, &self.state));
            let opened = tokio::select! {
                opened = opening => opened,
                () = self.backlog.drained() => break,
            };
            let failed = match opened {
                Err(error) => error.to_string(),
                Ok(mut epoch) => {
                    let since = Instant::now();
                    let end = Box::pin(epoch.run(&mut self.backlog)).await;
                    // Only an epoch that confirmed an envelope resets the backoff: an envelope that no queue accepts must not
                    // cause a busy loop.
                    if epoch.confirmed || since.elapsed() > backoff.max() {
                        backoff.reset();
                    }
                    match end {
                        End::Failed(reason) => reason,
                        End::Drained => {
                            epoch.close().await;
                            break;
                        }
                    }
                }
            };
            self.backlog.set_open(false);
            announce(&self.state, State::Disconnected(failed));
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = self.backlog.drained() => break,
            }
        }
        info!("the publisher has shut down");
        self.state.send_replace(State::Disconnected("shut down".to_owned()));
    }
}
