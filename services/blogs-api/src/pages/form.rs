//! A form as a browser sends it: `application/x-www-form-urlencoded` with known fields only.

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;

use crate::extract::Content;
use crate::problem::{Problem, Result};

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";

/// The fields of a form. 415 for another content type, 413 if it is too long, 422 if a field is missing or unknown.
#[derive(Debug)]
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim);
        if essence != Some(MEDIA_TYPE) {
            return Err(Problem::unsupported_media_type(format!(
                "send the form as Content-Type: {MEDIA_TYPE}"
            )));
        }
        let Content(body) = Content::from_request(request, state).await?;
        serde_urlencoded::from_bytes(&body)
            .map(Self)
            .map_err(|error| Problem::invalid("form", error.to_string()))
    }
}
