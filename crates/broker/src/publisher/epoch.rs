//! One epoch of publishing, from a new channel to the first failure.

use std::future::pending;

use futures_util::StreamExt;
use lapin::Event;
use lapin::options::ConfirmSelectOptions;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

use super::backlog::Backlog;
use super::in_flight::{Failure, Settled, Unconfirmed};
use super::metrics::Metrics;
use super::state::{State, announce};
use crate::error::{Doing, Error, bounded};
use crate::link::Link;
use crate::{Settings, topology};

/// How an epoch ended.
pub(super) enum End {
    /// The input has ended, and all envelopes are resolved.
    Drained,
    /// Something failed. The reason is for humans.
    Failed(String),
}

pub(super) struct Epoch<'task> {
    link: Link,
    settings: &'task Settings,
    app_id: &'static str,
    metrics: &'task Metrics,
    state: &'task watch::Sender<State>,
    /// Whether any envelope was confirmed.
    pub(super) confirmed: bool,
}

impl<'task> Epoch<'task> {
    pub(super) async fn open(
        settings: &'task Settings,
        app_id: &'static str,
        metrics: &'task Metrics,
        state: &'task watch::Sender<State>,
    ) -> Result<Self, Error> {
        let link = Link::open(settings, &format!("{app_id} publisher")).await?;
        let select = async {
            topology::exchange_is_there(&link.channel).await?;
            link.channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .doing("enable publisher confirms")
        };
        bounded("enable publisher confirms", settings.answer_timeout(), select).await?;
        metrics.epochs.inc();
        Ok(Self { link, settings, app_id, metrics, state, confirmed: false })
    }

    /// Publishes the backlog until it is drained or something fails. Unresolved envelopes then return to the backlog.
    pub(super) async fn run(&mut self, backlog: &mut Backlog) -> End {
        let mut unconfirmed = Unconfirmed::default();
        let end = self.publish(backlog, &mut unconfirmed).await;
        if matches!(end, End::Failed(_)) {
            backlog.put_back(unconfirmed.into_outgoing());
        }
        end
    }

    /// Closes the connection with the AMQP handshake.
    pub(super) async fn close(self) {
        if let Err(error) = self.link.close().await {
            info!(%error, "the publisher's connection was not closed cleanly");
        }
    }

    async fn publish(&mut self, backlog: &mut Backlog, unconfirmed: &mut Unconfirmed) -> End {
        let mut events = Box::pin(self.link.connection.events_listener());
        announce(self.state, self.first_state());
        // Nothing can be confirmed while the connection is blocked, so the confirm timeout starts when the block ends.
        let mut open_since = Instant::now();
        loop {
            let blocked = self.link.connection.status().blocked();
            backlog.set_open(!blocked);
            if !blocked {
                self.fill(backlog, unconfirmed);
            }
            backlog.hand_over(unconfirmed.outgoing());
            let ending = backlog.is_drained();
            if ending && unconfirmed.is_empty() {
                return End::Drained;
            }
            let oldest = unconfirmed.oldest().filter(|_| !blocked);
            let silence = oldest.map(|oldest| oldest.max(open_since) + self.settings.confirm_timeout());
            let overdue_at = unconfirmed.overdue_at();
            tokio::select! {
                biased;
                settled = unconfirmed.settled(ending) => match settled {
                    Settled::Confirmed(envelopes) => {
                        self.confirmed = true;
                        for (outgoing, published_at) in envelopes {
                            self.metrics.confirmed.inc();
                            self.metrics.confirm_seconds.observe(published_at.elapsed().as_secs_f64());
                            #[cfg(feature = "fail-points")]
                            fail::fail_point!("api-after-confirm");
                            outgoing.confirm();
                        }
                    }
                    Settled::Failed(failure) => return End::Failed(self.describe(failure)),
                    Settled::Abandoned => return End::Drained,
                },
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => announce(self.state, State::Blocked(reason)),
                    Some(Event::ConnectionUnblocked) => {
                        open_since = Instant::now();
                        announce(self.state, State::Connected);
                    }
                    Some(Event::Error(error)) => return End::Failed(error.to_string()),
                    Some(_) => {}
                    None => return End::Failed("the connection has ended".to_owned()),
                },
                () = backlog.changed(overdue_at) => {}
                () = until(silence) => {
                    return End::Failed(format!("no confirm within {:?}", self.settings.confirm_timeout()));
                }
            }
        }
    }

    /// The state before the first event: events during the opening were not reported.
    fn first_state(&self) -> State {
        if self.link.connection.status().blocked() {
            State::Blocked("blocked when the connection was opened".to_owned())
        } else {
            State::Connected
        }
    }

    /// Publishes waiting envelopes up to the limit of unconfirmed ones.
    fn fill(&self, backlog: &mut Backlog, unconfirmed: &mut Unconfirmed) {
        while unconfirmed.len() < self.settings.unconfirmed_max {
            let Some(mut outgoing) = backlog.next() else { return };
            if std::mem::replace(&mut outgoing.sent, true) {
                self.metrics.resent.inc();
            } else {
                self.metrics.published.inc();
                let events = u32::try_from(outgoing.envelope.events).unwrap_or(u32::MAX);
                self.metrics.events.observe(f64::from(events));
            }
            unconfirmed.publish(&self.link.channel, outgoing, self.app_id);
        }
    }

    fn describe(&self, failure: Failure) -> String {
        match failure {
            Failure::Returned(reason) => {
                self.metrics.returned.inc();
                format!("RabbitMQ returned an envelope: {reason}")
            }
            Failure::Nacked => {
                self.metrics.nacked.inc();
                "RabbitMQ rejected an envelope (nack)".to_owned()
            }
            Failure::Lost(error) => error.to_string(),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => pending().await,
    }
}
