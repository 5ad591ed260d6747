//! An answer that comes when a body has been received, minutes or hours later.
//!
//! The router's boxes around a handler are two and a half KiB, and would be held as long as the call lasts. So a handler
//! that receives a body answers at once with a promise, which leaves the router behind, and the connection waits for what
//! was promised.

use std::sync::{Arc, Mutex};

use axum::response::Response;
use futures::future::BoxFuture;

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

/// Waits for what a route answers, and for what it promises.
pub fn answer(routed: impl Future<Output = Response> + Send) -> impl Future<Output = Response> + Send {
    let routed = Box::pin(async move {
        let mut response = routed.await;
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
