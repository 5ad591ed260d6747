//! `GET /metrics`: OpenMetrics where the scraper asks for it, the older text format for everyone else.
//!
//! Names end in their unit, counters in `_total`. Labels have few values, all known here: never a tenant, an address or a
//! number.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::super::{Face, SharedFace, problem};
use crate::catalog::{Counts, Person, RingMark, faults};
use crate::model::State;
use crate::model::error::chain;
use crate::timing::Timing;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Scrapers give up after ten seconds; what the catalog does not say by then is left out.
const CATALOG_TIME_MAX: Duration = Duration::from_secs(5);

pub async fn metrics(face: SharedFace, headers: HeaderMap) -> Response {
    let asked =
        async { Ok((face.catalog.counts().await?, face.catalog.ring_mark().await?, face.catalog.people().await?)) };
    let known = match tokio::time::timeout(CATALOG_TIME_MAX, asked).await {
        Ok(Ok(known)) => Some(known),
        Ok(Err(error)) => {
            let error: crate::catalog::CatalogError = error;
            tracing::warn!(error = chain(&error), "the catalog's counts are missing");
            None
        }
        Err(_) => {
            tracing::warn!("the catalog's counts are missing: it does not answer in time");
            None
        }
    };
    let mut registry = Registry::with_prefix("callvault");
    registry.register_collector(Box::new(Readings { face, known }));
    let mut page = String::new();
    if let Err(error) = text::encode(&mut page, &registry) {
        return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    match accepts.contains("application/openmetrics-text") {
        true => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        false => ([(CONTENT_TYPE, PLAIN)], in_plain_text(&page)).into_response(),
    }
}

/// The same page in the format before OpenMetrics: a counter's family has its sample's name, and there are no units.
fn in_plain_text(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    let mut help = None;
    for line in page.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), text) => help = text,
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                let help = help.take().unwrap_or_default();
                plain += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
            }
            (Some("#"), ..) => {}
            _ => plain += &format!("{line}\n"),
        }
    }
    plain
}

/// Reads the verbs' counts when it is asked; there is nothing to keep up to date.
struct Readings {
    face: SharedFace,
    /// `None`: the catalog did not answer, and what it knows is left out.
    known: Option<(Counts, RingMark, Vec<Person>)>,
}

impl std::fmt::Debug for Readings {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Readings")
    }
}

/// Name, help, unit, value.
type Reading<T> = (&'static str, &'static str, Option<Unit>, T);

type Encoded = Result<(), std::fmt::Error>;

impl Readings {
    fn gauges(&self) -> Vec<Reading<i64>> {
        let Face { ingest, reader, drain, .. } = &*self.face;
        let view = reader.keyring.view();
        let (generation, made) = view.map_or((0, 0), |view| (view.generation as i64, view.created_at.as_second()));
        let (spool, store_up) = (&reader.spool, i64::from(!ingest.handover.is_down()));
        let (catalog_up, free) = (i64::from(self.known.is_some()), spool.free().unwrap_or(0) as i64);
        let mut gauges = vec![
            ("uploads_running", "Bodies that are being received", None, ingest.live.count() as i64),
            ("uploads_limit", "Bodies that may be received at once", None, ingest.limits.count_max as i64),
            ("uploads_open", "Resumable uploads that are open in this process", None, ingest.open.count() as i64),
            ("draining", "Whether the server stops and takes no new upload", None, i64::from(drain.is_draining())),
            ("spool", "Bytes in the spool", Some(Unit::Bytes), spool.used() as i64),
            ("spool_limit", "Bytes that may be in the spool", Some(Unit::Bytes), spool.limits().bytes_max as i64),
            ("spool_free", "Bytes that the spool's limit and its disk leave", Some(Unit::Bytes), free),
            ("spool_segments", "Segments in the spool, one for each recording there", None, spool.count() as i64),
            ("spool_segments_limit", "Segments that may be in the spool", None, spool.limits().count_max as i64),
            ("spool_leftovers", "Recordings of a dead process to recover", None, ingest.leftovers.count() as i64),
            ("store_up", "Whether the object store took the last object", None, store_up),
            ("catalog_up", "Whether the catalog answered this page", None, catalog_up),
            ("ring_generation", "Generation of the ring in memory", None, generation),
            ("expire_last_advance_timestamp", "When expire wrote the ring in memory", Some(Unit::Seconds), made),
        ];
        if let Some((counts, mark, people)) = &self.known {
            gauges.extend(self.of_catalog(counts, mark));
            gauges.extend(self.of_people(people));
        }
        gauges
    }

    fn of_catalog(&self, counts: &Counts, mark: &RingMark) -> [Reading<i64>; 9] {
        let now = self.face.clock.now().as_second();
        let since = |instant: Option<crate::model::Timestamp>| instant.map_or(0, |at| now - at.as_second()).max(0);
        let run_open = since(mark.run.as_ref().map(|run| run.started_at));
        let waiting = counts.count(State::Spooled) as i64;
        // Not the floor of the ring in memory, which ages by this server's clock: what is destroyed is what the catalog says.
        let (floor, lag_s) = (mark.floor.start().as_second(), counts.shred_lag_s(mark.floor, self.face.clock.now()));
        let seconds = || Some(Unit::Seconds);
        [
            ("spool_oldest", "Longest wait for the object store", seconds(), since(counts.oldest_spooled)),
            ("recordings_spooled", "Recordings that wait for the object store", None, waiting),
            ("recordings_live", "Audio that is alive", Some(Unit::Bytes), counts.live_bytes as i64),
            ("shred_lag", "How long the oldest overdue key has outlived its term", seconds(), lag_s),
            ("ring_floor_timestamp", "Everything that ended before is destroyed", seconds(), floor),
            ("punctures_queued", "Erasures that the next expire carries out", None, counts.punctures_queued as i64),
            ("objects_to_sweep", "Dead objects that are still in the store", None, counts.objects_to_sweep as i64),
            ("expire_run_open", "Age of an expire run that has not finished; 0: none", seconds(), run_open),
            ("tenants", "Tenants, those that left too", None, counts.tenants as i64),
        ]
    }

