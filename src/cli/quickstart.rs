//! `callvault quickstart`: a vault in one directory, one recording that goes in and plays back, one that dies; then it keeps
//! serving. Everything it shows goes over its own HTTP port, as any client's would.

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RANGE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpStream;

use super::output::{Output, size};
use super::serve::{Server, stop_signal};
use super::token::{self, NewToken};
use super::{Failure, Outcome, sample};
use crate::app::{self, Vault};
use crate::catalog::Tenant;
use crate::config::{CatalogPlace, Config, EXAMPLE_KEY, KeySource, key_from_text, write_key};
use crate::model::{Class, PrincipalKind, RecordingId, Scope, Slug, Term};
use crate::reading::ReadError;

const TENANT: &str = "demo";
const TOKEN_NAME: &str = "quickstart";

type Error = Box<dyn std::error::Error + Send + Sync>;

pub async fn run(config: Config, output: Output) -> Outcome {
    if !config.listen.ip().is_loopback() {
        return Err(Failure::Config("quickstart uses a key that everyone knows: it listens on loopback only".into()));
    }
    if config.tls.is_some() {
        return Err(Failure::Config(
            "quickstart shows plain HTTP: leave tls.cert and tls.key away, or use 'serve'".into(),
        ));
    }
    let data_dir = config.data_dir.display().to_string();
    make_example_vault(&config).await?;
    let server = Server::start(config).await?;
    let (tenant, token) = make_tenant_and_token(&server.vault).await?;
    let (vault, tour) = (server.vault.clone(), Tour { address: server.address().to_string(), token });
    let stop = stop_signal()?;
    let served = tokio::spawn(server.serve(stop));
    println!("callvault quickstart\n");
    println!("  A vault in {data_dir}: SQLite, local disk, tenant '{}', and a master key", tenant.slug);
    println!("  that everyone knows. It listens on loopback only. For your own, see README.md.\n");
    let shown = show(&tour, &vault).await.map_err(|error| Failure::Failed(format!("the tour stopped: {error}")))?;
    print_what_next(&tour, shown, output);
    served.await.map_err(|error| Failure::Failed(error.to_string()))
}

/// The example key, unless the directory has a key of its own.
async fn make_example_vault(config: &Config) -> Outcome {
    if let KeySource::File(path) = &config.master_key
        && !path.exists()
        && matches!(&config.catalog, CatalogPlace::Sqlite(catalog) if !catalog.exists())
    {
        let made = std::fs::create_dir_all(&config.data_dir);
        made.map_err(|error| Failure::Failed(format!("{} cannot be made: {error}", config.data_dir.display())))?;
        write_key(path, &key_from_text(EXAMPLE_KEY)?)?;
    }
    app::init(config).await?;
    Ok(())
}

/// A new token at each start: what was shown before is stored nowhere, and is revoked.
async fn make_tenant_and_token(vault: &Vault) -> Result<(Tenant, String), Failure> {
    let slug: Slug = TENANT.parse().expect("the slug is well-formed");
    let tenant = match vault.catalog.tenant(&slug).await? {
        Some(tenant) => tenant,
        None => {
            let tenant = crate::catalog::NewTenant {
                slug,
                name: "Demonstration".into(),
                recording: true,
                customer_term: Term::Days(90),
                training_term: Term::Days(30),
                cdr_term: Term::Months(6),
                created_at: vault.clock.now(),
            };
            vault.catalog.create_tenant(tenant).await?
        }
    };
    let now = vault.clock.now();
    for old in vault.catalog.tokens(Some(tenant.number)).await? {
        if old.name == TOKEN_NAME && old.revoked_at.is_none() {
            vault.catalog.revoke_token(old.id, now).await?;
        }
    }
    let scopes = [
        Scope::Ingest,
        Scope::Read,
        Scope::PlayCustomer,
        Scope::PlayTraining,
        Scope::Manage,
        Scope::Rights,
        Scope::Audit,
    ];
    let new = NewToken {
        tenant: Some(tenant.number),
        name: TOKEN_NAME.into(),
        kind: Some(PrincipalKind::App),
        person: None,
        scopes: scopes.to_vec(),
        networks: Vec::new(),
        expires_at: None,
        certificate: None,
    };
    let made = token::create(vault, new).await?;
    Ok((tenant, made.token))
}

