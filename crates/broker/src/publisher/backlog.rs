//! The envelopes and items to be sent: first the envelopes of an earlier epoch, then the waiting items.
//!
//! Items whose caller has given up are dropped. While nothing can be sent, the oldest item is dropped as soon as its publish
//! gives up, so after an hour without a broker the queue holds the items of the last seconds, not those of the first.
//!
//! Overdue items are handed over if the service can store them. That needs an envelope id, so all waiting items are put into
//! envelopes first; the items behind the oldest would become overdue moments later anyway. As when publishing,
//! there is no timer: the next envelope fills until the receiver has taken the one before.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use events::traceparent::is_sampled;
use events::{Clock, ENGAGEMENT, Envelope};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events_encoded::{BRACKETS, EncodedEvents};
use super::gather::gather;
use super::outgoing::{Item, Load, Outgoing, Waiter, Waiters};
use super::overdue::Lender;

pub(super) struct Backlog {
    queue: mpsc::Receiver<Item>,
    shutdown: CancellationToken,
    lender: Option<Lender>,
    clock: Clock,
    unresolved: VecDeque<Outgoing>,
    /// An item taken out of the queue that is not in an envelope yet.
    head: Option<Item>,
    /// Since when nothing can be sent; `None` while envelopes can be sent.
    shut_since: Option<Instant>,
    /// The queue accepts no more items.
    closed: bool,
    /// The queue is closed and empty.
    ended: bool,
}

impl Backlog {
    pub(super) fn new(
        queue: mpsc::Receiver<Item>,
        lender: Option<Lender>,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            queue,
            shutdown,
            lender,
            clock,
            unresolved: VecDeque::new(),
            head: None,
            shut_since: Some(Instant::now()),
            closed: false,
            ended: false,
        }
    }

    /// The next envelope, if any item waits.
    pub(super) fn next(&mut self) -> Option<Outgoing> {
        while let Some(outgoing) = self.unresolved.pop_front() {
            if outgoing.waiters.any() {
                return Some(outgoing);
            }
        }
        fill(&mut self.queue, &mut self.head, &self.clock)
    }

    /// Puts the unresolved envelopes of an epoch back, in their order and before everything else.
    pub(super) fn put_back(&mut self, unresolved: impl DoubleEndedIterator<Item = Outgoing>) {
        for outgoing in unresolved.rev() {
            self.unresolved.push_front(outgoing);
        }
    }

    /// Records whether envelopes can be sent from now on.
    pub(super) fn set_open(&mut self, open: bool) {
        self.shut_since = if open { None } else { self.shut_since.or_else(|| Some(Instant::now())) };
    }

    /// Hands over overdue envelopes from the backlog and in flight, as far as there is room.
    pub(super) fn hand_over<'a>(&mut self, in_flight: impl Iterator<Item = &'a mut Outgoing>) {
        let Some(lender) = self.lender.as_ref().filter(|lender| lender.is_idle()) else { return };
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        for outgoing in in_flight.filter(|outgoing| is_due(outgoing.overdue_at)) {
            if !lender.lend(outgoing) {
                return;
            }
        }
        if !is_due(self.overdue_at()) {
            return;
        }
        for outgoing in &mut self.unresolved {
            if !lender.lend(outgoing) {
                return;
            }
        }
        while lender.has_room()
            && let Some(mut outgoing) = fill(&mut self.queue, &mut self.head, &self.clock)
        {
            lender.lend(&mut outgoing);
            self.unresolved.push_back(outgoing);
        }
    }

    /// Whether the input has ended and the backlog is empty.
    pub(super) fn is_drained(&self) -> bool {
        self.ended && self.head.is_none() && self.unresolved.is_empty()
    }

    /// Waits for a change: an item arrived, a caller gave up or was answered elsewhere, an envelope is overdue and can be
    /// handed over, or the input ended. Envelopes in flight are overdue at `in_flight_overdue_at`. The future may be dropped
    /// while it waits.
    pub(super) async fn changed(&mut self, in_flight_overdue_at: Option<Instant>) {
        // Move a complete envelope out of `head`: otherwise it would keep the items behind it in the queue.
        if let Some(ready) = self.head.take_if(|head| matches!(head.load, Load::Envelope(_))) {
            self.unresolved.push_back(assemble(vec![ready], &self.clock));
        }
        let overdue_at = self.overdue_at().into_iter().chain(in_flight_overdue_at).min();
        let room = self.head.is_none() && !self.ended;
        tokio::select! {
            () = when(!self.closed, self.shutdown.cancelled()) => {
                self.queue.close();
                self.closed = true;
            }
            () = abandoned(&mut self.unresolved) => {}
            () = given_up(self.head.as_mut()) => self.head = None,
            () = idle_after(self.lender.as_ref(), overdue_at) => {}
            item = when(room, self.queue.recv()) => match item {
                Some(item) => self.head = Some(item),
                None => self.ended = true,
            }
        }
    }

    /// Drains the input: ends when the input has ended and no caller waits.
    pub(super) async fn drained(&mut self) {
        while !self.is_drained() {
            self.hand_over(std::iter::empty());
            self.changed(None).await;
        }
    }

    /// When the first waiting envelope or item is overdue.
    fn overdue_at(&self) -> Option<Instant> {
        let lender = self.lender.as_ref()?;
        let envelopes = self.unresolved.iter().filter_map(|outgoing| outgoing.overdue_at);
        let first = envelopes.chain(self.head.iter().filter_map(|head| head.overdue_at)).min()?;
        let away = self.shut_since.map(|since| lender.away_at(since));
        Some(away.map_or(first, |away| away.min(first)))
    }
}