    fn of_people(&self, people: &[Person]) -> [Reading<i64>; 2] {
        let now = self.face.clock.now();
        let standings = people.iter().filter(|person| person.disabled_at.is_none());
        let standings: Vec<_> = standings.map(|person| person.clearance.standing(now)).collect();
        let cleared = standings.iter().filter(|standing| standing.is_cleared()).count() as i64;
        let ending = standings.iter().filter(|standing| standing.ends_soon(now).is_some()).count() as i64;
        [
            ("people_cleared", "People who may reach recordings", None, cleared),
            ("clearances_ending", "Clearances that run out within 30 days", None, ending),
        ]
    }

    fn counters(&self) -> [Reading<u64>; 9] {
        let Face { ingest, playback, watch, .. } = &*self.face;
        let (ingest, playback) = (&ingest.stats, &playback.stats);
        let damage = playback.integrity_events.load(Relaxed) + ingest.integrity_events.load(Relaxed);
        [
            ("uploads_complete", "Uploads received to their end", None, ingest.complete.load(Relaxed)),
            ("uploads_partial", "Uploads cut off and kept", None, ingest.partial.load(Relaxed)),
            ("uploads_recovered", "Uploads finished after a crash", None, ingest.recovered.load(Relaxed)),
            ("ingest", "Audio received", Some(Unit::Bytes), ingest.received_bytes.load(Relaxed)),
            ("playback_sessions", "Recordings opened for playback", None, playback.sessions.load(Relaxed)),
            ("playback", "Audio served", Some(Unit::Bytes), playback.served_bytes.load(Relaxed)),
            ("integrity_events", "Damage that was found", None, damage),
            ("requests_denied", "Requests whose sender may not do this", None, watch.denied.load(Relaxed)),
            ("requests_turned_away", "Requests answered with 429", None, watch.turned_away.load(Relaxed)),
        ]
    }

    fn encode_counts_by_label(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let problems: Vec<_> = problem::answered().map(|(problem, count)| ([("problem", problem)], count)).collect();
        family(encoder, "problems", "Requests answered with a problem", &problems)?;
        let faults = faults().map(|(kind, count)| ([("kind", kind)], count));
        family(encoder, "catalog_errors", "What the catalog did not do", &faults)?;
        let failures = self.face.reader.store.stats().failures();
        let failures: Vec<_> = failures
            .map(|(operation, kind, count)| ([("operation", operation.name()), ("kind", kind)], count))
            .collect();
        family(encoder, "store_errors", "What the object store did not do", &failures)?;
        let runs = self.face.expire_stats.runs().map(|(result, count)| ([("result", result)], count));
        family(encoder, "expire_runs", "Expire runs of this process", &runs)
    }

    fn encode_timings(&self, encoder: &mut DescriptorEncoder) -> Encoded {
        let Face { ingest, playback, reader, expire_stats, .. } = &*self.face;
        let acknowledgement = &ingest.stats.acknowledgement;
        timing(encoder, "upload_acknowledgement", "From an upload's last byte until it is durable", acknowledgement)?;
        let first_byte = &playback.stats.first_byte;
        timing(encoder, "playback_first_byte", "From a listener's request to the first bytes", first_byte)?;
        let store = reader.store.stats().durations().map(|(operation, timing)| (operation.name(), timing));
        timings(encoder, ("store_request_duration", "Requests to the object store"), "operation", store)?;
        let steps = ("expire_step_duration", "Steps of the expire runs of this process");
        timings(encoder, steps, "step", expire_stats.steps().into_iter())
    }
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Encoded {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        build.encode(encoder.encode_descriptor("build", "What this server runs", None, build.metric_type())?)?;
        for (name, help, unit, value) in self.counters() {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, unit.as_ref(), counter.metric_type())?)?;
        }
        for (name, help, unit, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        if let Some((counts, ..)) = &self.known {
            let mut metric = encoder.encode_descriptor("recordings", "Recordings by state", None, MetricType::Gauge)?;
            for state in State::ALL {
                let gauge = ConstGauge::new(counts.count(state) as i64);
                gauge.encode(metric.encode_family(&[("state", state.as_str())])?)?;
            }
        }
        self.encode_counts_by_label(&mut encoder)?;
        self.encode_timings(&mut encoder)
    }
}

/// Counters of one name that differ in their labels.
fn family<const N: usize>(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    counts: &[([(&str, &str); N], u64)],
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, count) in counts {
        ConstCounter::new(*count).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}

fn timing(encoder: &mut DescriptorEncoder, name: &str, help: &str, timing: &Timing) -> Encoded {
    let metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    timing.histogram().encode(metric)
}

fn timings<'a>(
    encoder: &mut DescriptorEncoder,
    (name, help): (&str, &str),
    label: &str,
    timings: impl Iterator<Item = (&'static str, &'a Timing)>,
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for (value, timing) in timings {
        timing.histogram().encode(metric.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}
