//! The envelopes that are published and not yet confirmed.

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

/// One of them. Its future first writes the envelope and then waits for the confirm. It is never dropped as
/// long as the channel is used: a returned message could otherwise be attributed to it and be forgotten.
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

/// What became of them.
pub(super) enum Settled {
    /// These are confirmed, with the moment each of them was published.
    Confirmed(Vec<(Outgoing, Instant)>),
    /// One failed, and so nothing is known of any.
    Failed(Failure),
    /// None is answered, and nobody waits for any.
    Abandoned,
}

/// How a publish failed.
pub(super) enum Failure {
    /// No queue took it.
    Returned(String),
    /// The broker refused it.
    Nacked,
    /// Channel or connection are gone.
    Lost(lapin::Error),
}

/// Those of one channel, in the order they were published.
#[derive(Default)]
pub(super) struct Unconfirmed(Vec<InFlight>);

impl Unconfirmed {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The envelopes, to be handed over.
    pub(super) fn outgoing(&mut self) -> impl Iterator<Item = &mut Outgoing> {
        self.0.iter_mut().map(|one| &mut one.outgoing)
    }

    /// When the first of them is overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.0.iter().filter_map(|one| one.outgoing.overdue_at).min()
    }

    /// When the oldest was published.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.first().map(|oldest| oldest.published_at)
    }

    /// Publishes. `lapin` puts the frames into its queue when the future is first polled, which
    /// [`Unconfirmed::settled`] does in the order of these calls.
    pub(super) fn publish(&mut self, channel: &Channel, outgoing: Outgoing, app_id: &'static str) {
        let (channel, envelope) = (channel.clone(), Arc::clone(&outgoing.envelope));
        let answer = Box::pin(async move {
            // Nobody may be listening for a blog event, but engagement has to be counted.
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

    /// Waits until at least one is answered; or, if `watch_waiters`, until nobody waits for any. Waits for ever
    /// when there are none. May be dropped while it waits.
    ///
    /// `lapin` hands a returned message to whichever publish is answered next, so that the one that was returned
    /// may seem fine. But the one that got hold of the message was answered before it. So an answer counts only
    /// after a whole round over all of them that brought no further one, and one failure fails all.
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

    /// Gives everything back, answered or not.
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
