//! The door through which engagement comes in: views, likes, shares.
//!
//! A handler turns a request into events (who sent it, what it is, when it was accepted) and hands them to one
//! of three *write paths*:
//!
//! - `message`: the events leave in an envelope, and the answer is 202 once the broker has confirmed it, or once
//!   it is kept in the outbox because the broker did not ([`Spill`]);
//! - `direct`: the request is one transaction of its own, and the answer is 200 with the new totals;
//! - `direct-batched`: waiting requests share a transaction, and the answer is the same 200.
//!
//! A 2xx means that the events will be counted exactly once. Any other answer promises nothing: the client
//! sends again, with the same key if it needs to know that nothing counts twice. The rows and the rules are the
//! `engagement` crate's on all three paths.

mod batch;
mod batched;
mod caller;
mod direct;
mod identity;
mod message;
mod metrics;
mod refusal;
mod settings;
mod single;
mod spill;
mod stats;
mod write_path;

use std::sync::Arc;
use std::time::Duration;

use ::engagement::Engagement;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use broker::Publisher;
use database::Pool;
use events::{Clock, EngagementEvent};
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::settings::Settings;
pub(crate) use self::spill::Spill;
pub(crate) use self::write_path::WritePath;

pub(crate) use self::caller::Caller;
pub(crate) use self::single::{MaybeJson, ShareBody, ViewBody, like, share, unlike, view};

use self::batched::Batched;
use self::direct::Effect;
use self::identity::Secrets;
use self::metrics::Metrics;
use self::refusal::Refusal;
use crate::clock_check::ClockCheck;
use crate::limits;
use crate::problem::Result;
use crate::state::AppState;

/// The endpoints of engagement. What comes in is limited where its `Caller` is known, without a layer of its own.
pub(crate) fn routes(state: &AppState) -> OpenApiRouter<AppState> {
    let reading = OpenApiRouter::new()
        .routes(routes!(stats::stats))
        .layer(from_fn_with_state(state.clone(), limits::requests::<AppState>));
    let batch = OpenApiRouter::new()
        .routes(routes!(batch::engage))
        .layer(DefaultBodyLimit::max(state.settings.bodies.batch_bytes_max));
    OpenApiRouter::new()
        .routes(routes!(single::view))
        .routes(routes!(single::like, single::unlike))
        .routes(routes!(single::share))
        .merge(batch)
        .merge(reading)
}

/// The write paths, and what turns requests into events.
pub struct EngagementState {
    settings: Settings,
    secrets: Secrets,
    clock: ClockCheck,
    publisher: Publisher,
    direct: Option<Direct>,
    metrics: Metrics,
}

/// What the direct paths need, where they are enabled.
#[derive(Debug)]
struct Direct {
    engagement: Arc<Engagement>,
    batched: Batched,
}

/// Where accepted events are.
#[derive(Debug)]
enum Accepted {
    /// With the broker, or in the outbox on the way to it.
    Published,
    /// In the database, with this effect, by event.
    Applied(Vec<Effect>),
}

impl EngagementState {
    /// Checks the settings, registers the metrics, and starts the task of `direct-batched` where the direct
    /// paths are enabled. The task ends, after its last batch, when the state is dropped.
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

    /// Returns when a task of a path has ended, which none does as long as it is well: the publisher's, or that of
    /// `direct-batched`.
    pub async fn ended(&self) {
        match &self.direct {
            Some(direct) => tokio::select! {
                () = self.publisher.ended() => {}
                () = direct.batched.ended() => {}
            },
            None => self.publisher.ended().await,
        }
    }

    /// The clock that stamps events and envelopes.
    fn clock(&self) -> &Clock {
        self.clock.clock()
    }

    /// The deadline of a request that has just been read. What it took to know its caller is part of its time.
    fn deadline(&self, caller: &Caller) -> Instant {
        let time_max = Duration::from_millis(self.settings.accept_timeout_ms);
        Instant::now() + time_max.saturating_sub(caller.known_after)
    }

    /// Sees the events through on the caller's path, by the deadline of the request.
    async fn accept(
        &self,
        caller: &Caller,
        events: Vec<EngagementEvent>,
        deadline: Instant,
    ) -> Result<Accepted> {
        let started = Instant::now();
        let events_sent = events.len();
        match self.write(caller, events, deadline).await {
            Ok(accepted) => {
                self.metrics.took(caller.path, started.elapsed());
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
        caller: &Caller,
        events: Vec<EngagementEvent>,
        deadline: Instant,
    ) -> std::result::Result<Accepted, Refusal> {
        if self.clock.is_refusing() {
            return Err(Refusal::ClockSkew);
        }
        let path = caller.path;
        let effects = match (path, &self.direct) {
            (WritePath::Message, _) => {
                message::publish(&self.publisher, &events, caller.traceparent.as_deref(), deadline).await?;
                self.metrics.accepted(path, events.iter().map(|event| event.action.kind()));
                return Ok(Accepted::Published);
            }
            (WritePath::Direct, Some(direct)) => {
                // In a box: what a transaction needs is not to be carried along by requests that make none.
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
