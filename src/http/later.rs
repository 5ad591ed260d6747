//! An answer that comes when a body has been received, minutes or hours later.
//!
//! The router's boxes around a handler are two and a half KiB, and would be held as long as the call lasts. So a handler
//! that receives a body answers at once with a promise, which leaves the router behind, and the connection waits for what
//! was promised.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use futures::future::BoxFuture;
use tower_service::Service;

/// What was promised; taken once. Extensions of a response have to be `Clone` and `Sync`.
#[derive(Clone)]
struct Later(Promised);

type Promised = Arc<Mutex<Option<BoxFuture<'static, Response>>>>;

enum Routed {
    Answer(Response),
    Promise(Promised),
}

/// A promise of an answer, for [`answer`] to keep.
pub fn later(answer: impl Future<Output = Response> + Send + 'static) -> Response {
    let mut promise = Response::default();
    promise.extensions_mut().insert(Later(Arc::new(Mutex::new(Some(Box::pin(answer))))));
    promise
}

/// Answers a request by its route; what the route promised is waited for.
pub fn answer(mut router: Router, request: Request) -> impl Future<Output = Response> + Send {
    let routed = Box::pin(async move {
        let mut response = router.call(request).await.unwrap_or_else(|never| match never {});
        match response.extensions_mut().remove::<Later>() {
            None => Routed::Answer(response),
            Some(Later(promised)) => Routed::Promise(promised),
        }
    });
    async move {
        match routed.await {
            Routed::Answer(response) => response,
            Routed::Promise(promised) => {
                let promised = promised.lock().expect("nobody panics with it").take();
                promised.expect("a promise is taken once").await
            }
        }
    }
}
