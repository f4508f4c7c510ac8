//! `/api/v1/openapi.json`: the API's own description, made from the routes themselves.

use axum::{extract::State, http::header, response::IntoResponse};
use utoipa::{
    OpenApi,
    openapi::{self, ContentBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type},
};

use super::events::{Lost, ResetReceived, ResetSent, Transition};
use crate::serve::{
    params::{NoParams, cursor::List},
    problem::{self, Problem},
    shared::Shared,
};

/// What the routes cannot say: the title, and the types that travel inside the event stream.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tcpstate",
        description = "Which program mistreats its TCP connections, on which sockets, since when, and why. \
                       Read-only. Every error is a problem document (RFC 9457).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "The daemon that gave this description")),
    // The API asks for no credentials.
    security(()),
    components(schemas(Transition, ResetSent, ResetReceived, Lost)),
    tags(
        (name = "api", description = "Answers for programs"),
        (name = "self", description = "The daemon itself: its page, metrics and health")
    )
)]
pub(in crate::serve) struct Description;

/// How any request may be refused, whatever it asks for.
const REFUSALS: [(&str, &str); 3] = [
    ("400", "The `Host` header is missing, or there are several"),
    ("421", "`Host` is neither localhost nor a name that is allowed"),
    ("503", "Too many requests are being answered, or the daemon is ending"),
];

/// Adds to each route how any request may be refused, where the route says nothing of that status itself.
pub(in crate::serve) fn describe_refusals(api: &mut openapi::OpenApi) {
    let refusal = |description: &str| -> RefOr<Response> {
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, problem).build().into()
    };
    let routes = api.paths.paths.values_mut().filter_map(|path| path.get.as_mut());
    for route in routes {
        for (status, description) in REFUSALS {
            let responses = &mut route.responses.responses;
            responses.entry(status.to_owned()).or_insert_with(|| refusal(description));
        }
    }
}

/// Adds what a cursor looks like to the lists that share their parameters.
pub(in crate::serve) fn describe_cursors(api: &mut openapi::OpenApi) {
    let lists = [
        ("/api/v1/processes", List::Processes),
        ("/api/v1/ports", List::Ports),
        ("/api/v1/listeners", List::Listeners),
    ];
    for (path, list) in lists {
        let route = api.paths.paths.get_mut(path).and_then(|path| path.get.as_mut());
        let parameters = route.into_iter().flat_map(|route| route.parameters.iter_mut().flatten());
        let inline = parameters.filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        });
        for parameter in inline.filter(|parameter| parameter.name == "cursor") {
            let pattern = Some(list.pattern_of_places());
            let cursor = ObjectBuilder::new().schema_type(Type::String).pattern(pattern).build();
            parameter.schema = Some(cursor.into());
        }
    }
}

/// This description of the API.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "api",
    responses(
        (status = 200, description = "The description", body = serde_json::Value),
        (status = 400, description = "This route takes no parameters", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::serve) async fn openapi(
    State(shared): State<Shared>,
    _: NoParams,
) -> Result<impl IntoResponse, Problem> {
    let description = shared.openapi.to_pretty_json().map_err(|error| {
        tracing::error!(%error, "the description of the API could not be written");
        Problem::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], description))
}
