//! A TCP proxy that breaks connections in every way that a network can, and that can send messages in RabbitMQ's name.
//!
//! It runs between two processes of a test or of a chaos run. One [`Mode`] applies to all of its connections and may
//! change at any time. In addition, all current connections can be cut or reset.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Bytes that pass at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that pass at a time when it is slow.
const SLOW_CHUNK_BYTES: usize = 512;
/// Messages that wait to be sent to a client.
const INJECTED_MAX: usize = 16;

/// What the proxy does with connections and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Open,
    /// Closes every new connection at once, as if no process listened.
    Refuse,
    /// Passes requests on and discards the answers: one direction of the connection is lost.
    Swallow,
    /// Passes nothing on and keeps the connections open.
    Silent,
    /// Passes everything on after this delay.
    Late(Duration),
    /// Passes half a KiB at a time with this pause.
    Slow(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Control {
    mode: Mode,
    /// Connections of an older generation are closed.
    generation: u64,
    /// True if they are reset instead of closed.
    reset: bool,
}

/// A running proxy. It ends with all of its connections when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    injected: broadcast::Sender<Vec<u8>>,
    _stop: DropGuard,
}

impl Proxy {
    /// Listens on a free port of the loopback and forwards to `upstream`.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(upstream: SocketAddr, mode: Mode) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let control = watch::Sender::new(Control { mode, generation: 0, reset: false });
        let injected = broadcast::Sender::new(INJECTED_MAX);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (watched, answers, stopped) = (control.subscribe(), injected.clone(), stop.clone());
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                // Out of descriptors, or the client has already left.
                let Ok((client, _)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                if watched.borrow().mode != Mode::Refuse {
                    let link = link(client, upstream, watched.clone(), answers.subscribe());
                    tasks.spawn(stopped.clone().run_until_cancelled_owned(link));
                }
            }
        }));
        Ok(Self { address, control, injected, _stop: stop.drop_guard() })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does from now on.
    pub fn set(&self, mode: Mode) {
        self.control.send_modify(|control| control.mode = mode);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.end(false);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        self.end(true);
    }

    fn end(&self, reset: bool) {
        self.control.send_modify(|control| {
            control.generation += 1;
            control.reset = reset;
        });
    }

    /// Tells every client that the broker is blocked by its memory alarm.
    pub fn block(&self) {
        self.inject(60, "\u{6}memory");
    }

    /// Tells every client that the broker is unblocked.
    pub fn unblock(&self) {
        self.inject(61, "");
    }

    fn inject(&self, method: u8, arguments: &str) {
        // Without connections there is no client to tell.
        let _ = self.injected.send(connection_method(method, arguments));
    }
}

/// The frame of a method of the class `connection`.
fn connection_method(method: u8, arguments: &str) -> Vec<u8> {
    let length = u32::try_from(4 + arguments.len()).unwrap_or(u32::MAX);
    let mut frame = vec![1, 0, 0];
    frame.extend(length.to_be_bytes());
    frame.extend([0, 10, 0, method]);
    frame.extend(arguments.as_bytes());
    frame.push(0xce);
    frame
}

async fn link(
    mut client: TcpStream,
    upstream: SocketAddr,
    mut control: watch::Receiver<Control>,
    mut injected: broadcast::Receiver<Vec<u8>>,
) {
    let generation = control.borrow().generation;
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    let (mut request, mut answer) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    // Small messages must not wait for later ones.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    loop {
        // Compared here, where the change is marked as seen, so that a cut during a read or a write is not lost.
        let Control { mode, generation: now, reset } = *control.borrow_and_update();
        if now != generation {
            if reset {
                let _ = client.set_zero_linger().and(server.set_zero_linger());
            }
            return;
        }
        let (most, pause) = match mode {
            Mode::Late(pause) => (CHUNK_BYTES, pause),
            Mode::Slow(pause) => (SLOW_CHUNK_BYTES, pause),
            Mode::Open | Mode::Refuse | Mode::Swallow | Mode::Silent => (CHUNK_BYTES, Duration::ZERO),
        };
        let (request, answer) =
            (request.get_mut(..most).unwrap_or_default(), answer.get_mut(..most).unwrap_or_default());
        let passed = tokio::select! {
            // Checked first: bytes after a cut do not pass, even if they have already arrived.
            biased;
            changed = control.changed() => match changed {
                Ok(()) => Ok(()),
                Err(_) => return,
            },
            Ok(bytes) = injected.recv() => client.write_all(&bytes).await,
            read = client.read(request), if mode != Mode::Silent => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => pass(request, count, &mut server, pause).await,
            },
            read = server.read(answer), if mode != Mode::Silent => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if mode == Mode::Swallow => Ok(()),
                Ok(count) => pass(answer, count, &mut client, pause).await,
            },
        };
        if passed.is_err() {
            return;
        }
    }
}

async fn pass(bytes: &[u8], count: usize, to: &mut TcpStream, pause: Duration) -> std::io::Result<()> {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    to.write_all(bytes.get(..count).unwrap_or_default()).await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// An echo server behind a proxy.
    async fn echo(mode: Mode) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        TaskTracker::new().spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                TaskTracker::new().spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::start(upstream, mode).await.unwrap()
    }

    #[tokio::test]
    async fn proxy_passes_delays_cuts_and_resets() {
        let proxy = echo(Mode::Open).await;
        let mut answer = [0; 4];
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");

        proxy.set(Mode::Late(Duration::from_millis(50)));
        let began = Instant::now();
        stream.write_all(b"late").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100), "once each way: {:?}", began.elapsed());

        proxy.cut();
        assert_eq!(stream.read(&mut answer).await.unwrap(), 0);
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        proxy.reset();
        let reset = stream.read(&mut answer).await.unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
