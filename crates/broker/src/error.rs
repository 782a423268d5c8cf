//! What can go wrong with a connection, said without the client library's types.

use std::time::Duration;

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};

use crate::SettingsError;

/// A connection or its channel failed; the epoch is over.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(#[from] Kind);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("{doing}: {source}")]
    Broker { doing: &'static str, source: lapin::Error },
    #[error(
        "RabbitMQ has no {what} {name} in this vhost: run `commonplace migrate` with its [rabbitmq] settings, as an administrator of RabbitMQ"
    )]
    Missing { what: &'static str, name: &'static str },
    #[error("{doing}: no answer within {limit:?}")]
    Silent { doing: &'static str, limit: Duration },
    #[error("{doing}: the channel is gone, and what it delivered comes again")]
    ChannelGone { doing: &'static str },
}

impl Error {
    pub(crate) fn channel_gone(doing: &'static str) -> Self {
        Self(Kind::ChannelGone { doing })
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self(Kind::Settings(error))
    }
}

/// Names what was being done when the client library failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;

    /// The same for a look at an exchange or a queue, which the administrator's step should have made.
    fn finding(self, what: &'static str, name: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for lapin::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error(Kind::Broker { doing, source }))
    }

    fn finding(self, what: &'static str, name: &'static str) -> Result<T, Error> {
        self.map_err(|source| match source.kind() {
            ErrorKind::ProtocolError(error)
                if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) =>
            {
                Error(Kind::Missing { what, name })
            }
            _ => Error(Kind::Broker { doing: "look for the topology", source }),
        })
    }
}

/// Waits for `answer`, but not longer than `limit`.
pub(crate) async fn bounded<T>(
    doing: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(Error(Kind::Silent { doing, limit })))
}
