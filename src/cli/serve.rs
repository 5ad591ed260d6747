//! `callvault serve`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use super::output::Output;
use super::{Failure, Outcome};
use crate::app::{Certificates, Descriptors, Exclusive, Follower, Vault};
use crate::config::Config;
use crate::http::auth::{LastUses, Watch};
use crate::http::serve::{serve, serve_metrics};
use crate::http::trail::Traces;
use crate::http::{Face, SharedFace, WireLimits};
use crate::ingest::Recovered;
use crate::model::error::chain;
use crate::sso::SignOn;

/// A stop is not delayed longer by a catalog that does not answer.
const TRACES_END_MAX: Duration = Duration::from_secs(5);

/// A start is not delayed longer by what is left in the spool.
const RECOVERY_BEFORE_SERVING_MAX: Duration = Duration::from_secs(3);

// Limit: connections that wait to be taken; the kernel's own limit (net.core.somaxconn) is the same where nobody changed it. A
// burst that finds it full waits a second for its next try.
const BACKLOG: u32 = 4_096;

#[derive(Serialize)]
struct Listening {
    url: String,
}

pub async fn run(config: Config, output: Output) -> Outcome {
    let server = Server::start(config).await?;
    // Before anybody is told that it serves: whoever is told may stop it.
    let stop = stop_signal()?;
    output.print(&Listening { url: server.url() }, |listening| format!("listening on {}\n", listening.url));
    server.serve(stop).await;
    Ok(())
}

/// A vault that is about to serve: what a crash left is finished, and the port is bound.
pub struct Server {
    pub vault: Arc<Vault>,
    listener: TcpListener,
    address: SocketAddr,
    face: SharedFace,
    /// `None`: plain HTTP.
    certificates: Option<Certificates>,
    follower: Follower,
    exclusive: Exclusive,
}

impl Server {
    pub async fn start(config: Config) -> Result<Server, Failure> {
        let descriptors = Descriptors::raise();
        if let Some(warning) = descriptors.warning(config.upload.count_max) {
            tracing::warn!("{warning}");
        }
        let limits = WireLimits {
            descriptors_max: descriptors.for_connections(),
            body_idle: config.upload_idle,
            rate_min: config.rate_min,
            rate_window: config.rate_window,
            header_timeout: config.header_timeout,
            drain_timeout: config.drain_timeout,
            trusted_proxies: config.trusted_proxies.clone(),
            cors_origins: config.cors_origins.clone(),
            links: config.access.links,
            four_eyes: config.access.four_eyes,
        };
        let certificates = config.tls.clone().map(Certificates::start).transpose()?;
        let vault = Arc::new(Vault::open(config).await?);
        for warning in vault.keyring.warnings() {
            tracing::warn!("{warning}");
        }
        vault.check().await?;
        let sign_on = vault.config.single_sign_on.clone();
        let sign_on = sign_on.map(|settings| SignOn::start(settings, vault.latest.clone())).transpose();
        let sign_on = sign_on.map_err(Failure::Config)?;
        let exclusive = Exclusive::take(&vault).await?;
        let listener = bind(vault.config.listen)?;
        let address = listener.local_addr().map_err(|error| Failure::Failed(error.to_string()))?;
        recover(&vault).await?;
        let face = Arc::new(Face {
            catalog: vault.catalog.clone(),
            ingest: vault.ingest.clone(),
            playback: vault.playback.clone(),
            reader: vault.reader.clone(),
            clock: vault.latest.clone(),
            limits,
            drain: Arc::default(),
            expire_stats: vault.expire_stats.clone(),
            probes: Default::default(),
            peers: vault.peers(),
            watch: Watch::new(vault.config.access.watch),
            last_uses: LastUses::default(),
            traces: Traces::new(vault.trail.clone(), vault.config.audit.sessions),
            sign_on,
        });
        start_metrics(&vault.config, face.clone()).await?;
        let follower = Follower::start(vault.clone());
        Ok(Server { vault, listener, address, face, certificates, follower, exclusive })
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn serve(self, stop: impl Future<Output = ()>) {
        tracing::info!(address = %self.address, "serving");
        let secured = self.certificates.as_ref().map(Certificates::present);
        let traces = self.face.traces.clone();
        tokio::select! {
            () = serve(self.listener, self.face, secured, stop) => {}
            () = traces.tend() => unreachable!("it looks after them without an end"),
        }
        if tokio::time::timeout(TRACES_END_MAX, traces.end()).await.is_err() {
            tracing::warn!("what the last playbacks served is not in the audit trail: it cannot be written");
        }
        drop(self.certificates);
        drop(self.follower);
        if let Err(error) = self.vault.ingest.part().await {
            tracing::warn!(
                error = chain(&error),
                "what this server received in part can grow nowhere else until it is back"
            );
        }
        // Not before the last upload was finished.
        drop(self.exclusive);
        tracing::info!("stopped");
    }
}

/// Takes what a dead process left in this server's spool; most of it is finished before the first request, and a great deal goes on behind.
async fn recover(vault: &Vault) -> Outcome {
    vault.catalog.adopt(&vault.config.replica.name).await?;
    if vault.ingest.take_over()? > 0 {
        let recovered = vault.ingest.recover(RECOVERY_BEFORE_SERVING_MAX).await?;
        let Recovered { salvaged, removed, left } = recovered;
        tracing::info!(salvaged, removed, left, "the spool was gone through");
    }
    Ok(vault.ingest.abandon_empty().await?)
}

/// Resolves at SIGTERM or SIGINT.
pub fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let caught = |kind| signal(kind).map_err(|error| Failure::Failed(format!("signals cannot be caught: {error}")));
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    listen(address).map_err(|error| {
        Failure::Failed(format!("{address} cannot be listened on: {error}; give another address with --listen"))
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the server before, which are still being closed, do not keep this one from starting.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A metrics port that another process has is a reason to stop only where it was asked for.
async fn start_metrics(config: &Config, face: SharedFace) -> Outcome {
    match TcpListener::bind(config.metrics.address).await {
        Ok(listener) => {
            tokio::spawn(serve_metrics(listener, face));
            Ok(())
        }
        Err(error) if config.metrics.is_chosen => {
            Err(Failure::Failed(format!("metrics_listen {} cannot be listened on: {error}", config.metrics.address)))
        }
        Err(error) => {
            tracing::warn!(address = %config.metrics.address, %error, "no metrics: give another address with --metrics-listen");
            Ok(())
        }
    }
}
