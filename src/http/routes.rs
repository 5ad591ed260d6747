//! From an address to what answers it. What each takes and answers stands in [`super::contract`].

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::{SharedFace, audit, contract, links, ops, people, problem, receipts, recordings, resumable, tokens};
use crate::model::{Error, Problem};

/// Addresses that the design reserves and that are not built: they say so, and do nothing.
const NOT_BUILT: [&str; 6] =
    ["/", "/in/{*rest}", "/v1/calls", "/v1/calls/{*rest}", "/v1/requests", "/v1/requests/{*rest}"];

pub fn router(face: SharedFace) -> Router {
    let mut router = Router::new()
        .route("/v1/recordings", any(collection))
        .route("/v1/recordings/{*rest}", any(item))
        .route("/v1/uploads", any(|State(face), request| resumable::collection(face, request)))
        .route("/v1/uploads/{id}", any(upload))
        .route("/v1/links/{id}", any(|State(face), id, request| one(face, id, request, links::item)))
        .route("/v1/play/{link}", any(|State(face), link, request| one(face, link, request, links::play)))
        .route("/v1/tokens", any(|State(face), request| tokens::collection(face, request)))
        .route("/v1/tokens/{id}", any(|State(face), id, request| one(face, id, request, tokens::item)))
        .route("/v1/people", any(|State(face), request| people::collection(face, request)))
        .route("/v1/people/{id}", any(|State(face), id, request| one(face, id, request, people::item)))
        .route("/v1/receipts", get(|State(face), request| receipts::list(face, request)))
        .route("/v1/audit", get(|State(face), request| audit::list(face, request)))
        .route("/problems", get(problem::pages))
        .route("/problems/{name}", get(problem::page))
        .route("/openapi.json", get(contract::openapi))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(|State(face)| ops::readyz(face)));
    for path in NOT_BUILT {
        router = router.route(path, any(not_built));
    }
    router.method_not_allowed_fallback(wrong_method).fallback(not_found).with_state(face)
}

async fn collection(State(face): State<SharedFace>, request: Request) -> Response {
    recordings::collection(face, request).await
}

async fn item(
    State(face): State<SharedFace>,
    rest: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Response {
    match rest {
        Ok(Path(rest)) => recordings::item(face, request, rest).await,
        Err(_) => Error::new(Problem::BadRequest, "the address is not percent-encoded UTF-8").into_response(),
    }
}

async fn upload(
    State(face): State<SharedFace>,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
) -> Response {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    resumable::item(face, request, id).await
}

/// What stands at the end of an address; one that is not UTF-8 is nothing's.
async fn one<F: Future<Output = Response>>(
    face: SharedFace,
    last: Result<Path<String>, axum::extract::rejection::PathRejection>,
    request: Request,
    answer: impl FnOnce(SharedFace, Request, String) -> F,
) -> Response {
    answer(face, request, last.map(|Path(last)| last).unwrap_or_default()).await
}

pub async fn not_built() -> Response {
    Error::new(Problem::NotBuilt, "the design reserves this address; nothing stands behind it in this version")
        .into_response()
}

async fn not_found() -> Response {
    Error::new(Problem::NotFound, "there is nothing at this address").into_response()
}

async fn wrong_method() -> Response {
    Error::new(Problem::MethodNotAllowed, "this address does not take that method").into_response()
}
