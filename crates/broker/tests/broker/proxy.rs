//! A TCP proxy that can cut, swallow, stall, and speak for the broker.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What the proxy does with connections and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on.
    Open,
    /// Closes every new connection at once, as if nobody listened.
    Refuse,
    /// Passes requests on and throws the answers away.
    Swallow,
    /// Passes nothing on.
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct Control {
    mode: Mode,
    /// Connections of an older generation are closed.
    generation: u64,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    control: watch::Sender<Control>,
    injected: broadcast::Sender<Vec<u8>>,
    _stop: DropGuard,
}

impl Proxy {
    pub(crate) async fn start(upstream: SocketAddr, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let control = watch::Sender::new(Control { mode, generation: 0 });
        let injected = broadcast::Sender::new(16);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (watched, answers, stopped) = (control.subscribe(), injected.clone(), stop.clone());
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if watched.borrow().mode != Mode::Refuse {
                    let link = link(client, upstream, watched.clone(), answers.subscribe());
                    tasks.spawn(stopped.clone().run_until_cancelled_owned(link));
                }
            }
        }));
        Self { address, control, injected, _stop: stop.drop_guard() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.control.send_modify(|control| control.mode = mode);
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.control.send_modify(|control| control.generation += 1);
    }

    /// Tells every client that the broker is short of memory and reads nothing any more.
    pub(crate) fn block(&self) {
        self.injected.send(connection_method(60, "\u{6}memory")).unwrap();
    }

    /// Takes that back.
    pub(crate) fn unblock(&self) {
        self.injected.send(connection_method(61, "")).unwrap();
    }
}

/// The frame of a method of the class `connection`.
fn connection_method(method: u8, arguments: &str) -> Vec<u8> {
    let length = u32::try_from(4 + arguments.len()).unwrap();
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
    let (mut request, mut answer) = ([0; 64 * 1024], [0; 64 * 1024]);
    loop {
        // Compared here, where the change is marked as seen: a cut that falls into a read or a write is no less a cut.
        let Control { mode, generation: now } = *control.borrow_and_update();
        if now != generation {
            return;
        }
        let passed = tokio::select! {
            // First of all: what comes after a cut does not pass, even if it has arrived already.
            biased;
            changed = control.changed() => match changed {
                Ok(()) => Ok(()),
                Err(_) => return,
            },
            bytes = injected.recv() => client.write_all(&bytes.unwrap()).await,
            read = client.read(&mut request), if mode != Mode::Silent => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => server.write_all(&request[..count]).await,
            },
            read = server.read(&mut answer), if mode != Mode::Silent => match read {
                Ok(0) | Err(_) => return,
                Ok(_) if mode == Mode::Swallow => Ok(()),
                Ok(count) => client.write_all(&answer[..count]).await,
            },
        };
        if passed.is_err() {
            return;
        }
    }
}
