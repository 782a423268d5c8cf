//! `docs/asyncapi.yaml` describes the wire format. These tests check that every event that this crate writes is valid
//! according to it, that it contains each type, and that its names and limits match the code.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in the functions around it")]

use std::collections::BTreeSet;

use events::{
    Action, BlogEvent, BlogEventKind, CONTENT_TYPE, Channel, ENGAGEMENT, ENVELOPE_EVENTS_MAX,
    EngagementEvent, EngagementKind, FollowEvent, FollowEventKind, Visitor, WIRE_VERSION, codec,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

fn document() -> Value {
    serde_saphyr::from_str(include_str!("../../../docs/asyncapi.yaml")).unwrap()
}

/// How a body violates the schema of the message's payload; empty if it does not.
fn differences(document: &Value, message: &str, body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/messages/{message}/payload"),
        "components": document["components"],
    });
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    validator.iter_errors(&body).map(|error| format!("{error} at {}", error.instance_path())).collect()
}

fn engagement(action: Action, key: Option<Uuid>, imported: bool) -> Vec<u8> {
    let time = Timestamp::now();
    codec::encode_engagement(&EngagementEvent { id: Uuid::now_v7(), blog_id: 7, time, action, key, imported })
}

fn blog(kind: BlogEventKind) -> Vec<u8> {
    let time = Timestamp::now();
    codec::encode_blog(&BlogEvent { id: Uuid::now_v7(), blog_id: 7, author_id: 3, time, kind })
}

fn follow(kind: FollowEventKind) -> Vec<u8> {
    let time = Timestamp::now();
    codec::encode_follow(&FollowEvent { id: Uuid::now_v7(), followee_id: 7, follower_id: 3, time, kind })
}

fn texts(value: &Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn written_events_match_the_document() {
    let document = document();
    let mut events = vec![
        engagement(Action::Viewed(Visitor(u64::MAX)), None, false),
        engagement(Action::Viewed(Visitor(0)), Some(Uuid::now_v7()), true),
        engagement(Action::Liked { account_id: 1 }, None, false),
        engagement(Action::Unliked { account_id: 1 }, None, false),
    ];
    events.extend(Channel::ALL.map(|channel| engagement(Action::Shared(channel), None, false)));
    let body = codec::join(events.iter().map(Vec::as_slice));
    assert_eq!(differences(&document, "engagement", &body), [""; 0]);
    for kind in BlogEventKind::ALL {
        let body = codec::join([blog(kind).as_slice()]);
        assert_eq!(differences(&document, "lifecycle", &body), [""; 0], "{kind:?}");
    }
    for kind in FollowEventKind::ALL {
        let body = codec::join([follow(kind).as_slice()]);
        assert_eq!(differences(&document, "follow", &body), [""; 0], "{kind:?}");
    }
}

#[test]
fn events_that_violate_the_document_are_found() {
    let document = document();
    let good: Value = serde_json::from_slice(&engagement(Action::Viewed(Visitor(1)), None, false)).unwrap();
    type Change = fn(&mut Value);
    let wrong: [Change; 5] = [
        |event| event["type"] = json!("blog.painted"),
        |event| event["time"] = json!("yesterday"),
        |event| event["data"]["address"] = json!("192.0.2.1"),
        |event| event["id"] = json!("7"),
        |event| event["subject"] = json!("seven"),
    ];
    for change in wrong {
        let mut event = good.clone();
        change(&mut event);
        let body = json!([event]).to_string();
        assert_eq!(differences(&document, "engagement", body.as_bytes()).len(), 1, "{body}");
    }
}

#[test]
fn names_and_bounds_match_the_code() {
    let document = document();
    let at = |pointer: &str| document.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
    let schema = |name: &str, rest: &str| at(&format!("/components/schemas/{name}/properties/{rest}"));
    assert_eq!(
        texts(schema("EngagementEvent", "type/enum")),
        BTreeSet::from(EngagementKind::ALL.map(EngagementKind::event_type))
    );
    let told = BTreeSet::from(BlogEventKind::ALL.map(BlogEventKind::event_type));
    assert_eq!(texts(schema("BlogEvent", "type/enum")), told);
    assert_eq!(texts(at("/channels/lifecycle/parameters/type/enum")), told);
    let follows = BTreeSet::from(FollowEventKind::ALL.map(FollowEventKind::event_type));
    assert_eq!(texts(schema("FollowEvent", "type/enum")), follows);
    assert_eq!(texts(at("/channels/follows/parameters/type/enum")), follows);
    assert_eq!(
        texts(schema("EngagementEvent", "data/properties/channel/enum")),
        BTreeSet::from(Channel::ALL.map(Channel::name))
    );
    assert_eq!(at("/channels/engagement/address"), ENGAGEMENT);
    assert_eq!(at("/defaultContentType"), CONTENT_TYPE);
    assert_eq!(at("/components/messages/engagement/payload/maxItems"), ENVELOPE_EVENTS_MAX);
    assert_eq!(at("/components/messageTraits/envelope/headers/properties/wire-version/const"), WIRE_VERSION);
}
