//! The common parts of all services' OpenAPI documents. The documents are generated from the code: each handler declares
//! its path, bodies and statuses.

use std::collections::BTreeMap;

use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, Info, License, ObjectBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response,
    ResponseBuilder, Type,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::problem::{FieldError, ProblemBody};

/// Errors of a JSON body: 400, 408, 413, 415, 422.
pub struct BodyProblems;
/// Errors of a body whose Content-Type is not checked: 400, 408, 413, 422.
pub struct UntypedBodyProblems;
/// Errors of parameters in the path, the query or the headers: 400.
pub struct ParameterProblems;
/// Errors of a token: 401.
pub struct AuthProblems;
/// Errors that every endpoint can return: 429, 500, 503.
pub struct CommonProblems;

impl IntoResponses for BodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = UntypedBodyProblems::responses();
        responses.extend(problems([("415", "The Content-Type of the body is not JSON")]));
        responses
    }
}

impl IntoResponses for UntypedBodyProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("400", "The body is not valid JSON, or a parameter cannot be parsed"),
            ("408", "The body arrived too slowly"),
            ("413", "The body is too long"),
            ("422", "Fields are missing, unknown or invalid; `errors` names each"),
        ])
    }
}

impl IntoResponses for ParameterProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([("400", "A parameter cannot be parsed; `errors` names it")])
    }
}

impl IntoResponses for AuthProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([("401", "The token is missing, expired, revoked or not issued by this system")])
    }
}

impl IntoResponses for CommonProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = problems([("500", "Internal error; it has been logged")]);
        for (status, description) in [
            ("429", "Too many requests from this client"),
            ("503", "A required component is unavailable or busy; nothing was promised"),
        ] {
            let mut response = problem(description);
            let seconds = HeaderBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
                .description(Some("Seconds to wait before trying again"))
                .build();
            response.headers.insert("Retry-After".to_owned(), RefOr::T(seconds));
            responses.insert(status.to_owned(), RefOr::T(response));
        }
        responses
    }
}

/// The base of the document; the routers add their paths. `ready` says when `/readyz` answers 200.
#[must_use]
pub fn base(title: &str, description: &str, ready: &str) -> OpenApi {
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(description.to_owned());
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    let mut document = OpenApiBuilder::new().info(info).build();
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "The token of a session. A token with the scope `import` works only for `POST /v1/engagement`, \
             `POST /v1/blogs` and `POST /v1/source-paths` of the Blogs API; other requests with it are rejected.",
        ))
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    components.schemas.insert(ProblemBody::name().into_owned(), ProblemBody::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    for (path, operation) in operations(ready) {
        document.paths.add_path_operation(path, vec![HttpMethod::Get], operation);
    }
    document
}

/// The operations endpoints of every process. The `runtime` crate serves them.
fn operations(ready: &str) -> [(&'static str, Operation); 3] {
    let operation = |id: &str, summary: &str, ok: &str| {
        let ok = ResponseBuilder::new().description(ok);
        OperationBuilder::new()
            .tag("operations")
            .operation_id(Some(id))
            .summary(Some(summary))
            .response("200", ok)
    };
    let no = ResponseBuilder::new().description("Not ready");
    [
        ("/healthz", operation("healthz", "Liveness probe", "Alive").build()),
        (
            "/readyz",
            operation("readyz", "Readiness probe; names the degraded parts", ready)
                .response("503", no)
                .build(),
        ),
        ("/metrics", operation("metrics", "Metrics in the OpenMetrics text format", "The metrics").build()),
    ]
}

/// Problem documents by status, each with its meaning.
#[must_use]
pub fn problems<const N: usize>(list: [(&str, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    list.into_iter()
        .map(|(status, description)| (status.to_owned(), RefOr::T(problem(description))))
        .collect()
}

fn problem(description: &str) -> Response {
    let schema = Ref::from_schema_name(ProblemBody::name());
    ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", Content::new(Some(RefOr::Ref(schema))))
        .build()
}
