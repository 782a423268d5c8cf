//! Errors of a connection, without types of the client library.

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
    #[error("cannot {doing}: {source}")]
    Broker { doing: &'static str, source: lapin::Error },
    #[error(
        "RabbitMQ has no {what} {name} in this vhost: run `commonplace migrate` with its [rabbitmq] settings, as an administrator of RabbitMQ"
    )]
    Missing { what: &'static str, name: &'static str },
    #[error("cannot {doing}: no answer within {limit:?}")]
    Silent { doing: &'static str, limit: Duration },
    #[error("cannot {doing}: the channel is closed, and its unacked messages will be delivered again")]
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

/// Adds the failed operation to an error of the client library.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Error>;

    /// The same for checking an exchange or a queue that the administrator's step should have created.
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
            _ => Error(Kind::Broker { doing: "check the topology", source }),
        })
    }
}

/// Waits for `answer`, at most for `limit`.
pub(crate) async fn bounded<T>(
    doing: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, answer).await.unwrap_or(Err(Error(Kind::Silent { doing, limit })))
}
