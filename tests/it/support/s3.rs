//! Two independent S3 implementations, each behind a proxy that does to requests and answers what networks and stores do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::S3Result;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Vault, files, free_address};

pub const ACCESS_KEY: &str = "AKIATEST";
pub const SECRET_KEY: &str = "a-secret-of-the-test";

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers itself, with this status and code.
    Answer(u16, &'static str),
    /// Breaks the connection when a part of the request's body has come.
    ResetRequest,
    /// The store gets the request, and the connection breaks before its answer.
    LoseAnswer,
    /// Half of the answer's body comes, then the connection breaks.
    Truncate,
    /// No answer comes.
    Stall,
    /// The store gets the request twice; the second answer is passed on.
    Twice,
    /// Every answer takes this long.
    Delay(Duration),
    /// The first key of a bulk deletion is left out, and refused in the answer.
    KeepOne,
    /// Uploads that the answer lists were begun so many hours ago.
    Begun(i64),
    /// The request goes through without its condition: a store that does not know it.
    Unconditional,
    /// The answer numbers the object's version.
    Numbered,
}

/// What stands behind the proxy.
enum Upstream {
    S3s(TempDir, JoinHandle<()>),
    Moto(Child),
}

/// An S3 store with a bucket `bucket`, behind a proxy on a port of its own.
pub struct Bucket {
    upstream: Upstream,
    address: String,
    port: u16,
    state: Arc<Mutex<State>>,
    serving: Option<JoinHandle<()>>,
}

/// What its clock says: so many seconds later than it is, or nothing that could be read.
#[derive(Clone, Copy)]
pub enum Date {
    Ahead(i64),
    Unreadable,
}

#[derive(Default)]
struct State {
    date: Option<Date>,
    /// Requests whose line contains this text, this many times.
    faults: Vec<(String, Fault, usize)>,
    requests: Vec<String>,
    hosts: Vec<String>,
    parts_now: usize,
    parts_at_once: usize,
}

