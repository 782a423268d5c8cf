//! Looking at queues without taking anything out of them.

use std::time::Duration;

use lapin::Channel;

use crate::error::{Error, bounded};
use crate::link::Link;
use crate::topology::Queue;
use crate::{Settings, topology};

/// A connection that asks how deep queues are. It ends with the first failure: open another one then.
#[derive(Debug)]
pub struct Probe {
    link: Link,
    answer_timeout: Duration,
}

impl Probe {
    /// Connects.
    ///
    /// # Errors
    /// The broker is away, refuses, or does not answer in time; or a setting makes no sense.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        settings.validate()?;
        let link = Link::open(settings, "queue depth").await?;
        Ok(Self { link, answer_timeout: settings.answer_timeout() })
    }

    /// Deliveries that wait in a queue, without those that some consumer holds.
    ///
    /// # Errors
    /// The connection is gone, the queue is missing, or the broker does not answer in time.
    pub async fn depth(&self, queue: Queue) -> Result<u32, Error> {
        depth(&self.link.channel, queue, self.answer_timeout).await
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The broker did not answer, or not in time; the connection is gone all the same.
    pub async fn close(self) -> Result<(), Error> {
        self.link.close().await
    }
}

/// Deliveries that wait in a queue, without those that some consumer holds; over a connection of its own.
///
/// # Errors
/// As for [`Probe::open`].
pub async fn queue_depth(settings: &Settings, queue: Queue) -> Result<u32, Error> {
    let probe = Probe::open(settings).await?;
    let count = probe.depth(queue).await?;
    probe.close().await?;
    Ok(count)
}

/// Asks on a channel of somebody's.
pub(crate) async fn depth(channel: &Channel, queue: Queue, limit: Duration) -> Result<u32, Error> {
    bounded("ask for the depth", limit, topology::depth(channel, queue)).await
}