/// What the tour leaves behind.
struct Shown {
    id: RecordingId,
    len: usize,
}

/// A client of the vault's own HTTP port.
struct Tour {
    address: String,
    token: String,
}

async fn show(tour: &Tour, vault: &Vault) -> Result<Shown, Error> {
    let wav = sample::wav();
    let stamp = vault.clock.now().as_second();
    println!("1  A call of {:.1} s is recorded while it goes on, and sealed as it comes:", seconds(&wav));
    let name = format!("quickstart/{stamp}.wav");
    let id = tour.upload(&name, &wav, Duration::from_millis(200)).await?;
    println!("   stored as {id}\n");

    let played = tour.get(&format!("/v1/recordings/{id}/audio"), None).await?;
    ensure(played == wav, "what was played is not what was recorded")?;
    println!("2  Played back: {} bytes, the same to the last bit.", played.len());
    let part = tour.get(&format!("/v1/recordings/{id}/audio"), Some("bytes=16000-31999")).await?;
    ensure(part == wav[16_000..32_000], "a range is not what was recorded")?;
    println!("   A range from the middle, as a player asks for it when one seeks: {} bytes, the same.\n", part.len());

    let list = tour.get("/v1/recordings?limit=5", None).await?;
    let list: serde_json::Value = serde_json::from_slice(&list)?;
    println!("3  Listed:");
    for recording in list["recordings"].as_array().into_iter().flatten() {
        println!("   {}", describe(recording));
    }

    println!("\n4  A second recording dies, as all do when their term ends:");
    let doomed = tour.upload(&format!("quickstart/{stamp}-doomed.wav"), &wav, Duration::ZERO).await?;
    let doomed: RecordingId = doomed.parse()?;
    die(tour, vault, doomed).await?;
    Ok(Shown { id: id.parse()?, len: wav.len() })
}

/// Erases a recording, advances the ring, and tries everything to open it again.
async fn die(tour: &Tour, vault: &Vault, id: RecordingId) -> Result<(), Error> {
    let kept = vault.catalog.recording(None, id).await?.ok_or("the recording is missing")?;
    let sealed_len = kept.sealed_len.unwrap_or(0);
    let copy = vault.reader.store.object(kept.object, sealed_len).read(0..sealed_len).await?;
    ensure(vault.reader.data_key(&kept, Class::Customer).is_ok(), "a living recording does not open")?;
    println!(
        "   kept aside: its row, as in a backup of the catalog; its object ({}); the master key",
        size(copy.len() as u64)
    );
    let (status, _) = tour.request(Method::DELETE, &format!("/v1/recordings/{id}?erase=1"), None).await?;
    ensure(status == StatusCode::ACCEPTED, "the erasure was refused")?;
    let report = vault.expire.run(None).await?;
    println!(
        "   erased, and 'expire' was run: the ring went on to generation {}, the one before was overwritten",
        report.generation
    );
    let (status, _) = tour.request(Method::GET, &format!("/v1/recordings/{id}/audio"), None).await?;
    ensure(status == StatusCode::GONE, "an erased recording is still served")?;
    let opened = vault.reader.data_key(&kept, Class::Customer);
    ensure(matches!(opened, Err(ReadError::Gone)), "the backup opened an erased recording")?;
    println!(
        "   played: {status}. Opened from the backup, with the object and the master key: the key was destroyed.\n"
    );
    Ok(())
}

