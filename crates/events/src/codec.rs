//! Writes and reads CloudEvents 1.0 JSON.
//!
//! Each event is encoded separately and a batch is their concatenation, so handlers encode in parallel and the task that
//! fills envelopes only copies bytes. Reading tolerates bad events: an event that cannot be read becomes a [`Malformed`] with
//! its text and the reason, and its neighbours are still read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Action, BlogEvent, BlogEventKind, Channel, EngagementEvent, FollowEvent, Visitor};

const SPEC_VERSION: &str = "1.0";
const SOURCE: &str = "/blogs-api";

/// The body is not a JSON array, so it cannot be split into events.
#[derive(Debug, thiserror::Error)]
#[error("the body is not a JSON array of events")]
pub struct Unreadable(#[from] serde_json::Error);

/// An element of a batch that is not an event of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with it.
    pub reason: String,
    /// Its text, as it was received.
    pub body: String,
}

/// Encodes one engagement event.
#[must_use]
pub fn encode_engagement(event: &EngagementEvent) -> Vec<u8> {
    let (visitor, account_id, channel) = match event.action {
        Action::Viewed(visitor) => (Some(format!("{:016x}", visitor.0)), None, None),
        Action::Liked { account_id } | Action::Unliked { account_id } => (None, Some(account_id), None),
        Action::Shared(channel) => (None, None, Some(channel.name())),
    };
    write(&Written {
        specversion: SPEC_VERSION,
        id: event.id,
        source: SOURCE,
        r#type: event.action.kind().event_type(),
        subject: event.blog_id.to_string(),
        time: event.time,
        idempotencykey: event.key,
        imported: event.imported,
        data: WrittenData { visitor, account_id, author_id: None, channel },
    })
}

/// Encodes one blog event.
#[must_use]
pub fn encode_blog(event: &BlogEvent) -> Vec<u8> {
    write(&Written {
        specversion: SPEC_VERSION,
        id: event.id,
        source: SOURCE,
        r#type: event.kind.event_type(),
        subject: event.blog_id.to_string(),
        time: event.time,
        idempotencykey: None,
        imported: false,
        data: WrittenData {
            visitor: None,
            account_id: None,
            author_id: Some(event.author_id),
            channel: None,
        },
    })
}

/// Encodes a follow or unfollow. The subject is the followed account.
#[must_use]
pub fn encode_follow(event: &FollowEvent) -> Vec<u8> {
    write(&Written {
        specversion: SPEC_VERSION,
        id: event.id,
        source: SOURCE,
        r#type: event.kind.event_type(),
        subject: event.followee_id.to_string(),
        time: event.time,
        idempotencykey: None,
        imported: false,
        data: WrittenData {
            visitor: None,
            account_id: Some(event.follower_id),
            author_id: None,
            channel: None,
        },
    })
}

/// Joins encoded events into the body of an envelope.
#[must_use]
pub fn join<'event>(events: impl IntoIterator<Item = &'event [u8]>) -> Vec<u8> {
    let mut body = vec![b'['];
    for event in events {
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.push(b']');
    body
}

/// Reads the body of an engagement envelope, each event separately.
///
/// # Errors
/// [`Unreadable`] if the body is not a JSON array.
pub fn decode_engagement(body: &[u8]) -> Result<Vec<Result<EngagementEvent, Malformed>>, Unreadable> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body)?;
    Ok(elements.into_iter().map(|element| decode_one(element.get())).collect())
}

/// Reads the body of an envelope of blog events, each event separately.
///
/// # Errors
/// [`Unreadable`] if the body is not a JSON array.
pub fn decode_blog(body: &[u8]) -> Result<Vec<Result<BlogEvent, Malformed>>, Unreadable> {
    let elements: Vec<&RawValue> = serde_json::from_slice(body)?;
    Ok(elements.into_iter().map(|element| decode_one_blog(element.get())).collect())
}

/// Reads one engagement event from its text.
///
/// # Errors
/// [`Malformed`] with the reason and the text.
pub fn decode_one(text: &str) -> Result<EngagementEvent, Malformed> {
    let malformed = |reason: String| Malformed { reason, body: text.to_owned() };
    let (read, blog_id) = read(text).map_err(malformed)?;
    let action = read.action().map_err(malformed)?;
    Ok(EngagementEvent {
        id: read.id,
        blog_id,
        time: read.time,
        action,
        key: read.idempotencykey,
        imported: read.imported,
    })
}

