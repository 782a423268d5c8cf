//! The OpenAPI document: what [`web::openapi`] gives to every service, and what only blogs have.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{OpenApi, RefOr, Response};

use web::openapi::problems;
pub(crate) use web::openapi::{
    AuthProblems, BodyProblems, CommonProblems, ParameterProblems, UntypedBodyProblems,
};

/// What can go wrong with a blog that is somebody's: 403, 404.
pub(crate) struct OwnedProblems;
/// What can go wrong with a blog that readers engage with: 404.
pub(crate) struct LiveBlogProblems;

impl IntoResponses for OwnedProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("403", "The blog belongs to somebody else, or an operator has taken it down"),
            ("404", "There is no such blog, or it is not yours to see"),
        ])
    }
}

impl IntoResponses for LiveBlogProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([("404", "There is no such blog, or readers cannot see it")])
    }
}

/// What the document begins with; the routers add their paths.
#[must_use]
pub(crate) fn base() -> OpenApi {
    web::openapi::base("Commonplace Blogs API", DESCRIPTION, "RabbitMQ or Postgres works")
}

const DESCRIPTION: &str = "\
Accounts, blogs, and the engagement of readers. Bodies are JSON, times are RFC 3339 in UTC, and every error is \
a problem document (RFC 9457) whose `errors` name the fields at fault.

**Versions.** The `ETag` of a blog is the version of what its author wrote. It is weak, because the body also \
shows counters, which move without it. `If-Match` takes it back as it was given and guards an edit against \
another edit; counters never make it stale.

**Idempotency.** `POST /v1/blogs` with an `Idempotency-Key` gives the same answer again to the same request, for \
at least a day.";
