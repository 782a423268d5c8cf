//! Reads the depth of queues without consuming from them.

use std::time::Duration;

use lapin::Channel;

use crate::error::{Error, bounded};
use crate::link::Link;
use crate::topology::Queue;
use crate::{Settings, topology};

/// A connection for reading the depth of queues. After the first failure it is unusable: open another one.
#[derive(Debug)]
pub struct Probe {
    link: Link,
    answer_timeout: Duration,
}

impl Probe {
    /// Connects.
    ///
    /// # Errors
    /// The broker is down, refuses, or does not answer in time; or a setting is invalid.
    pub async fn open(settings: &Settings) -> Result<Self, Error> {
        settings.validate()?;
        let link = Link::open(settings, "queue depth").await?;
        Ok(Self { link, answer_timeout: settings.answer_timeout() })
    }

    /// The number of messages in a queue that are ready for delivery, without those that a consumer holds.
    ///
    /// # Errors
    /// The connection is closed, the queue is missing, or the broker does not answer in time.
    pub async fn depth(&self, queue: Queue) -> Result<u32, Error> {
        depth(&self.link.channel, queue, self.answer_timeout).await
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// The broker did not answer the close in time. The connection is closed anyway.
    pub async fn close(self) -> Result<(), Error> {
        self.link.close().await
    }
}

/// Like [`Probe::depth`], over a new connection.
///
/// # Errors
/// As for [`Probe::open`].
pub async fn queue_depth(settings: &Settings, queue: Queue) -> Result<u32, Error> {
    let probe = Probe::open(settings).await?;
    let count = probe.depth(queue).await?;
    probe.close().await?;
    Ok(count)
}

/// Reads the depth on the caller's channel.
pub(crate) async fn depth(channel: &Channel, queue: Queue, limit: Duration) -> Result<u32, Error> {
    bounded("read a queue's depth", limit, topology::depth(channel, queue)).await
}