fn decode_one_blog(text: &str) -> Result<BlogEvent, Malformed> {
    let malformed = |reason: String| Malformed { reason, body: text.to_owned() };
    let (read, blog_id) = read(text).map_err(malformed)?;
    let kind = BlogEventKind::ALL.into_iter().find(|kind| kind.event_type() == read.r#type);
    let kind = kind.ok_or_else(|| malformed(format!("type {:?} is not a blog event", read.r#type)))?;
    let author_id = read.data.author_id.ok_or_else(|| malformed("data.author_id is missing".to_owned()))?;
    Ok(BlogEvent { id: read.id, blog_id, author_id, time: read.time, kind })
}

/// Checks what all events have in common: the version of the specification, and a blog as the subject.
fn read(text: &str) -> Result<(Read<'_>, i64), String> {
    let read: Read<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if read.specversion != SPEC_VERSION {
        return Err(format!("specversion is {:?}, not {SPEC_VERSION:?}", read.specversion));
    }
    if read.time < Timestamp::UNIX_EPOCH {
        return Err(format!("time {} is before 1970", read.time));
    }
    let blog_id = read.subject.parse().map_err(|_| "subject is not a blog id".to_owned())?;
    Ok((read, blog_id))
}

fn write(event: &Written<'_>) -> Vec<u8> {
    // Serializing these plain structs to memory cannot fail: all keys are text, and the writer never fails.
    serde_json::to_vec(event).unwrap_or_default()
}

#[derive(Serialize)]
struct Written<'a> {
    specversion: &'a str,
    id: Uuid,
    source: &'a str,
    r#type: &'a str,
    subject: String,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotencykey: Option<Uuid>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    data: WrittenData<'a>,
}

#[derive(Serialize)]
struct WrittenData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
}

// Strings that are only compared or parsed are `Cow`: they are borrowed unless the JSON contains an escape.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    specversion: std::borrow::Cow<'a, str>,
    id: Uuid,
    #[serde(borrow)]
    r#type: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    subject: std::borrow::Cow<'a, str>,
    time: Timestamp,
    #[serde(default)]
    idempotencykey: Option<Uuid>,
    #[serde(default)]
    imported: bool,
    #[serde(borrow)]
    data: ReadData<'a>,
}

#[derive(Deserialize)]
struct ReadData<'a> {
    #[serde(borrow, default)]
    visitor: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    account_id: Option<i64>,
    #[serde(default)]
    author_id: Option<i64>,
    #[serde(borrow, default)]
    channel: Option<std::borrow::Cow<'a, str>>,
}

