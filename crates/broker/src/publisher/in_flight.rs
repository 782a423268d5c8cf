//! The envelopes that are published but not confirmed yet.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};
use tokio::time::Instant;

use super::outgoing::Outgoing;
use crate::{properties, topology};

type Answer = lapin::Result<Confirmation>;

/// One unconfirmed envelope. Its future first writes the envelope and then waits for the confirm. It must not be dropped
/// while the channel is in use: a returned message could be attributed to it and be lost.
struct InFlight {
    outgoing: Outgoing,
    published_at: Instant,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    answered: Option<Answer>,
}

impl InFlight {
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        if self.answered.is_some() {
            return false;
        }
        if let Poll::Ready(answer) = self.answer.as_mut().poll(context) {
            self.answered = Some(answer);
            return true;
        }
        false
    }
}

/// The result of waiting for confirms.
pub(super) enum Settled {
    /// These envelopes are confirmed, with the time each was published.
    Confirmed(Vec<(Outgoing, Instant)>),
    /// One failed, so the outcome of all is unknown.
    Failed(Failure),
    /// None is answered, and no caller waits for any of them.
    Abandoned,
}

/// How a publish failed.
pub(super) enum Failure {
    /// It was not routed to any queue.
    Returned(String),
    /// The broker rejected it.
    Nacked,
    /// The channel or connection is closed.
    Lost(lapin::Error),
}

/// The unconfirmed envelopes of one channel, in the order they were published.
#[derive(Default)]
pub(super) struct Unconfirmed(Vec<InFlight>);

impl Unconfirmed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The envelopes, for a hand-over.
    pub(super) fn outgoing(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.0.iter_mut().map(|one| &mut one.outgoing)
    }

    /// When the first envelope is overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.0.iter().filter_map(|one| one.outgoing.overdue_at).min()
    }

    /// When the oldest envelope was published.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.first().map(|oldest| oldest.published_at)
    }

    /// Publishes an envelope. `lapin` queues the frames when the future is first polled. [`Unconfirmed::settled`] polls in
    /// the order of these calls.
    pub(super) fn publish(&mut self, channel: &Channel, outgoing: Outgoing, app_id: &'static str) {
        let (channel, envelope) = (channel.clone(), Arc::clone(&outgoing.envelope));
        let answer = Box::pin(async move {
            // An event of a blog may have no consumer, but engagement must reach a queue to be counted.
            let mandatory = envelope.routing_key == events::ENGAGEMENT;
            let options = BasicPublishOptions { mandatory, ..Default::default() };
            let (exchange, key) = (topology::EVENTS.into(), envelope.routing_key.into());
            let properties = properties::write(&envelope, app_id);
            let confirm = channel.basic_publish(exchange, key, options, &envelope.body, properties).await?;
            #[cfg(feature = "fail-points")]
            fail::fail_point!("api-after-write");
            confirm.await
        });
        self.0.push(InFlight { outgoing, published_at: Instant::now(), answer, answered: None });
    }

    /// Waits until at least one envelope is answered or, if `watch_waiters`, until no caller waits. Waits forever if there
    /// are no envelopes. The future may be dropped while it waits.
    ///
    /// `lapin` attributes a returned message to the publish that is answered next, so the publish that was really returned may
    /// look confirmed. The publish to which the message was attributed is always answered before it. So answers count only
    /// after a full round over all envelopes has brought no further answer, and one failure fails all of them.
    pub(super) async fn settled(&mut self, watch_waiters: bool) -> Settled {
        poll_fn(|context| {
            let mut any = false;
            while self.0.iter_mut().fold(false, |news, one| one.poll(context) | news) {
                any = true;
            }
            if any {
                return Poll::Ready(());
            }
            let waited_for = |one: &mut InFlight| one.outgoing.waiters.poll_abandoned(context).is_pending();
            if !watch_waiters || self.0.is_empty() || self.0.iter_mut().any(waited_for) {
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        self.take_answered()
    }

    /// Returns all envelopes, answered or not.
    pub(super) fn into_outgoing(self) -> impl DoubleEndedIterator<Item = Outgoing> {
        self.0.into_iter().map(|one| one.outgoing)
    }

    fn take_answered(&mut self) -> Settled {
        for one in &mut self.0 {
            if let Some(failure) = one.answered.take_if(|answer| !is_clean(answer)).and_then(failure) {
                return Settled::Failed(failure);
            }
        }
        let confirmed: Vec<_> = self
            .0
            .extract_if(.., |one| one.answered.is_some())
            .map(|one| (one.outgoing, one.published_at))
            .collect();
        if confirmed.is_empty() { Settled::Abandoned } else { Settled::Confirmed(confirmed) }
    }
}

fn is_clean(answer: &Answer) -> bool {
    matches!(answer, Ok(Confirmation::Ack(None)))
}

fn failure(answer: Answer) -> Option<Failure> {
    match answer {
        Ok(Confirmation::Ack(None)) => None,
        Ok(Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned))) => {
            Some(Failure::Returned(format!("{} {}", returned.reply_code, returned.reply_text)))
        }
        Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => Some(Failure::Nacked),
        Err(error) => Some(Failure::Lost(error)),
    }
}