async fn when<T>(condition: bool, future: impl Future<Output = T>) -> T {
    if condition { future.await } else { pending().await }
}

/// Waits until an item has no waiting caller, then drops all such items.
async fn abandoned(unresolved: &mut VecDeque<Outgoing>) {
    poll_fn(|context| {
        let before = unresolved.len();
        unresolved.retain(|outgoing| outgoing.waiters.poll_abandoned(context).is_pending());
        if unresolved.len() < before { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn given_up(item: Option<&mut Item>) {
    let Some(item) = item else { return pending().await };
    item.waiter.answer.closed().await;
}

async fn idle_after(lender: Option<&Lender>, moment: Option<Instant>) {
    let (Some(lender), Some(moment)) = (lender, moment) else { return pending().await };
    tokio::time::sleep_until(moment).await;
    lender.idle().await;
}

/// Puts the waiting items into an envelope, if there are any.
fn fill(queue: &mut mpsc::Receiver<Item>, head: &mut Option<Item>, clock: &Clock) -> Option<Outgoing> {
    let mut waited_for = || loop {
        let item = queue.try_recv().ok()?;
        if item.is_waited_for() {
            return Some(item);
        }
    };
    let first = head.take().filter(Item::is_waited_for).or_else(&mut waited_for)?;
    let (items, left) = gather(first, waited_for, Item::size);
    *head = left;
    Some(assemble(items, clock))
}

/// Builds the envelope. Its bytes are copied once, into a body of the right size.
fn assemble(items: Vec<Item>, clock: &Clock) -> Outgoing {
    let overdue_at = items.iter().filter_map(|item| item.overdue_at).min();
    let mut waiters = Vec::with_capacity(items.len());
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        waiters.push(item.waiter);
        match item.load {
            Load::Events(events) => parts.push(events),
            Load::Envelope(envelope) => return outgoing(envelope, waiters, overdue_at),
        }
    }
    let length = parts.iter().map(|part| part.bytes().len() + 1).sum::<usize>() + BRACKETS;
    let mut body = Vec::with_capacity(length);
    let mut events = 0;
    body.push(b'[');
    for part in &parts {
        if events > 0 {
            body.push(b',');
        }
        body.extend_from_slice(part.bytes());
        events += part.count();
    }
    body.push(b']');
    let mut contexts = parts.iter().filter_map(EncodedEvents::traceparent);
    let first = contexts.next();
    let traceparent =
        first.filter(|text| is_sampled(text)).or_else(|| contexts.find(|text| is_sampled(text)));
    let traceparent = traceparent.or(first).map(str::to_owned);
    let envelope = Envelope { id: clock.envelope_id(), routing_key: ENGAGEMENT, events, body, traceparent };
    outgoing(envelope, waiters, overdue_at)
}

fn outgoing(envelope: Envelope, waiters: Vec<Waiter>, overdue_at: Option<Instant>) -> Outgoing {
    Outgoing { envelope: Arc::new(envelope), waiters: Waiters::new(waiters), sent: false, overdue_at }
}
