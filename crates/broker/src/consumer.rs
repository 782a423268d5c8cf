//! Receives the deliveries of one queue over one connection. The lifetime of that connection is called an *epoch*.
//!
//! A consumer never reconnects. If its stream ends or fails, or an ack fails, the code that reads from the consumer
//! drops it with all of its deliveries and opens a new one. RabbitMQ delivers unacked messages again.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;

use crate::error::{Doing, Error, bounded};
use crate::link::Link;
use crate::probe::depth;
use crate::{Delivery, Queue, Settings, SettingsError, topology};

/// One connection, one channel, one subscription with manual acks.
#[derive(Debug)]
pub struct Consumer {
    stream: lapin::Consumer,
    ended: bool,
    /// An error that [`Consumer::try_next`] met, for [`Consumer::next`] to return.
    failed: Option<Error>,
    answer_timeout: Duration,
    link: Link,
}

impl Consumer {
    /// Connects and subscribes. At most `prefetch` deliveries are unacked at a time. Choose at least the size of two
    /// batches, so that one batch can fill while the other is committed. `app_id` is the connection's name in the
    /// broker's management tools.
    ///
    /// # Errors
    /// The broker is down, refuses, or does not answer in time; the queue is missing; or a setting is invalid.
    pub async fn open(settings: &Settings, queue: Queue, prefetch: u16, app_id: &str) -> Result<Self, Error> {
        settings.validate()?;
        if prefetch == 0 {
            return Err(
                SettingsError("the prefetch is 0, which means no limit: set a limit".to_owned()).into()
            );
        }
        let link = Link::open(settings, &format!("{app_id} consumer")).await?;
        let answer_timeout = settings.answer_timeout();
        let subscribed = async {
            topology::depth(&link.channel, queue).await?;
            link.channel.basic_qos(prefetch, BasicQosOptions::default()).await.doing("set the prefetch")?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            link.channel
                .basic_consume(queue.name().into(), "".into(), options, arguments)
                .await
                .doing("subscribe")
        };
        let stream = bounded("subscribe", answer_timeout, subscribed).await?;
        Ok(Self { stream, ended: false, failed: None, answer_timeout, link })
    }

    /// Waits for the next delivery. `None` means that the stream has ended because this side or the broker cancelled it.
    /// Dropping the future while it waits loses nothing.
    ///
    /// # Errors
    /// The connection or channel failed. The epoch is over, and `None` follows.
    pub async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if self.ended {
            return None;
        }
        let arrived = self.stream.next().await;
        self.arrived(arrived)
    }

    /// Returns a delivery that has already arrived, without waiting. Leaves an error or the end of the stream to
    /// [`Consumer::next`].
    pub fn try_next(&mut self) -> Option<Delivery> {
        if self.ended {
            return None;
        }
        let arrived = self.stream.next().now_or_never()?;
        match self.arrived(arrived)? {
            Ok(delivery) => Some(delivery),
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }

    /// The number of messages in the queue that are ready for delivery, without those that a consumer holds.
    ///
    /// # Errors
    /// As for [`Consumer::open`].
    pub async fn queue_depth(&self, queue: Queue) -> Result<u32, Error> {
        depth(&self.link.channel, queue, self.answer_timeout).await
    }

    /// Cancels the subscription. The stream ends after the deliveries that have arrived; these can still be acked.
    ///
    /// # Errors
    /// The channel is closed: the epoch is over.
    pub async fn cancel(&self) -> Result<(), Error> {
        let tag = self.stream.tag();
        let cancelled = async {
            self.link
                .channel
                .basic_cancel(tag, BasicCancelOptions::default())
                .await
                .doing("cancel the subscription")
        };
        bounded("cancel the subscription", self.answer_timeout, cancelled).await
    }

    /// Closes the connection. Unacked deliveries return to the queue at once. Dropping the consumer has the same effect
    /// without the AMQP close handshake.
    ///
    /// # Errors
    /// The broker did not answer the close in time. The connection is closed anyway.
    pub async fn close(self) -> Result<(), Error> {
        self.link.close().await
    }

    fn arrived(
        &mut self,
        arrived: Option<lapin::Result<lapin::message::Delivery>>,
    ) -> Option<Result<Delivery, Error>> {
        self.ended = !matches!(arrived, Some(Ok(_)));
        let delivery = arrived?.doing("receive deliveries");
        Some(delivery.map(|delivery| Delivery::new(delivery, self.answer_timeout)))
    }
}
