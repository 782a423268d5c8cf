//! What goes wrong, as the client reads it: RFC 9457, `application/problem+json`.
//!
//! A problem has a status, a title that belongs to the status, and a sentence that says what to change. Bad
//! input names every bad field. The cause of a failure on our side is logged here, once, and never leaves.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What a handler answers with.
pub type Result<T> = std::result::Result<T, Problem>;

/// SQLSTATE: somebody has removed what a row was to point to, such as an account that is erased.
const FOREIGN_KEY_VIOLATION: &str = "23503";
/// How long a client should wait when the database is away, in seconds.
const RETRY_DATABASE_S: u64 = 5;

/// A failed request.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

/// One field of the request that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where in the request: the name of a body field, parameter or header.
    #[schema(value_type = String, example = "title")]
    pub field: Cow<'static, str>,
    /// What is wrong with it, as a sentence.
    #[schema(value_type = String, example = "must have 1 to 200 characters")]
    pub detail: Cow<'static, str>,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// The body of a failed request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[schema(value_type = String)]
    r#type: &'static str,
    /// The status in words.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to change.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// Every bad field, where fields are at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
}

impl Problem {
    /// 400: the request cannot be understood.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, detail)
    }

    /// 400: this parameter of the path, the query or the headers is wrong.
    pub fn bad_parameter(
        parameter: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let error = FieldError::new(parameter, detail);
        Self {
            detail: format!("{}: {}", error.field, error.detail).into(),
            errors: vec![error],
            ..Self::bad_request("")
        }
    }

    /// 422: one field of the body is wrong.
    pub fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid_many(vec![FieldError::new(field, detail)])
    }

    /// 422: these fields are wrong.
    pub fn invalid_many(errors: Vec<FieldError>) -> Self {
        let detail: Cow<'static, str> = match errors.as_slice() {
            [one] => format!("{}: {}", one.field, one.detail).into(),
            many => format!("{} fields are not valid; see errors", many.len()).into(),
        };
        Self { errors, ..Self::of(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 401: who asks is not known.
    pub fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: who asks is known and may not.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::FORBIDDEN, detail)
    }

    /// 404: there is no such thing, or not for this client.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::NOT_FOUND, detail)
    }

    /// 405: the path does not know the method. The router adds `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::of(StatusCode::METHOD_NOT_ALLOWED, "this path does not know that method; see Allow")
    }

    /// 408: the request does not arrive in time.
    pub fn request_timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 409: it contradicts what is there.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::CONFLICT, detail)
    }

    /// 409 because of one field, such as a handle that is taken.
    pub fn taken(field: &'static str, detail: &'static str) -> Self {
        Self { errors: vec![FieldError::new(field, detail)], ..Self::conflict(format!("{field}: {detail}")) }
    }

    /// 412: the thing has changed since the client read it.
    pub fn precondition_failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 413: the body is larger than is read.
    pub fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: the body is not of a type that is read.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 429, and after which time to come again.
    #[must_use]
    pub fn too_many(retry_after: Duration) -> Self {
        let retry_after_s = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self {
            retry_after_s: Some(retry_after_s.max(1)),
            ..Self::of(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests; come again after Retry-After seconds",
            )
        }
    }

    /// 500, and logs why. The client learns only that it happened.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "a request failed");
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "something failed on our side; it has been logged")
    }

    /// 500 after a panic, which has been logged where it was caught.
    #[must_use]
    pub fn panicked() -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "something failed on our side; it has been logged")
    }

    /// 503: something we need is away or full; nothing was promised.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::of(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What the client is told.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The bad fields.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.errors
    }

    fn of(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let problem = self.clone();
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For whoever shows it to a person instead.
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<database::Error> for Problem {
    fn from(error: database::Error) -> Self {
        if error.sqlstate() == Some(FOREIGN_KEY_VIOLATION) {
            return Self::conflict("something that this refers to has just gone; try again");
        }
        // Whatever kept a connection from being made, also a refused login, is no fault of the request.
        let no_connection = matches!(error, database::Error::Pool(_));
        if !no_connection && !error.is_unavailable() {
            return Self::internal(&error);
        }
        tracing::warn!(error = %Chain(&error), "the database did not take a request");
        Self::unavailable("the database is not available just now", RETRY_DATABASE_S)
    }
}

/// An error and its causes in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
