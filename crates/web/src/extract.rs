//! Extractors for handlers. They work like axum's, but every rejection is a [`Problem`] that names the field or the
//! position, and a body must not contain unknown fields: a misspelt field is rejected, not ignored.

use std::error::Error;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::error::Category;

use crate::held::BodyError;
use crate::problem::{Problem, Result};

/// A JSON body. 415 if its Content-Type is not JSON, 413 if it is too long, 400 if it is not valid JSON, 422 if a field is
/// missing, unknown or of the wrong type.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A complete body of any type. 413 if it is too long, 408 if it arrives too slowly, 429 or 503 if there is no memory for
/// it.
#[derive(Debug, Clone)]
pub struct Content(pub Bytes);

/// The parameters of the path; 400 if one cannot be parsed.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

/// The parameters of the query; 400 if one cannot be parsed.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(Problem::unsupported_media_type("send the body as Content-Type: application/json"));
        }
        let Content(body) = Content::from_request(request, state).await?;
        parse(&body).map(Self)
    }
}

impl<S: Send + Sync> FromRequest<S> for Content {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| unread(&rejection))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(match error.into_kind() {
                ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
                    Problem::bad_parameter(key, format!("must be {}", type_in_words(expected_type)))
                }
                ErrorKind::ParseError { expected_type, .. }
                | ErrorKind::ParseErrorAtIndex { expected_type, .. } => {
                    Problem::bad_parameter("id", format!("must be {}", type_in_words(expected_type)))
                }
                ErrorKind::InvalidUtf8InPathParam { key } => Problem::bad_parameter(key, "must be UTF-8"),
                ErrorKind::DeserializeError { key, message, .. } => Problem::bad_parameter(key, message),
                _ => Problem::bad_request("the path cannot be parsed"),
            }),
            Err(_) => Err(Problem::bad_request("the path cannot be parsed")),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let path = error.path().clone();
            let reason = error.into_inner().to_string();
            match field_at_fault(&path, &reason) {
                Some(parameter) => Problem::bad_parameter(parameter, reason),
                None => Problem::bad_request(format!("the query cannot be parsed: {reason}")),
            }
        })
    }
}

/// Parses `body` as one JSON value. A struct must be a JSON object, not a list of field values.
///
/// # Errors
/// A [`Problem`]: 400 with line and column if it is not JSON, 422 with the field if it is not a `T`.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(Body(&mut json)).map_err(|error| {
        let path = error.path().clone();
        let reason = error.into_inner();
        match reason.classify() {
            Category::Data => {
                let reason = reason.to_string();
                Problem::invalid(field_at_fault(&path, &reason).unwrap_or_else(|| "body".to_owned()), reason)
            }
            Category::Syntax | Category::Eof | Category::Io => not_json(&reason),
        }
    })?;
    json.end().map_err(|reason| not_json(&reason))?;
    Ok(value)
}

/// The field that an error refers to, with its path, or `None` if it refers to the whole body. For a missing or duplicate
/// field, serde gives the path of the object, and the field's name only in the message.
fn field_at_fault(place: &serde_path_to_error::Path, reason: &str) -> Option<String> {
    let name = ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|words| reason.strip_prefix(words)?.split_once('`'))
        .map(|(name, _)| name);
    match (place.iter().len(), name) {
        (0, name) => name.map(str::to_owned),
        (_, Some(name)) => Some(format!("{place}.{name}")),
        (_, None) => Some(place.to_string()),
    }
}

/// The outermost value of a body. Serde's derived structs also accept a list of field values in the order of declaration,
/// which is not part of this API; a map accepts only an object. Works for structs, lists and maps, but not for options,
/// newtypes and enums.
struct Body<'a, R>(&'a mut serde_json::Deserializer<R>);

impl<'de, R: serde_json::de::Read<'de>> Deserializer<'de> for Body<'_, R> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> std::result::Result<V::Value, Self::Error> {
        self.0.deserialize_map(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> std::result::Result<V::Value, Self::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn not_json(reason: &serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body is not JSON: {reason}"))
}

fn unread(rejection: &BytesRejection) -> Problem {
    let mut cause = rejection.source();
    while let Some(error) = cause {
        if let Some(BodyError::Refused(refusal)) = error.downcast_ref() {
            return (*refusal).into();
        }
        cause = error.source();
    }
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large("the body is too long"),
        _ => Problem::bad_request("the body could not be read completely"),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn type_in_words(expected: &'static str) -> &'static str {
    match expected {
        "i64" => "a 64-bit integer",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "a JSON object")]
    #[expect(dead_code, reason = "read by serde alone")]
    struct Draft {
        tags: Vec<String>,
        blog_id: Option<i64>,
    }

    fn refused(body: &[u8]) -> Problem {
        parse::<Draft>(body).expect_err("the body is bad")
    }

    #[test]
    fn the_error_names_the_path_of_the_bad_field() {
        for (body, field) in [
            (r#"{"tags": ["a", 7]}"#, "tags[1]"),
            (r#"{"tags": "a"}"#, "tags"),
            (r#"{"tags": [], "tag": 1}"#, "tag"),
            (r#"{"blog_id": 1}"#, "tags"),
            ("{}", "tags"),
            (r#"{"tags": [], "blog_id": 1, "blog_id": 2}"#, "blog_id"),
            (r#"{"tags": [], "missing field `tags`": 1}"#, "missing field `tags`"),
            ("7", "body"),
        ] {
            let problem = refused(body.as_bytes());
            assert_eq!(problem.status(), 422, "{body}");
            assert_eq!(problem.errors()[0].field, field, "{body}: {problem:?}");
            let list = format!(r#"[{{"tags": []}}, {body}]"#);
            let problem = parse::<Vec<Draft>>(list.as_bytes()).unwrap_err();
            let place = if field == "body" { "[1]".to_owned() } else { format!("[1].{field}") };
            assert_eq!(problem.errors()[0].field, place, "{list}: {problem:?}");
        }
        assert!(refused(b"{}").detail().contains("missing field `tags`"));
    }

    #[test]
    fn a_list_is_not_an_object() {
        parse::<Draft>(br#"{"tags": ["a"], "blog_id": 1}"#).unwrap();
        let problem = refused(br#" [["a"], 1]"#);
        assert_eq!((problem.status().as_u16(), &*problem.errors()[0].field), (422, "body"));
        assert!(problem.detail().contains("expected a JSON object"), "{problem:?}");
    }

    #[tokio::test]
    async fn a_repeated_parameter_is_named_in_the_error() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "read by serde alone")]
        struct Page {
            limit: Option<String>,
        }
        let request = axum::http::Request::get("/?limit=1&limit=2").body(()).unwrap();
        let problem = Query::<Page>::from_request_parts(&mut request.into_parts().0, &()).await.unwrap_err();
        assert_eq!((problem.status().as_u16(), &*problem.errors()[0].field), (400, "limit"));
    }

    #[test]
    fn body_that_is_not_json_is_a_bad_request() {
        let deep = [b"[".repeat(100_000)].concat();
        for body in [&b""[..], b"{", b"{\"tags\": []} x", b"{\"tags\": [\"\xff\"]}", &deep] {
            assert_eq!(refused(body).status(), if body == deep { 422 } else { 400 }, "{body:.20?}");
        }
    }

    #[test]
    fn only_a_json_content_type_is_accepted() {
        let mut headers = HeaderMap::new();
        assert!(!is_json(&headers));
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("application/jsonx", false),
        ] {
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), expected, "{value}");
        }
    }
}
