//! The OpenAPI document: the parts that [`web::openapi`] shares between services, and those specific to blogs.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{OpenApi, RefOr, Response};

use web::openapi::problems;
pub(crate) use web::openapi::{
    AuthProblems, BodyProblems, CommonProblems, ParameterProblems, UntypedBodyProblems,
};

/// Problems of requests for a blog of the caller: 403, 404.
pub(crate) struct OwnedProblems;
/// Problems of requests that engage with a live blog: 404.
pub(crate) struct LiveBlogProblems;

impl IntoResponses for OwnedProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("403", "The blog belongs to another account, or an operator has taken it down"),
            ("404", "The blog does not exist or is not visible to you"),
        ])
    }
}

impl IntoResponses for LiveBlogProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([("404", "The blog does not exist or is not visible to readers")])
    }
}

/// The head of the document; the routers add their paths.
#[must_use]
pub(crate) fn base() -> OpenApi {
    web::openapi::base("Commonplace Blogs API", DESCRIPTION, "RabbitMQ or Postgres works")
}

const DESCRIPTION: &str = "\
Accounts, blogs and reader engagement. Bodies are JSON, times are RFC 3339 in UTC, and every error is a problem \
document (RFC 9457); if fields are invalid, its `errors` name them.

**Versions.** The `ETag` of a blog identifies the version of its author's content. It is weak, because the body also \
shows counters, which change without it. Send it back unchanged in `If-Match` to make an edit fail with 412 if the \
content has changed since; counters never make it stale.

**Idempotency.** A repeated `POST /v1/blogs` with the same `Idempotency-Key` and body gets the same response for at \
least a day.";
