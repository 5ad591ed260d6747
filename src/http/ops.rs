//! For those who run it: health, readiness, metrics.

use std::sync::atomic::Ordering::Relaxed;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use super::recordings::json;
use super::{Face, SharedFace};

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// The server stops: it goes on with what runs, and takes nothing new.
    draining: bool,
    catalog: bool,
    ring: bool,
    spool: bool,
}

/// `GET /readyz`: an upload that begins can be received.
pub async fn readyz(face: SharedFace) -> Response {
    let catalog = face.catalog.ring_mark().await.is_ok();
    let ring = face.reader.keyring.view().is_some();
    let spool = face.reader.spool.has_room(0).is_ok();
    let draining = face.drain.is_draining();
    let ready = !draining && catalog && ring && spool;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, draining, catalog, ring, spool })
}

/// `GET /metrics` on its own listener.
pub async fn metrics(face: SharedFace) -> Response {
    let mut registry = Registry::with_prefix("callvault");
    registry.register_collector(Box::new(Readings(face)));
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Reads the verbs' counts when it is asked; there is nothing to keep up to date.
struct Readings(SharedFace);

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Readings")
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Face { ingest, playback, reader, .. } = &*self.0;
        let counters = [
            ("uploads_complete", "Uploads received to their end", None, ingest.stats.complete.load(Relaxed)),
            ("uploads_partial", "Uploads cut off and kept", None, ingest.stats.partial.load(Relaxed)),
            ("uploads_recovered", "Uploads finished after a crash", None, ingest.stats.recovered.load(Relaxed)),
            ("ingest", "Audio received", Some(Unit::Bytes), ingest.stats.received_bytes.load(Relaxed)),
            ("playback_sessions", "Recordings opened for playback", None, playback.stats.sessions.load(Relaxed)),
            ("playback", "Audio served", Some(Unit::Bytes), playback.stats.served_bytes.load(Relaxed)),
            ("integrity_events", "Damage that was found", None, playback.stats.integrity_events.load(Relaxed)),
        ];
        for (name, help, unit, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, unit.as_ref(), counter.metric_type())?)?;
        }
        let floor = reader.keyring.view().map_or(0, |view| view.floor.start().as_second());
        let generation = reader.keyring.view().map_or(0, |view| view.generation as i64);
        let gauges = [
            ("uploads_running", "Uploads at this moment", None, ingest.live.count() as i64),
            ("spool", "Bytes in the spool", Some(Unit::Bytes), reader.spool.used() as i64),
            ("ring_generation", "Generation of the ring in memory", None, generation),
            ("ring_floor_timestamp", "Everything that ended before is destroyed", Some(Unit::Seconds), floor),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}