fn print_what_next(tour: &Tour, shown: Shown, output: Output) {
    let Tour { address, token } = tour;
    let (url, id) = (format!("http://{address}/v1/recordings"), shown.id);
    if output.is_json {
        let next = serde_json::json!({ "url": format!("http://{address}"), "token": token, "tenant": TENANT, "recording": id.to_string() });
        println!("{next}");
        return;
    }
    let last = (shown.len - 1).min(65_535);
    println!("Paste these into another terminal:\n");
    println!("  TOKEN={token}");
    println!("  # upload a file; or a call that is still going on, from a pipe");
    println!("  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: audio/wav' -T call.wav {url}/call.wav");
    println!("  arecord -f S16_LE -r 8000 -d 10 | curl -H \"Authorization: Bearer $TOKEN\" -T - {url}/live.wav");
    println!("  # listen, and fetch a range as a player does");
    println!("  curl -s -H \"Authorization: Bearer $TOKEN\" {url}/{id}/audio | ffplay -autoexit -");
    println!("  curl -s -H \"Authorization: Bearer $TOKEN\" -r 0-{last} {url}/{id}/audio | wc -c");
    println!("  # list, and delete");
    println!("  curl -s -H \"Authorization: Bearer $TOKEN\" {url}");
    println!("  curl -s -H \"Authorization: Bearer $TOKEN\" -X DELETE {url}/{id}\n");
    println!("Or listen in a browser: open {url}/{id}/audio");
    println!("  user '{TENANT}', password: the token.\n");
    println!("Serving on http://{address} until Ctrl-C.");
}

impl Tour {
    /// Uploads in pieces of 200 ms, one every `pace`.
    async fn upload(&self, name: &str, wav: &[u8], pace: Duration) -> Result<String, Error> {
        let (mut pieces, body) = futures::channel::mpsc::channel::<Bytes>(1);
        let body = StreamBody::new(body.map(|piece| Ok::<_, std::convert::Infallible>(Frame::data(piece))));
        let request = self.head(Method::PUT, &format!("/v1/recordings/{name}"));
        let request = request.header(CONTENT_TYPE, "audio/wav").body(BodyExt::boxed(body))?;
        let bar = ProgressBar::new(wav.len() as u64);
        bar.set_style(
            ProgressStyle::with_template("   {bar:40} {bytes}/{total_bytes}").expect("the template is well-formed"),
        );
        let feed = async {
            for piece in wav.chunks(sample::BYTES_PER_200_MS) {
                pieces.send(Bytes::copy_from_slice(piece)).await?;
                bar.inc(piece.len() as u64);
                tokio::time::sleep(pace).await;
            }
            pieces.close_channel();
            Ok::<_, Error>(())
        };
        let ((status, answer), ()) = tokio::try_join!(self.send(request), feed)?;
        bar.finish_and_clear();
        ensure(status == StatusCode::CREATED, "the upload was refused")?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        Ok(answer["id"].as_str().ok_or("the answer has no id")?.to_owned())
    }

    async fn get(&self, path: &str, range: Option<&str>) -> Result<Bytes, Error> {
        let (status, body) = self.request(Method::GET, path, range).await?;
        ensure(status.is_success(), &format!("{path} was answered with {status}"))?;
        Ok(body)
    }

    async fn request(&self, method: Method, path: &str, range: Option<&str>) -> Result<(StatusCode, Bytes), Error> {
        let mut request = self.head(method, path);
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        self.send(request.body(Full::new(Bytes::new()).boxed())?).await
    }

    fn head(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header(HOST, &self.address);
        request.header(AUTHORIZATION, format!("Bearer {}", self.token))
    }

    async fn send(
        &self,
        request: Request<http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let stream = TcpStream::connect(&self.address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

fn describe(recording: &serde_json::Value) -> String {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let class = &recording["classes"][0];
    let bytes = recording["bytes"].as_u64().unwrap_or(0);
    let (id, class, ends) = (text(&recording["id"]), text(&class["class"]), text(&class["expires_at"]));
    format!("{id}  {:>9}  {class} until {ends}  {}", size(bytes), text(&recording["name"]))
}

fn seconds(wav: &[u8]) -> f64 {
    wav.len() as f64 / (5 * sample::BYTES_PER_200_MS) as f64
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
