//! What a trace is made of: a span for each request and each expire run, and spans for those of their parts that take time.
//!
//! Spans are those of the `tracing` crate, under a target of their own; `telemetry` collects and sends them. Until it has
//! switched them on nothing is made: a look at a flag, and [`Span::none`].
//!
//! # Secrecy
//! All spans are made here, with the fields of one list. Their values are words of this program, states, numbers that it
//! gave itself, and ids: nothing that a stranger wrote but the ids of a trace, which are hexadecimal digits, and the id of a
//! recording, which is a UUID.
//! # Limits
//! A request that goes on keeps one span, of some 700 bytes. Of a playback each window is one more, and gone when it ends.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tracing::Span;
use tracing::field::{Empty, display};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use crate::model::text::{hex, unhex};
use crate::model::{RecordingId, TenantNumber};
use crate::outward::Place;

/// Of every span that is made here, and of nothing else.
pub const TARGET: &str = "callvault::spans";
/// Fields of a span that are no attributes of it.
pub const NAME: &str = "name";
pub const KIND: &str = "kind";
pub const CAME_WITH: &str = "traceparent";
/// A span's attributes.
pub const ATTRIBUTES: [&str; 5] = [ROUTE, STATUS, ERROR, RECORDING, TENANT];
pub const ROUTE: &str = "http.route";
pub const STATUS: &str = "http.response.status_code";
pub const ERROR: &str = "error.type";
const RECORDING: &str = "recording.id";
const TENANT: &str = "tenant.id";

/// The field of a request's head (W3C Trace Context).
pub const TRACEPARENT: &str = "traceparent";

static IS_ON: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Where spans are sent, and how many wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of the signal: the endpoint's address with `/v1/traces`.
    pub place: Place,
    pub queue_max: usize,
    /// Of one request to the collector.
    pub timeout: Duration,
}

/// What a span is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Internal,
    /// It answers a request.
    Server,
    /// It waits for another service.
    Client,
}

impl Kind {
    /// As OTLP numbers them.
    pub fn number(self) -> u8 {
        match self {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
        }
    }
}

/// A span's place: which trace, and which span of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    pub trace: [u8; 16],
    pub span: [u8; 8],
}

/// What a request's sender asks for his trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    Yes,
    No,
}

impl Context {
    /// `version-trace-span-flags`, in lower case (W3C Trace Context, section 3.2); of a later version the part that this one has.
    pub fn parse(text: &str) -> Option<(Context, Sampled)> {
        let fields: Vec<&str> = text.split('-').collect();
        let [version, trace, span, flags, more @ ..] = &fields[..] else { return None };
        let context = Context { trace: unhex(trace)?.try_into().ok()?, span: unhex(span)?.try_into().ok()? };
        let ([version], [flags]) =
            (<[u8; 1]>::try_from(unhex(version)?).ok()?, <[u8; 1]>::try_from(unhex(flags)?).ok()?);
        let is_known = version != 0xff && (version != 0 || more.is_empty());
        let is_sound = is_known && context.trace != [0; 16] && context.span != [0; 8];
        is_sound.then_some((context, if flags & 1 == 1 { Sampled::Yes } else { Sampled::No }))
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "00-{}-{}-01", hex(&self.trace), hex(&self.span))
    }
}

/// Makes spans from now on; what collects them is in place.
pub fn switch_on() {
    IS_ON.store(true, Relaxed);
}

pub fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// The span of a request, which is called by its method. One that belongs to a trace whose sender wants none of it makes nothing.
pub fn request(
    method: &'static str,
    route: Option<&'static str>,
    recording: Option<RecordingId>,
    came_with: Option<&str>,
) -> Span {
    let parent = came_with.and_then(Context::parse);
    if !is_on() || parent.is_some_and(|(_, sampled)| sampled == Sampled::No) {
        return Span::none();
    }
    let span = open(method, Kind::Server, parent.and(came_with));
    if let Some(route) = route {
        span.record(ROUTE, route);
    }
    if let Some(recording) = recording {
        span.record(RECORDING, display(recording));
    }
    span
}

/// The span of work that nobody asked for: a trace of its own.
pub fn run(name: &'static str) -> Span {
    if is_on() { open(name, Kind::Internal, None) } else { Span::none() }
}

/// A part of what goes on at present; none where that is not traced.
pub fn part(name: &'static str) -> Span {
    within_present(name, Kind::Internal)
}

/// A part that waits for another service.
pub fn request_to(name: &'static str) -> Span {
    within_present(name, Kind::Client)
}

fn within_present(name: &'static str, kind: Kind) -> Span {
    match is_on() && !Span::current().is_none() {
        true => open(name, kind, None),
        false => Span::none(),
    }
}

/// The only place where spans are made: these are all the fields that one can have.
fn open(name: &'static str, kind: Kind, came_with: Option<&str>) -> Span {
    tracing::info_span!(
        target: TARGET,
        "span",
        name,
        kind = kind.number(),
        traceparent = came_with,
        http.route = Empty,
        http.response.status_code = Empty,
        "error.type" = Empty,
        recording.id = Empty,
        tenant.id = Empty,
    )
}

/// What goes on at present is about this recording.
pub fn note_recording(id: RecordingId) {
    if is_on() {
        Span::current().record(RECORDING, display(id));
    }
}

/// What goes on at present is for this tenant: its number, not its name.
pub fn note_tenant(tenant: TenantNumber) {
    if is_on() {
        Span::current().record(TENANT, tenant.0);
    }
}

pub fn answered(span: &Span, status: u16) {
    span.record(STATUS, status);
}

/// `kind`: one of a few words of this program.
pub fn failed(span: &Span, kind: &'static str) {
    span.record(ERROR, kind);
}

/// Where what goes on at present stands, for another server that does a part of it.
pub fn current() -> Option<Context> {
    if !is_on() {
        return None;
    }
    let place = Span::current().with_subscriber(|(id, subscriber)| {
        let span = subscriber.downcast_ref::<Registry>()?.span(id)?;
        span.extensions().get::<Context>().copied()
    });
    place.flatten()
}

/// Spans that nobody will see: there was no room for them, or the collector did not take them.
pub fn note_dropped(count: u64) {
    DROPPED.fetch_add(count, Relaxed);
}

pub fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_place_in_a_trace_is_read_and_written_as_the_recommendation_says() {
        let (context, sampled) = Context::parse(TEXT).expect("the recommendation's own example");

        assert_eq!((context.to_string(), sampled), (TEXT.to_owned(), Sampled::Yes));
        assert_eq!(context.trace[..2], [0x4b, 0xf9]);
        let unsampled = TEXT.replace("-01", "-00");
        assert_eq!(Context::parse(&unsampled), Some((context, Sampled::No)));
        let later = TEXT.replace("00-4b", "cc-4b") + "-what-comes-later";
        assert_eq!(Context::parse(&later), Some((context, Sampled::Yes)));
    }

    #[test]
    fn a_place_in_a_trace_that_is_not_well_formed_is_no_place() {
        for bad in [
            "",
            "00",
            &TEXT.to_uppercase(),
            &TEXT.replace("00-4b", "ff-4b"),
            &TEXT.replace("4b", "4g"),
            &(TEXT.to_owned() + "-more"),
            &TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &TEXT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &TEXT.replace("-01", "-1"),
            &TEXT[1..],
        ] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }
}
