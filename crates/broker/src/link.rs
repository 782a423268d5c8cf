//! One TCP connection with one channel, which an epoch runs on.
//!
//! `lapin` runs a thread per connection until the socket closes. If the broker accepts a connection and then stays silent,
//! or blocks it, the thread and buffers of every abandoned epoch would stay. So a link keeps a second handle to the socket
//! and shuts the socket down when it is dropped. The thread then sees the end of its stream and ends, whatever the peer
//! does.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, TLSConfig};
use lapin::{Channel, Connection, ConnectionProperties};

use crate::Settings;
use crate::error::{Doing, Error, bounded};

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) channel: Channel,
    pub(crate) connection: Connection,
    answer_timeout: Duration,
    /// Dropped last, after the connection.
    _socket: Arc<Socket>,
}

impl Link {
    /// Connects and opens the channel. `name` is the connection's name in the broker's management tools.
    pub(crate) async fn open(settings: &Settings, name: &str) -> Result<Self, Error> {
        bounded("connect to RabbitMQ", settings.connect_timeout(), Box::pin(Self::establish(settings, name)))
            .await
    }

    async fn establish(settings: &Settings, name: &str) -> Result<Self, Error> {
        let uri = settings.uri()?;
        let runtime = lapin::runtime::default_runtime().doing("find the async runtime")?;
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let socket = Arc::new(Socket::default());
        let (slot, limit) = (Arc::downgrade(&socket), settings.connect_timeout());
        let connection = Connection::connector(
            uri,
            runtime,
            // This runs on the connection's own thread, so it needs a separate limit.
            async move |uri, runtime| {
                let connected = uri.connect_with_config_async(TLSConfig::default(), &runtime);
                let stream = tokio::time::timeout(limit, connected).await.map_err(std::io::Error::from)??;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    Socket::keep(&slot, plain.get_ref())?;
                }
                Ok(stream)
            },
            properties,
        )
        .await
        .doing("connect to RabbitMQ")?;
        let channel = connection.create_channel().await.doing("open a channel")?;
        Ok(Self { channel, connection, answer_timeout: settings.answer_timeout(), _socket: socket })
    }

    /// Closes the connection with the AMQP handshake, so that RabbitMQ receives everything that was written before.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let goodbye = async { self.connection.close(200, "done".into()).await.doing("close the connection") };
        bounded("close the connection", self.answer_timeout, goodbye).await
    }
}

/// A second handle to a connection's socket.
#[derive(Debug, Default)]
struct Socket(Mutex<Option<TcpStream>>);

impl Socket {
    /// Keeps a handle to `stream`, unless the caller has already stopped waiting for the connection.
    fn keep(slot: &Weak<Self>, stream: &impl AsFd) -> std::io::Result<()> {
        let socket = slot.upgrade().ok_or(std::io::ErrorKind::ConnectionAborted)?;
        let handle = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        *socket.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(stream) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // This fails only if the connection is already closed.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