impl Bucket {
    /// The `s3s` crate on a directory; it checks signatures.
    pub async fn s3s() -> Bucket {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("bucket")).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).expect("a store"));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        builder.set_host(Hosts);
        // Tests move the clock of those who ask.
        let mut config = S3Config::default();
        config.presigned_url_max_skew_time_secs = u32::MAX;
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
        let s3 = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), s3.clone()));
            }
        });
        Bucket::behind_proxy(Upstream::S3s(dir, serving), address).await
    }

    /// `moto`, another implementation: a program in Python, which knows versions and open uploads.
    pub async fn moto() -> Bucket {
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-clients/moto");
        let address = free_address();
        let (host, port) = address.split_once(':').expect("an address with a port");
        let mut python = Command::new("python3");
        python.args(["-m", "moto.server", "-H", host, "-p", port]).env("PYTHONPATH", packages);
        let child = python.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3 runs");
        let bucket = Bucket::behind_proxy(Upstream::Moto(child), address).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        while bucket.ask("PUT", "/bucket").await.is_none_or(|(status, _)| status != 200) {
            assert!(
                Instant::now() < deadline,
                "moto did not start: is it in target/test-clients? tests/run installs it"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bucket
    }

    async fn behind_proxy(upstream: Upstream, address: String) -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let mut bucket = Bucket { upstream, address, port, state: Arc::default(), serving: None };
        bucket.serve(listener);
        bucket
    }

    fn serve(&mut self, listener: TcpListener) {
        let (address, state) = (self.address.clone(), self.state.clone());
        self.serving = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (address, state) = (address.clone(), state.clone());
                let service = service_fn(move |request| pass(address.clone(), state.clone(), request));
                let http = hyper::server::conn::http1::Builder::new();
                connections.spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        }));
    }

    /// Nothing listens any more, and connections are broken.
    pub async fn stop(&mut self) {
        let serving = self.serving.take().expect("it serves");
        serving.abort();
        serving.await.expect_err("it was aborted");
    }

    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.expect("the port is still free");
        self.serve(listener);
    }

    /// Requests whose line contains this text have this fault, this many times; `0` ends it.
    pub fn inject(&self, what: &str, fault: Fault, times: usize) {
        let faults = &mut self.state.lock().expect("no holder panics").faults;
        faults.retain(|(failing, ..)| failing != what);
        faults.push((what.to_owned(), fault, times));
    }

    /// They are answered 500.
    pub fn fail(&self, what: &str, times: usize) {
        self.inject(what, Fault::Answer(500, "InternalError"), times);
    }

    pub fn say(&self, date: Option<Date>) {
        self.state.lock().expect("no holder panics").date = date;
    }

    /// Every answer takes this long.
    pub fn delay(&self, delay: Duration) {
        self.inject("", Fault::Delay(delay), if delay.is_zero() { 0 } else { usize::MAX });
    }

    pub fn requests(&self) -> Vec<String> {
        self.state.lock().expect("no holder panics").requests.clone()
    }

    /// How many requests contained all of these texts.
    pub fn count(&self, texts: &[&str]) -> usize {
        self.requests().iter().filter(|request| texts.iter().all(|text| request.contains(text))).count()
    }

    /// The hosts that requests named.
    pub fn hosts(&self) -> Vec<String> {
        self.state.lock().expect("no holder panics").hosts.clone()
    }

    /// The most parts that were in flight together.
    pub fn parts_at_once(&self) -> usize {
        self.state.lock().expect("no holder panics").parts_at_once
    }

    /// Objects as files: those of `s3s`.
    pub fn objects(&self) -> Vec<PathBuf> {
        let is_object = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 32);
        files(&self.dir()).into_iter().filter(is_object).collect()
    }

    /// The names of all objects, told by the store.
    pub async fn keys(&self) -> Vec<String> {
        if let Upstream::S3s(dir, _) = &self.upstream {
            let root = dir.path().join("bucket");
            let relative = files(&root)
                .into_iter()
                .filter_map(|path| Some(path.strip_prefix(&root).ok()?.to_string_lossy().into_owned()));
            return relative.filter(|name| !name.contains(".upload_id-")).collect();
        }
        let (_, listed) = self.ask("GET", "/bucket?list-type=2").await.expect("the store answers");
        listed.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }

    /// A request past the proxy, for stores that ask for no signature: status and body.
    pub async fn ask(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.ask_with(method, path, "").await
    }

    pub async fn ask_with(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let url = format!("http://{}{path}", self.address);
        let request = client.request(method.parse().expect("a method"), url).body(body.to_owned());
        let answer = request.send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What reaches this store.
    pub fn variables(&self, secret_key: &str) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", &*self.endpoint()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", secret_key),
            ("NO_PROXY", "127.0.0.1"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The same as a file of credentials, for use inside this process: `s3://here@bucket/...`.
    pub fn credentials(&self, dir: &Path) -> PathBuf {
        let path = dir.join("credentials");
        let text = format!(
            "[here]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\nendpoint_url={}\n",
            self.endpoint()
        );
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The bucket's directory: that of `s3s`.
    pub fn dir(&self) -> PathBuf {
        let Upstream::S3s(dir, _) = &self.upstream else { panic!("this store has no files") };
        dir.path().join("bucket")
    }

    /// A vault whose objects lie here, with these variables besides.
    pub fn vault_with(&self, more: &[(&str, &str)]) -> Vault {
        let mut env = self.variables(SECRET_KEY);
        env.push(("CALLVAULT_STORE".into(), "s3://bucket/some/prefix".into()));
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Vault::with_env(|_| env)
    }

    pub fn vault(&self) -> Vault {
        self.vault_with(&[])
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.abort();
        }
        match &mut self.upstream {
            Upstream::S3s(_, serving) => serving.abort(),
            Upstream::Moto(child) => {
                child.kill().ok();
                child.wait().ok();
            }
        }
    }
}

/// Buckets have hosts of their own below `s3.test`; elsewhere they stand in the path.
struct Hosts;

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let virtual_host = VirtualHost::new(host);
        Ok(match host.strip_suffix(".s3.test") {
            Some(bucket) => virtual_host.with_bucket(bucket),
            None => virtual_host,
        })
    }
}

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

async fn pass(address: String, state: Arc<Mutex<State>>, request: Request<Incoming>) -> std::io::Result<Answer> {
    let line = format!("{} {}", request.method(), request.uri());
    let is_part = line.contains("partNumber=");
    let fault = note(&state, &line, &request);
    if is_part {
        let mut state = state.lock().expect("no holder panics");
        state.parts_now += 1;
        state.parts_at_once = state.parts_at_once.max(state.parts_now);
    }
    let mut answer = answer(&address, fault, request).await;
    let date = state.lock().expect("no holder panics").date;
    if let (Some(date), Ok(answer)) = (date, &mut answer) {
        let text = match date {
            Date::Ahead(seconds) => {
                callvault::http::audio::http_date(super::held::now() + jiff::SignedDuration::from_secs(seconds))
            }
            Date::Unreadable => "the day before yesterday".to_owned(),
        };
        answer.headers_mut().insert("date", text.parse().expect("a header's value"));
    }
    if is_part {
        state.lock().expect("no holder panics").parts_now -= 1;
    }
    answer
}

