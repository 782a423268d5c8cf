use super::*;
use crate::auth::Purpose;
use proptest::prelude::*;
use secrecy::SecretString;

fn read_as(caller: &Caller, index: usize, json: &str) -> std::result::Result<EngagementEvent, String> {
    let secrets = Secrets::new(&SecretString::from("secret"));
    let reader = Reader { caller, secrets: &secrets, clock: &Clock::system() };
    reader.read(index, &RawValue::from_string(json.to_owned()).unwrap())
}

fn stranger() -> Caller {
    Caller::test(None, Purpose::Session)
}

fn reader() -> Caller {
    Caller::test(Some(7), Purpose::Session)
}

fn importer() -> Caller {
    Caller::test(Some(7), Purpose::Import)
}

#[test]
fn good_elements_are_events() {
    let view = read_as(&stranger(), 0, r#"{"type":"blog.viewed","blog_id":1,"visitor":"a"}"#).unwrap();
    assert!(
        matches!(view.action, Action::Viewed(_)) && view.blog_id == 1 && !view.imported && view.key.is_none()
    );
    let like = read_as(&reader(), 0, r#"{"type":"blog.liked","blog_id":1}"#).unwrap();
    assert_eq!(like.action, Action::Liked { account_id: 7 });
    let unlike = read_as(&reader(), 0, r#"{"type":"blog.unliked","blog_id":1}"#).unwrap();
    assert_eq!(unlike.action, Action::Unliked { account_id: 7 });
    let share = read_as(&stranger(), 0, r#"{"type":"blog.shared","blog_id":1,"channel":"email"}"#).unwrap();
    assert_eq!(share.action, Action::Shared(Channel::Email));
}

#[test]
fn the_reason_names_the_field() {
    let future = format!(
        r#"{{"type":"blog.viewed","blog_id":1,"visitor":"a","occurred_at":"{}"}}"#,
        Timestamp::now() + jiff::SignedDuration::from_hours(1)
    );
    for (caller, json, field) in [
        (stranger(), "7", "body"),
        (stranger(), r#"["blog.viewed",1,null,null,null,null]"#, "body"),
        (stranger(), r#"{"type":"blog.viewed"}"#, "blog_id"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":"1"}"#, "blog_id"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":9223372036854775808}"#, "blog_id"),
        (stranger(), r#"{"type":"blog.painted","blog_id":1}"#, "type"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":1,"colour":"red"}"#, "colour"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":1,"visitor":""}"#, "visitor"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":1,"channel":"link"}"#, "channel"),
        (stranger(), r#"{"type":"blog.viewed","blog_id":1,"key":"\n"}"#, "key"),
        (stranger(), r#"{"type":"blog.liked","blog_id":1}"#, "type"),
        (stranger(), r#"{"type":"blog.shared","blog_id":1}"#, "channel"),
        (stranger(), r#"{"type":"blog.shared","blog_id":1,"channel":"pigeon"}"#, "channel"),
        (
            stranger(),
            r#"{"type":"blog.viewed","blog_id":1,"occurred_at":"2026-01-01T00:00:00Z"}"#,
            "occurred_at",
        ),
        (importer(), r#"{"type":"blog.viewed","blog_id":1,"occurred_at":"yesterday"}"#, "occurred_at"),
        (
            importer(),
            r#"{"type":"blog.viewed","blog_id":1,"occurred_at":"1969-12-31T23:59:59Z"}"#,
            "occurred_at",
        ),
        (importer(), r#"{"type":"blog.viewed","blog_id":1,"occurred_at":"2026-01-01T00:00:00Z"}"#, "visitor"),
        (importer(), &future, "occurred_at"),
        (importer(), r#"{"type":"blog.liked","blog_id":1}"#, "occurred_at"),
    ] {
        let reason = read_as(&caller, 0, json).unwrap_err();
        assert!(reason.starts_with(&format!("{field}: ")), "{json}: {reason}");
    }
}

#[test]
fn an_imported_event_keeps_its_time_and_its_visitor() {
    let element = |visitor: &str| {
        format!(
            r#"{{"type":"blog.viewed","blog_id":1,"visitor":"{visitor}","occurred_at":"2020-02-02T02:02:02.123456789Z"}}"#
        )
    };
    let one = read_as(&importer(), 0, &element("a")).unwrap();
    assert!(one.imported);
    assert_eq!(one.time, "2020-02-02T02:02:02.123456Z".parse().unwrap());
    assert_ne!(one.action, read_as(&importer(), 0, &element("b")).unwrap().action);
    assert_eq!(one.action, read_as(&importer(), 9, &element("a")).unwrap().action);
}

#[test]
fn only_the_requests_key_includes_the_index() {
    let keyed = r#"{"type":"blog.viewed","blog_id":1,"key":"k"}"#;
    let plain = r#"{"type":"blog.viewed","blog_id":1}"#;
    let mut caller = stranger();
    caller.key = Some("k".to_owned());
    let key = |index, json| read_as(&caller, index, json).unwrap().key.unwrap();
    assert_eq!(key(0, keyed), key(1, keyed));
    assert_ne!(key(0, plain), key(1, plain));
    assert_eq!(key(1, plain), key(1, plain));
    assert_ne!(key(0, plain), key(0, keyed));
}

#[test]
fn indexes_are_kept_when_events_are_rejected() {
    let mut verdicts = Verdicts::default();
    for index in [0, 2, 3, 5] {
        let json = format!(r#"{{"type":"blog.viewed","blog_id":{index}}}"#);
        verdicts.events.push((index, read_as(&stranger(), index, &json).unwrap()));
    }
    assert_eq!(verdicts.reject_where(Refusal::NoSuchBlog, |event| event.blog_id > 2), 2);
    assert_eq!(verdicts.events.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(verdicts.rejected.iter().map(|rejected| rejected.index).collect::<Vec<_>>(), [3, 5]);
}

proptest! {
    #[test]
    fn parsing_never_panics(
        kind in "(blog\\.)?(viewed|liked|shared|.{0,5})", blog_id: i64, visitor in ".{0,140}", channel in ".{0,6}",
        time in ".{0,30}", key in ".{0,140}",
    ) {
        let json = serde_json::json!({
            "type": kind, "blog_id": blog_id, "visitor": visitor, "channel": channel, "occurred_at": time, "key": key,
        });
        let _ = read_as(&importer(), 0, &json.to_string());
    }
}

#[test]
fn elements_beyond_the_largest_batch_are_counted_but_not_kept() {
    let body = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
    let Elements { elements, sent } = parse(body(3).as_bytes()).unwrap();
    assert_eq!((elements.len(), sent), (3, 3));
    let Elements { elements, sent } = parse(body(BATCH_EVENTS_MAX + 7).as_bytes()).unwrap();
    assert_eq!((elements.len(), sent), (BATCH_EVENTS_MAX, BATCH_EVENTS_MAX + 7));
    for bad in ["{}", "1", "[1,", "[1]]"] {
        assert!(parse::<Elements>(bad.as_bytes()).is_err(), "{bad}");
    }
}
