//! Error responses as problem documents: RFC 9457, `application/problem+json`.
//!
//! A problem has a status, the status's title, and a sentence that says what to change. For invalid input it names every
//! invalid field. The cause of an internal error is logged here once and never sent to the client.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The result of a handler.
pub type Result<T> = std::result::Result<T, Problem>;

/// SQLSTATE of a foreign key violation: the referenced row has just been removed, for example an erased account.
const FOREIGN_KEY_VIOLATION: &str = "23503";
/// How long a client should wait if the database is unavailable, in seconds.
const RETRY_DATABASE_S: u64 = 5;

/// A failed request.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

/// An invalid field of the request, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The name of the body field, parameter or header.
    #[schema(value_type = String, example = "title")]
    pub field: Cow<'static, str>,
    /// What is wrong with it.
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
    /// The name of the status.
    #[schema(value_type = String)]
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, and what to change.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// All invalid fields, if fields are at fault.
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
            many => format!("{} fields are invalid; see errors", many.len()).into(),
        };
        Self { errors, ..Self::of(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// 401: the client is not authenticated.
    pub fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403: the client is authenticated but not allowed to do this.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::FORBIDDEN, detail)
    }

    /// 404: the resource does not exist, or not for this client.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::NOT_FOUND, detail)
    }

    /// 405: the path does not support the method. The router adds `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::of(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path does not support this method; see the Allow header",
        )
    }

    /// 408: the request did not arrive in time.
    pub fn request_timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 409: the request conflicts with the current state.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::CONFLICT, detail)
    }

    /// 409 because of one field, such as a handle that is taken.
    pub fn taken(field: &'static str, detail: &'static str) -> Self {
        Self { errors: vec![FieldError::new(field, detail)], ..Self::conflict(format!("{field}: {detail}")) }
    }

    /// 412: the resource has changed since the client read it.
    pub fn precondition_failed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 413: the body is too large.
    pub fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// 415: the type of the body is not supported.
    pub fn unsupported_media_type(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 429, with the time to wait.
    #[must_use]
    pub fn too_many(retry_after: Duration) -> Self {
        let retry_after_s = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self {
            retry_after_s: Some(retry_after_s.max(1)),
            ..Self::of(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests; try again after Retry-After seconds",
            )
        }
    }

    /// 500. Logs the cause; the client learns only that an error occurred.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "a request failed");
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "an internal error occurred; it has been logged")
    }

    /// 500 after a panic, which was logged where it was caught.
    #[must_use]
    pub fn panicked() -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, "an internal error occurred; it has been logged")
    }

    /// 503: a required component is unavailable or full; nothing was promised.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::of(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message for the client.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The invalid fields.
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
        // For a layer that renders the problem as a page.
        response.extensions_mut().insert(problem);
        response
    }
}

impl From<database::Error> for Problem {
    fn from(error: database::Error) -> Self {
        if error.sqlstate() == Some(FOREIGN_KEY_VIOLATION) {
            return Self::conflict("a resource that this request refers to has just been removed; try again");
        }
        // A failed connection or login is not the request's fault.
        let no_connection = matches!(error, database::Error::Pool(_));
        if !no_connection && !error.is_unavailable() {
            return Self::internal(&error);
        }
        tracing::warn!(error = %Chain(&error), "the database is unavailable; a request was refused");
        Self::unavailable("the database is currently not available; try again", RETRY_DATABASE_S)
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
