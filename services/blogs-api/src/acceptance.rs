//! The engine that accepts engagement: views, likes, shares.
//!
//! Endpoints and pages turn a request into events (the sender, the action, the time of acceptance) and pass them to one
//! of three *write paths*:
//!
//! - `message`: the events travel in an envelope. The answer is 202 once RabbitMQ has confirmed the envelope, or once it is
//!   stored in the outbox because RabbitMQ did not confirm it in time ([`Spill`]);
//! - `direct`: the request has its own transaction, and the answer is 200 with the new totals;
//! - `direct-batched`: waiting requests share a transaction, and the answer is the same 200.
//!
//! A 2xx means that the events will be counted exactly once. Any other answer promises nothing: the client may retry,
//! and must use the same key if the event must not count twice. On all three paths, the `engagement` crate writes the
//! rows and applies the rules. The engine does not know the API's state, which contains it.

mod choice;
mod direct;
mod direct_batched;
mod identity;
mod message;
mod metrics;
mod refusal;
mod settings;
mod spill;

use std::sync::Arc;
use std::time::Duration;

use ::engagement::Engagement;
use broker::Publisher;
use database::Pool;
use events::{Clock, EngagementEvent, WritePath};
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

pub(crate) use self::choice::choose;
pub(crate) use self::direct::Effect;
pub(crate) use self::identity::{ClientKey, Identity, Secrets};
pub(crate) use self::refusal::Refusal;
pub(crate) use self::settings::{BATCH_EVENTS_MAX, Settings};
pub(crate) use self::spill::Spill;

use self::direct_batched::Batched;
use self::metrics::Metrics;
use crate::clock_check::ClockCheck;
use crate::problem::Result;

/// The write paths, and the keys and clock that turn requests into events.
pub struct Acceptance {
    settings: Settings,
    secrets: Secrets,
    clock: ClockCheck,
    publisher: Publisher,
    direct: Option<Direct>,
    metrics: Metrics,
}

/// What the direct paths need, if they are enabled.
#[derive(Debug)]
struct Direct {
    engagement: Arc<Engagement>,
    batched: Batched,
}

/// Where the accepted events are.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// Confirmed by the broker, or in the outbox.
    Published,
    /// Applied in the database, with these effects, in the order of the events.
    Applied(Vec<Effect>),
}

impl Acceptance {
    /// Validates the settings, registers the metrics, and starts the task of `direct-batched` if the direct paths are
    /// enabled. The task ends after its last batch, when the state is dropped.
    ///
    /// # Errors
    /// A sentence that says which setting to change.
    pub fn start(
        settings: &Settings,
        pool: Pool,
        publisher: Publisher,
        clock: ClockCheck,
        registry: &mut Registry,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Self> {
        settings.check()?;
        let metrics = Metrics::register(registry);
        let direct = if settings.direct_path {
            let rules = ::engagement::Settings { view_window_s: settings.view_window_s };
            let engagement = Arc::new(Engagement::new(pool, &rules)?);
            let stamps = clock.clock().clone();
            let batched = Batched::start(settings, Arc::clone(&engagement), stamps, metrics.clone(), tasks);
            Some(Direct { engagement, batched })
        } else {
            None
        };
        Ok(Self {
            settings: settings.clone(),
            secrets: Secrets::new(&settings.visitor_secret),
            clock,
            publisher,
            direct,
            metrics,
        })
    }

    /// Returns when the publisher's task or that of `direct-batched` has ended. Before the shutdown, a task ends only if it
    /// has panicked.
    pub async fn ended(&self) {
        match &self.direct {
            Some(direct) => tokio::select! {
                () = self.publisher.ended() => {}
                () = direct.batched.ended() => {}
            },
            None => self.publisher.ended().await,
        }
    }

    /// The clock for the timestamps of events and envelopes.
    pub(crate) fn clock(&self) -> &Clock {
        self.clock.clock()
    }

    /// The keys that hash visitors and idempotency keys.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The deadline of a request that has just been read. The time limit includes `known_after`, the
    /// time spent identifying the caller.
    pub(crate) fn deadline(&self, known_after: Duration) -> Instant {
        let time_max = Duration::from_millis(self.settings.accept_timeout_ms);
        Instant::now() + time_max.saturating_sub(known_after)
    }

    /// Counts events that are refused before they reach a write path.
    pub(crate) fn refused(&self, refusal: Refusal, events: usize) {
        self.metrics.refused(refusal, events);
    }

    /// Accepts all events on this path before the request's deadline, or none. `traceparent` is the trace that the
    /// client's request belongs to.
    pub(crate) async fn accept(
        &self,
        path: WritePath,
        events: Vec<EngagementEvent>,
        traceparent: Option<&str>,
        deadline: Instant,
    ) -> Result<Accepted> {
        let started = Instant::now();
        let events_sent = events.len();
        match self.write(path, events, traceparent, deadline).await {
            Ok(accepted) => {
                self.metrics.took(path, started.elapsed());
                Ok(accepted)
            }
            Err(refusal) => {
                self.metrics.refused(refusal, events_sent);
                Err(refusal.into())
            }
        }
    }

    async fn write(
        &self,
        path: WritePath,
        events: Vec<EngagementEvent>,
        traceparent: Option<&str>,
        deadline: Instant,
    ) -> std::result::Result<Accepted, Refusal> {
        if self.clock.is_refusing() {
            return Err(Refusal::ClockSkew);
        }
        let effects = match (path, &self.direct) {
            (WritePath::Message, _) => {
                message::publish(&self.publisher, &events, traceparent, deadline).await?;
                self.metrics.accepted(path, events.iter().map(|event| event.action.kind()));
                return Ok(Accepted::Published);
            }
            (WritePath::Direct, Some(direct)) => {
                // Boxed, so that requests without a transaction do not carry the size of one.
                let applied =
                    Box::pin(direct::apply(&direct.engagement, self.clock(), path, events, &self.metrics));
                timeout_at(deadline, applied).await.map_err(|_| Refusal::TimedOut)??
            }
            (WritePath::DirectBatched, Some(direct)) => direct.batched.apply(events, deadline).await?,
            (WritePath::Direct | WritePath::DirectBatched, None) => return Err(Refusal::NotEnabled),
        };
        Ok(Accepted::Applied(effects))
    }
}
