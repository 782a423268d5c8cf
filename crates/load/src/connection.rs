//! A minimal HTTP/1.1 client with one keep-alive connection. The generator shares the machine with the system it measures,
//! so a request costs only one write of prepared bytes, one read, and parsing the head of the response. It supports only
//! what our services send: a status, a `content-length` and a body.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS_MAX: usize = 32;
/// Maximum length of a response, unless the caller sets another.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The connection ended or returned something invalid before the response was complete. The request may or may not have
/// been processed.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Reading or writing failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// The server closed the connection without a complete response.
    #[error("the server closed the connection before its response was complete")]
    Closed,
    /// The bytes are not an HTTP/1.1 response.
    #[error("the response is not HTTP/1.1")]
    Malformed(#[from] httparse::Error),
    /// A response of a form or size that our services never send.
    #[error("the response {0}")]
    Unsupported(&'static str),
}

/// The parts of a response that the load generator needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether the server closes the connection after this response.
    pub last: bool,
}

impl Answer {
    /// Whether a refused request may still be counted. A 503 of the Blogs API is definite only if it says that nothing was
    /// promised and does not warn of counting twice.
    #[must_use]
    pub fn leaves_open(self, body: &[u8]) -> bool {
        if self.status != 503 {
            return false;
        }
        let said = String::from_utf8_lossy(body);
        !said.contains("nothing was promised") || said.contains("it may count twice")
    }
}

/// The connection. After a failed exchange it is unusable.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    answer_bytes_max: usize,
    /// The offset of the body in the last response.
    body_at: usize,
    /// Bytes transferred over this connection in both directions.
    bytes: u64,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The connection is refused or cannot be configured.
    pub async fn open(target: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        let received = Vec::with_capacity(4096);
        Ok(Self { stream, received, answer_bytes_max: ANSWER_BYTES_MAX, body_at: 0, bytes: 0 })
    }

    /// Connects, with this maximum length of responses.
    ///
    /// # Errors
    /// The connection is refused or cannot be configured.
    pub async fn open_for(target: SocketAddr, answer_bytes_max: usize) -> std::io::Result<Self> {
        Ok(Self { answer_bytes_max, ..Self::open(target).await? })
    }

    /// The body of the last response.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.received.get(self.body_at..).unwrap_or_default()
    }

    /// Bytes that were sent and received.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sends one request and reads the complete response.
    ///
    /// # Errors
    /// [`Broken`]: the request may or may not have been processed.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Broken> {
        self.received.clear();
        self.stream.write_all(request).await?;
        self.bytes += request.len() as u64;
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(Broken::Closed);
            }
            let Some((answer, length)) = parse(&self.received, self.answer_bytes_max)? else { continue };
            match self.received.len().cmp(&(length.head + length.body)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    self.body_at = length.head;
                    self.bytes += self.received.len() as u64;
                    return Ok(answer);
                }
                std::cmp::Ordering::Greater => {
                    return Err(Broken::Unsupported("is longer than its content-length"));
                }
            }
        }
    }
}

/// The bytes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length {
    head: usize,
    body: usize,
}

/// The response and its length, once its head is complete.
fn parse(received: &[u8], bytes_max: usize) -> Result<Option<(Answer, Length)>, Broken> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(received)? else {
        return if received.len() > bytes_max { Err(Broken::Unsupported("is too large")) } else { Ok(None) };
    };
    let status = response.code.ok_or(Broken::Unsupported("has no status"))?;
    let mut last = response.version == Some(0);
    let mut body = if status == 204 || status == 304 { Some(0) } else { None };
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            body = std::str::from_utf8(header.value).ok().and_then(|length| length.trim().parse().ok());
        } else if header.name.eq_ignore_ascii_case("connection") {
            last |= header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let body: usize = body.ok_or(Broken::Unsupported("has no content-length"))?;
    if body > bytes_max {
        return Err(Broken::Unsupported("is too large"));
    }
    Ok(Some((Answer { status, last }, Length { head, body })))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: &[u8] =
        b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let length = Length { head: ACCEPTED.len() - 2, body: 2 };
        let expected = (Answer { status: 202, last: false }, length);
        assert_eq!(parse(ACCEPTED, 100).unwrap(), Some(expected));
        assert_eq!(parse(&ACCEPTED[..ACCEPTED.len() - 2], 100).unwrap(), Some(expected));
        assert_eq!(parse(&ACCEPTED[..30], 100).unwrap(), None);
    }

    #[test]
    fn an_answer_may_be_the_last_of_its_connection() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n";
        let length = Length { head: answer.len(), body: 0 };
        assert_eq!(parse(answer, 100).unwrap(), Some((Answer { status: 503, last: true }, length)));
    }

    #[test]
    fn response_without_a_usable_length_is_refused() {
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(matches!(parse(chunked, 100), Err(Broken::Unsupported(_))));
        assert!(matches!(parse(b"SSH-2.0-OpenSSH\r\n", 100), Err(Broken::Malformed(_))));
        assert!(matches!(parse(ACCEPTED, 1), Err(Broken::Unsupported("is too large"))));
    }
}
