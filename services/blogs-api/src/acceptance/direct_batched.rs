//! `direct-batched`: waiting requests share a transaction. Batches form as in the publisher of envelopes: when a
//! transaction can begin, it takes everything that is waiting, up to a limit. There is no timer: a single request
//! starts at once, and under load batches fill by themselves.

use std::slice::Chunks;
use std::sync::Arc;
use std::time::Duration;

use ::engagement::Engagement;
use events::{Clock, ENVELOPE_EVENTS_MAX, EngagementEvent, WritePath};
use futures_util::future::try_join_all;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::direct::{self, Effect};
use super::metrics::Metrics;
use super::refusal::Refusal;
use super::settings::{BatchedSettings, Settings};

/// The sender to the task. When it is dropped, the task applies what is waiting and ends.
#[derive(Debug)]
pub(super) struct Batched {
    waiting: mpsc::Sender<Waiting>,
    events_max: usize,
}

impl Batched {
    pub(super) fn start(
        settings: &Settings,
        engagement: Arc<Engagement>,
        clock: Clock,
        metrics: Metrics,
        tasks: &TaskTracker,
    ) -> Self {
        let time_max = Duration::from_millis(settings.accept_timeout_ms);
        let settings = &settings.direct_batched;
        let (sender, waiting) = mpsc::channel(settings.waiting_max);
        let transaction = Transaction { engagement, clock, metrics, time_max };
        tasks.spawn(run(settings.clone(), transaction, waiting));
        Self { waiting: sender, events_max: settings.events_max }
    }

    /// Returns when the task has ended, which happens early only if it has panicked.
    pub(super) async fn ended(&self) {
        self.waiting.closed().await;
    }

    /// Waits for the events' transaction and returns the effect of each. Events that exceed one transaction are split
    /// over several; if one of these fails, the whole request fails with an unknown outcome.
    pub(super) async fn apply(
        &self,
        events: Vec<EngagementEvent>,
        deadline: Instant,
    ) -> Result<Vec<Effect>, Refusal> {
        let part_max = self.events_max.min(ENVELOPE_EVENTS_MAX);
        let several = events.len() > part_max;
        let effects = self.apply_parts(events.chunks(part_max), deadline).await;
        effects.map_err(|refusal| if several { Refusal::OutcomeUnknown } else { refusal })
    }

    async fn apply_parts(
        &self,
        parts: Chunks<'_, EngagementEvent>,
        deadline: Instant,
    ) -> Result<Vec<Effect>, Refusal> {
        let mut answers = Vec::with_capacity(parts.len());
        for part in parts {
            let (answer, answered) = oneshot::channel();
            self.waiting.try_send(Waiting { events: part.to_vec(), answer }).map_err(
                |error| match error {
                    TrySendError::Full(_) => Refusal::Full,
                    TrySendError::Closed(_) => Refusal::Closed,
                },
            )?;
            answers.push(async { answered.await.unwrap_or(Err(Refusal::OutcomeUnknown)) });
        }
        let effects = timeout_at(deadline, try_join_all(answers)).await.map_err(|_| Refusal::TimedOut)??;
        Ok(effects.into_iter().flatten().collect())
    }
}

/// The events of one request, or a part of them.
#[derive(Debug)]
struct Waiting {
    events: Vec<EngagementEvent>,
    answer: oneshot::Sender<Result<Vec<Effect>, Refusal>>,
}

/// What a transaction needs.
#[derive(Debug, Clone)]
struct Transaction {
    engagement: Arc<Engagement>,
    clock: Clock,
    metrics: Metrics,
    time_max: Duration,
}

async fn run(settings: BatchedSettings, transaction: Transaction, mut waiting: mpsc::Receiver<Waiting>) {
    let mut transactions = JoinSet::new();
    let mut left_over = None;
    loop {
        while transactions.len() >= settings.transactions_max {
            transactions.join_next().await;
        }
        let first = match left_over.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => break,
            },
        };
        let (batch, rest) = gather(first, &mut waiting, settings.events_max);
        left_over = rest;
        transactions.spawn(transaction.clone().apply(batch));
    }
    while transactions.join_next().await.is_some() {}
}

/// Takes everything that is waiting and fits. The first request that does not fit begins the next batch.
fn gather(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
    events_max: usize,
) -> (Vec<Waiting>, Option<Waiting>) {
    let mut events = first.events.len();
    let mut batch = vec![first];
    while events < events_max
        && let Ok(next) = waiting.try_recv()
    {
        if events + next.events.len() > events_max {
            return (batch, Some(next));
        }
        events += next.events.len();
        batch.push(next);
    }
    (batch, None)
}

impl Transaction {
    /// Applies a batch and sends each request its effects.
    async fn apply(self, mut batch: Vec<Waiting>) {
        // Drop the requests that have timed out; they were promised nothing.
        batch.retain(|waiting| !waiting.answer.is_closed());
        let mut events = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for waiting in batch {
            answers.push((waiting.events.len(), waiting.answer));
            events.extend(waiting.events);
        }
        if events.is_empty() {
            return;
        }
        // After this time all clients of this batch have given up.
        let applied =
            direct::apply(&self.engagement, &self.clock, WritePath::DirectBatched, events, &self.metrics);
        match timeout(self.time_max, applied).await.unwrap_or(Err(Refusal::TimedOut)) {
            Ok(effects) => {
                let mut effects = effects.into_iter();
                for (events, answer) in answers {
                    let _ = answer.send(Ok(effects.by_ref().take(events).collect()));
                }
            }
            Err(refusal) => {
                for (_, answer) in answers {
                    let _ = answer.send(Err(refusal));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Action;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn waiting(blog_id: i64, events: usize) -> Waiting {
        let event = EngagementEvent {
            id: Uuid::from_u128(1),
            blog_id,
            time: Timestamp::UNIX_EPOCH,
            action: Action::Liked { account_id: 1 },
            key: None,
            imported: false,
        };
        Waiting { events: vec![event; events], answer: oneshot::channel().0 }
    }

    proptest! {
        #[test]
        fn batches_keep_order_and_stay_within_the_limit(sizes in proptest::collection::vec(1..20_usize, 1..40)) {
            let (sender, mut receiver) = mpsc::channel(sizes.len());
            for (place, &size) in sizes.iter().enumerate() {
                sender.try_send(waiting(i64::try_from(place).unwrap(), size)).unwrap();
            }
            let mut seen = Vec::new();
            let mut left_over = None;
            while let Some(first) = left_over.take().or_else(|| receiver.try_recv().ok()) {
                let (batch, rest) = gather(first, &mut receiver, 20);
                left_over = rest;
                prop_assert!(batch.iter().map(|waiting| waiting.events.len()).sum::<usize>() <= 20);
                seen.extend(batch.iter().map(|waiting| (waiting.events[0].blog_id, waiting.events.len())));
            }
            let expected: Vec<_> =
                sizes.iter().enumerate().map(|(place, &size)| (i64::try_from(place).unwrap(), size)).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