impl Read<'_> {
    fn action(&self) -> Result<Action, String> {
        let account_id = || self.data.account_id.ok_or_else(|| "data.account_id is missing".to_owned());
        match self.r#type.as_ref() {
            "blog.viewed" => {
                let visitor = self.data.visitor.as_deref().ok_or("data.visitor is missing")?;
                let visitor = u64::from_str_radix(visitor, 16)
                    .map_err(|_| "data.visitor is not a 64-bit hexadecimal number".to_owned())?;
                Ok(Action::Viewed(Visitor(visitor)))
            }
            "blog.liked" => Ok(Action::Liked { account_id: account_id()? }),
            "blog.unliked" => Ok(Action::Unliked { account_id: account_id()? }),
            "blog.shared" => {
                let channel = self.data.channel.as_deref().ok_or("data.channel is missing")?;
                let channel: Channel = channel.parse().map_err(|error| format!("data.channel: {error}"))?;
                Ok(Action::Shared(channel))
            }
            other => Err(format!("type {other:?} is not an engagement event")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = EngagementEvent> {
        let action = prop_oneof![
            any::<u64>().prop_map(|visitor| Action::Viewed(Visitor(visitor))),
            any::<i64>().prop_map(|account_id| Action::Liked { account_id }),
            any::<i64>().prop_map(|account_id| Action::Unliked { account_id }),
            (0..Channel::ALL.len()).prop_map(|index| Action::Shared(Channel::ALL[index])),
        ];
        let time = (0_i64..4_000_000_000_000_000)
            .prop_map(|micros| Timestamp::from_microsecond(micros).expect("a time before 2097"));
        (any::<u128>(), any::<i64>(), time, action, proptest::option::of(any::<u128>()), any::<bool>())
            .prop_map(|(id, blog_id, time, action, key, imported)| EngagementEvent {
                id: Uuid::from_u128(id),
                blog_id,
                time,
                action,
                key: key.map(Uuid::from_u128),
                imported,
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(events in proptest::collection::vec(event(), 0..20)) {
            let encoded: Vec<Vec<u8>> = events.iter().map(encode_engagement).collect();
            let body = join(encoded.iter().map(Vec::as_slice));
            let read: Result<Vec<_>, _> = decode_engagement(&body).unwrap().into_iter().collect();
            prop_assert_eq!(read.unwrap(), events);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_engagement(&bytes);
        }

        #[test]
        fn a_cut_or_changed_body_never_reads_as_more_events(
            events in proptest::collection::vec(event(), 1..5), cut in any::<prop::sample::Index>(), byte: u8,
        ) {
            let encoded: Vec<Vec<u8>> = events.iter().map(encode_engagement).collect();
            let mut body = join(encoded.iter().map(Vec::as_slice));
            let at = cut.index(body.len());
            body[at] = byte;
            let counted = decode_engagement(&body).map_or(0, |read| read.iter().filter(|one| one.is_ok()).count());
            prop_assert!(counted <= events.len());
            body.truncate(at);
            prop_assert!(decode_engagement(&body).is_err());
        }
    }

    #[test]
    fn a_blog_event_is_read_back_and_an_event_of_another_kind_is_refused() {
        for kind in BlogEventKind::ALL {
            let time = Timestamp::from_microsecond(1_795_000_000_123_456).unwrap();
            let event = BlogEvent { id: Uuid::from_u128(7), blog_id: 1, author_id: 2, time, kind };
            let body = join([encode_blog(&event).as_slice(), b"{}"]);
            let read = decode_blog(&body).unwrap();
            assert_eq!(read[0].as_ref().unwrap(), &event);
            assert!(read[1].is_err());
        }
        let viewed = r#"[{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/x",
            "type":"blog.viewed","subject":"7","time":"2026-11-22T10:00:00Z","data":{"visitor":"ff"}}]"#;
        let refused = decode_blog(viewed.as_bytes()).unwrap().remove(0).unwrap_err();
        assert!(refused.reason.contains("is not a blog event"), "{refused:?}");
        assert!(decode_blog(b"{}").is_err());
    }

    #[test]
    fn one_bad_event_leaves_its_neighbours_readable() {
        let good = r#"{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/x",
            "type":"blog.viewed","subject":"7","time":"2026-11-22T10:00:00Z","data":{"visitor":"ff"}}"#;
        let body = format!(r#"[{good},{{"type":"blog.viewed"}},42,{good}]"#);
        let read = decode_engagement(body.as_bytes()).unwrap();
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        assert_eq!(read[2].as_ref().unwrap_err().body, "42");
    }

    #[test]
    fn no_event_is_older_than_1970() {
        let at = |time: &str| {
            format!(
                r#"{{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/x",
                    "type":"blog.viewed","subject":"7","time":"{time}","data":{{"visitor":"ff"}}}}"#
            )
        };
        assert!(decode_one(&at("1970-01-01T00:00:00Z")).is_ok());
        for time in ["1969-12-31T23:59:59.999999Z", "-002026-11-25T10:00:00Z"] {
            assert!(decode_one(&at(time)).unwrap_err().reason.contains("before 1970"), "{time}");
        }
    }

    #[test]
    fn the_reason_names_the_field() {
        for (data, reason) in [
            (
                r#""blog.shared","subject":"1","data":{"channel":"carrier pigeon"}"#,
                "data.channel: unknown channel",
            ),
            (r#""blog.liked","subject":"1","data":{}"#, "data.account_id is missing"),
            (r#""blog.viewed","subject":"one","data":{"visitor":"1"}"#, "subject is not a blog id"),
            (r#""blog.painted","subject":"1","data":{}"#, "is not an engagement event"),
        ] {
            let text = format!(
                r#"{{"specversion":"1.0","id":"019a0000-0000-7000-8000-000000000001","source":"/x",
                    "time":"2026-11-22T10:00:00Z","type":{data}}}"#
            );
            let malformed = decode_one(&text).unwrap_err();
            assert!(malformed.reason.contains(reason), "{} should contain {reason}", malformed.reason);
        }
    }
}
