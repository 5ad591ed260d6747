//! The wire to S3: every request and answer goes through here.
//!
//! # Secrecy
//! An answer that refuses may repeat what was asked, with the session token among its headers. Only its code goes on, and
//! with it into errors and logs.
//! # Limits
//! Of an answer that refuses, 64 KiB are read.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpResponseBody, HttpService, ReqwestConnector,
};

use super::dates::Dates;

// Limit: codes stand within the first kilobyte of an answer.
const REFUSAL_LEN_MAX: usize = 64 << 10;
const CODE_LEN_MAX: usize = 64;

/// Makes the clients of one bucket, and knows what they saw.
#[derive(Clone, Debug, Default)]
pub struct Connector(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The bucket's own client: the one that was made last, after those that fetch credentials.
    client: Mutex<Option<HttpClient>>,
    dates: Dates,
}

impl Connector {
    pub fn client(&self) -> HttpClient {
        let client = self.0.client.lock().expect("no holder of this lock panics").clone();
        client.expect("a bucket that was built has connected")
    }

    /// What S3's answers say of the time.
    pub fn dates(&self) -> &Dates {
        &self.0.dates
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let wire = Wire { inner: ReqwestConnector::default().connect(options)?, seen: self.0.clone() };
        let client = HttpClient::new(wire);
        *self.0.client.lock().expect("no holder of this lock panics") = Some(client.clone());
        Ok(client)
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    seen: Arc<Seen>,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Credentials are fetched over a wire as well, by requests that are not signed.
        let is_for_s3 = request.headers().contains_key("x-amz-content-sha256");
        let answer = self.inner.execute(request).await?;
        if is_for_s3 {
            self.seen.dates.note(answer.headers().get("date").and_then(|value| value.to_str().ok()));
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let code = code_in(&beginning(body).await);
        let text = format!("<Error><Code>{code}</Code></Error>");
        Ok(HttpResponse::from_parts(head, HttpResponseBody::from(text)))
    }
}

async fn beginning(body: HttpResponseBody) -> Vec<u8> {
    let mut pieces = body.bytes_stream();
    let mut beginning = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        let piece: Bytes = piece;
        let room = REFUSAL_LEN_MAX - beginning.len();
        beginning.extend_from_slice(&piece[..piece.len().min(room)]);
        if beginning.len() == REFUSAL_LEN_MAX {
            break;
        }
    }
    beginning
}

/// The first `<Code>`, if it is nothing but a name.
pub fn code_in(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
    if code.len() <= CODE_LEN_MAX && code.chars().all(is_name) { code.to_owned() } else { String::new() }
}
