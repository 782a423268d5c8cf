//! Finds loopback ports, and checks whether a server on one is ready.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::time::Duration;

use crate::error::{Doing, Error};

/// How often to try a start if another process takes the port before the server binds it.
pub(crate) const ATTEMPTS_MAX: u32 = 5;

/// The range of ports to search. It is below the ports of outgoing connections (on Linux from 32768,
/// `net.ipv4.ip_local_port_range`); such a connection could use the port of a server while it is being restarted.
const RANGE: Range<u16> = 10_000..32_000;
/// How many ports to try before giving up.
const TRIES_MAX: usize = 1000;

/// Different free ports of 127.0.0.1 that the system does not assign to outgoing connections.
///
/// # Errors
/// There are no free ports.
pub fn free<const N: usize>() -> Result<[u16; N], Error> {
    let find = || -> io::Result<[u16; N]> {
        // All ports are held until the last is found, so that none is returned twice.
        let mut listeners = Vec::with_capacity(N);
        let mut ports = [0; N];
        for port in &mut ports {
            let listener = bind_at_random()?;
            *port = listener.local_addr()?.port();
            listeners.push(listener);
        }
        Ok(ports)
    };
    find().doing(|| "find a free port on 127.0.0.1".to_owned())
}

fn bind_at_random() -> io::Result<TcpListener> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for _ in 0..TRIES_MAX {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, rand::random_range(RANGE))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether a server's last log lines say that its port was in use.
pub(crate) fn was_taken(log: &str) -> bool {
    let log = log.to_lowercase();
    ["address already in use", "eaddrinuse", "port is already allocated"]
        .iter()
        .any(|words| log.contains(words))
}

/// Whether Postgres accepts sessions: it asks for a password instead of refusing with "starting up".
pub(crate) fn postgres_is_ready(port: u16) -> bool {
    const VERSION_3: [u8; 4] = 196_608_u32.to_be_bytes();
    const PARAMETERS: &[u8] = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(PARAMETERS.len() + 8).unwrap_or_default().to_be_bytes();
    let hello = [&length[..], &VERSION_3[..], PARAMETERS].concat();
    first_bytes(port, &hello).is_ok_and(|answer| answer == [b'R'])
}

/// Whether RabbitMQ accepts connections: it answers the AMQP 0-9-1 header with a method frame.
pub(crate) fn amqp_is_ready(port: u16) -> bool {
    first_bytes(port, b"AMQP\0\0\x09\x01").is_ok_and(|answer| answer == [1])
}

/// Whether `epmd` answers a request for names. Its answer begins with its own port.
pub(crate) fn epmd_is_ready(port: u16) -> bool {
    const NAMES: &[u8] = &[0, 1, b'n'];
    first_bytes(port, NAMES).is_ok_and(|answer: [u8; 4]| answer == u32::from(port).to_be_bytes())
}

fn first_bytes<const N: usize>(port: u16, hello: &[u8]) -> io::Result<[u8; N]> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    // Read the complete answer: closing with unread data resets the connection, which servers log.
    let mut answer = [0_u8; 4096];
    let length = stream.read(&mut answer)?;
    answer
        .get(..length)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let [first, second] = free().unwrap();
        assert_ne!(first, second);
        for port in [first, second] {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn each_servers_message_for_a_taken_port_is_recognised() {
        assert!(was_taken("LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use"));
        assert!(was_taken("BOOT FAILED {error,{listen,eaddrinuse}}"));
        assert!(was_taken("Bind for 127.0.0.1:5432 failed: port is already allocated"));
        assert!(!was_taken("FATAL:  data directory has wrong ownership"));
    }

    #[test]
    fn a_listener_that_says_something_else_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..3 {
                    listener.accept().unwrap().0.write_all(b"E").unwrap();
                }
            });
            assert!(!postgres_is_ready(port));
            assert!(!amqp_is_ready(port));
            assert!(!epmd_is_ready(port));
        });
    }
}