fn note(state: &Mutex<State>, line: &str, request: &Request<Incoming>) -> Option<Fault> {
    let mut state = state.lock().expect("no holder panics");
    state.requests.push(line.to_owned());
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    state.hosts.push(host.to_owned());
    // The newest first: a fault of one kind of request goes before one of all.
    let found = state.faults.iter_mut().rev().find(|(what, _, left)| *left > 0 && line.contains(what.as_str()));
    found.map(|(_, fault, left)| {
        *left -= usize::from(*left != usize::MAX);
        *fault
    })
}

async fn answer(address: &str, fault: Option<Fault>, request: Request<Incoming>) -> std::io::Result<Answer> {
    let broken = || std::io::Error::other("the proxy breaks the connection");
    match fault {
        Some(Fault::Answer(status, code)) => {
            // The body is taken first: a store that answers early and closes is another fault.
            request.into_body().collect().await.map_err(std::io::Error::other)?;
            let text =
                format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{SECRET_KEY}</Message></Error>");
            let mut response = Response::new(whole(text.into()));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            return Ok(response);
        }
        Some(Fault::ResetRequest) => {
            _ = request.into_body().frame().await;
            return Err(broken());
        }
        Some(Fault::Stall) => std::future::pending::<()>().await,
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let (mut head, body) = request.into_parts();
    let mut body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    if fault == Some(Fault::Unconditional) {
        head.headers.remove("if-none-match");
    }
    let kept = (fault == Some(Fault::KeepOne)).then(|| keep_one(&mut head, &mut body));
    let mut answer = forward(address, &head, body.clone()).await?;
    match fault {
        Some(Fault::LoseAnswer) => return Err(broken()),
        Some(Fault::Twice) => answer = forward(address, &head, body).await?,
        Some(Fault::Begun(hours)) => {
            let begun = super::held::now() - jiff::SignedDuration::from_hours(hours);
            let text = String::from_utf8_lossy(&answer.1).replace("2010-11-10T20:48:33.000Z", &begun.to_string());
            answer.1 = text.into();
        }
        Some(Fault::Numbered) => {
            answer.0.headers.insert("x-amz-version-id", "1".parse().expect("a version"));
        }
        Some(Fault::KeepOne) => {
            let error = format!(
                "<Error><Key>{}</Key><Code>AccessDenied</Code><Message>locked</Message></Error></DeleteResult>",
                kept.expect("it was kept")
            );
            answer.1 = String::from_utf8_lossy(&answer.1).replace("</DeleteResult>", &error).into();
        }
        Some(Fault::Truncate) => {
            let half = answer.1.slice(..answer.1.len() / 2);
            answer.0.headers.insert("content-length", answer.1.len().into());
            let frames = [Ok(Frame::data(half)), Err(broken())];
            return Ok(Response::from_parts(answer.0, BodyExt::boxed(StreamBody::new(futures::stream::iter(frames)))));
        }
        _ => {}
    }
    Ok(Response::from_parts(answer.0, whole(answer.1)))
}

/// Takes the first object out of a request for bulk deletion; its key.
fn keep_one(head: &mut hyper::http::request::Parts, body: &mut Bytes) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let (before, rest) = text.split_once("<Object><Key>").expect("keys are listed");
    let (key, after) = rest.split_once("</Key></Object>").expect("keys are closed");
    *body = format!("{before}{after}").into();
    for header in ["content-length", "content-md5", "x-amz-checksum-sha256"] {
        head.headers.remove(header);
    }
    key.to_owned()
}

fn whole(bytes: Bytes) -> BoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// One request on a connection of its own, and its whole answer.
async fn forward(
    address: &str,
    head: &hyper::http::request::Parts,
    body: Bytes,
) -> std::io::Result<(hyper::http::response::Parts, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    // What came for a proxy names the whole address; a store wants the path.
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = path.parse().expect("it was parsed before");
    *request.headers_mut() = head.headers.clone();
    let answer = sender.send_request(request).await.map_err(std::io::Error::other)?;
    let (mut head, body) = answer.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    // An answer to HEAD keeps the length that it tells.
    if !body.is_empty() {
        head.headers.remove("transfer-encoding");
        head.headers.remove("content-length");
    }
    Ok((head, body))
}
