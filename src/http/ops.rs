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
use crate::catalog::Counts;
use crate::model::State;
use crate::model::error::chain;

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
    let counts = face.catalog.counts().await;
    let counts = counts.inspect_err(|error| tracing::warn!(error = chain(error), "the catalog's counts are missing"));
    let mut registry = Registry::with_prefix("callvault");
    registry.register_collector(Box::new(Readings { face, counts: counts.ok() }));
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Reads the verbs' counts when it is asked; there is nothing to keep up to date.
struct Readings {
    face: SharedFace,
    /// `None`: the catalog did not answer, and what it knows is left out.
    counts: Option<Counts>,
}

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Readings")
    }
}

/// Name, help, unit, value.
type Gauge = (&'static str, &'static str, Option<Unit>, i64);

impl Readings {
    fn gauges(&self) -> Vec<Gauge> {
        let Face { ingest, reader, .. } = &*self.face;
        let (floor, generation) =
            reader.keyring.view().map_or((0, 0), |view| (view.floor.start().as_second(), view.generation as i64));
        let (spool, store_up) = (&reader.spool, i64::from(!ingest.handover.is_down()));
        let mut gauges = vec![
            ("uploads_running", "Bodies that are being received", None, ingest.live.count() as i64),
            ("uploads_open", "Resumable uploads that are open in this process", None, ingest.open.count() as i64),
            ("spool", "Bytes in the spool", Some(Unit::Bytes), spool.used() as i64),
            ("spool_limit", "Bytes that may be in the spool", Some(Unit::Bytes), spool.limits().bytes_max as i64),
            ("spool_segments", "Segments in the spool, one for each recording there", None, spool.count() as i64),
            ("spool_segments_limit", "Segments that may be in the spool", None, spool.limits().count_max as i64),
            ("spool_leftovers", "Recordings of a dead process to recover", None, ingest.leftovers.count() as i64),
            ("store_up", "Whether the object store took the last object", None, store_up),
            ("ring_generation", "Generation of the ring in memory", None, generation),
            ("ring_floor_timestamp", "Everything that ended before is destroyed", Some(Unit::Seconds), floor),
        ];
        if let Some(counts) = &self.counts {
            let now = self.face.clock.now().as_second();
            let age_s = counts.oldest_spooled.map_or(0, |since| now - since.as_second()).max(0);
            let waiting = counts.count(State::Spooled) as i64;
            gauges.push(("spool_oldest", "Longest wait for the object store", Some(Unit::Seconds), age_s));
            gauges.push(("recordings_spooled", "Recordings that wait for the object store", None, waiting));
        }
        gauges
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Face { ingest, playback, .. } = &*self.face;
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
        for (name, help, unit, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}
