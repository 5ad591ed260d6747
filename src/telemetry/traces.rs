//! Traces: spans that end are put in a queue, and go from there to an OpenTelemetry collector.
//!
//! # Promise
//! Nothing that is traced waits for a collector, and nothing fails because of one. What there is no room for, and what the
//! collector does not take, is dropped and counted ([`spans::dropped`]). At its end a process waits for the collector no longer
//! than `FINISH_TIME_MAX`.
//! # Secrecy
//! Spans of other libraries are not looked at; what ours may hold is decided in [`crate::spans`].

mod otlp;
mod sending;

use std::fmt;
use std::time::Instant;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Context as Surroundings;
use tracing_subscriber::registry::LookupSpan;

pub use sending::{Sending, Traces};

use crate::crypto::random::random;
use crate::model::Clock;
use crate::model::clock::SystemClock;
use crate::spans::{self, Context, Settings};

/// A span, while it lasts and on its way to the collector.
struct Span {
    context: Context,
    parent: Option<[u8; 8]>,
    name: Box<str>,
    kind: u8,
    begun_at_ns: u64,
    duration_ns: u64,
    attributes: Vec<Attribute>,
}

/// What is kept beside a span's place while it lasts.
struct Ongoing {
    span: Span,
    begun: Instant,
}

// Limit: ten thousand calls that go on have four each.
enum Attribute {
    Text(Key, Box<str>),
    Whole(Key, u32),
}

/// Its place among [`spans::ATTRIBUTES`].
type Key = u8;

/// Gathers spans that end.
pub struct Gathering {
    queue: mpsc::Sender<Span>,
}

/// What gathers spans, and what sends them on once there is a runtime.
pub fn traces(settings: Settings, instance: String) -> (Gathering, Traces) {
    let (queue, gathered) = mpsc::channel(settings.queue_max);
    (Gathering { queue }, Traces::new(settings, instance, gathered))
}

/// Our spans, and nothing else.
pub fn ours() -> FilterFn {
    let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == spans::TARGET;
    FilterFn::new(is_ours as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::INFO)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Gathering {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, surroundings: Surroundings<'_, S>) {
        let Some(opened) = surroundings.span(id) else { return };
        let around = opened.parent().and_then(|parent| parent.extensions().get::<Context>().copied());
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = around.or(fields.came_from);
        let context = Context { trace: parent.map_or_else(random, |parent| parent.trace), span: random() };
        let span = Span {
            context,
            parent: parent.map(|parent| parent.span),
            name: fields.name,
            kind: fields.kind,
            begun_at_ns: u64::try_from(SystemClock.now().as_nanosecond()).unwrap_or(0),
            duration_ns: 0,
            attributes: fields.attributes,
        };
        let mut extensions = opened.extensions_mut();
        extensions.insert(context);
        extensions.insert(Ongoing { span, begun: Instant::now() });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, surroundings: Surroundings<'_, S>) {
        let Some(opened) = surroundings.span(id) else { return };
        let mut extensions = opened.extensions_mut();
        if let Some(Ongoing { span, .. }) = extensions.get_mut::<Ongoing>() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            span.attributes.retain(|known| fields.attributes.iter().all(|told| told.key() != known.key()));
            span.attributes.reserve_exact(fields.attributes.len());
            span.attributes.append(&mut fields.attributes);
        }
    }

    fn on_close(&self, id: Id, surroundings: Surroundings<'_, S>) {
        let ended = surroundings.span(&id).and_then(|opened| opened.extensions_mut().remove::<Ongoing>());
        let Some(Ongoing { mut span, begun }) = ended else { return };
        span.duration_ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if self.queue.try_send(span).is_err() {
            spans::note_dropped(1);
        }
    }
}

impl Attribute {
    fn key(&self) -> &'static str {
        match self {
            Attribute::Text(key, _) | Attribute::Whole(key, _) => spans::ATTRIBUTES[usize::from(*key)],
        }
    }
}

/// The fields of a span as they are told.
#[derive(Default)]
struct Fields {
    name: Box<str>,
    kind: u8,
    came_from: Option<Context>,
    attributes: Vec<Attribute>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            spans::NAME => self.name = value.into(),
            spans::CAME_WITH => self.came_from = Context::parse(value).map(|(context, _)| context),
            name => self.attribute(name, |key| Attribute::Text(key, value.into())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            spans::KIND => self.kind = value as u8,
            name => self.attribute(name, |key| Attribute::Whole(key, u32::try_from(value).unwrap_or(u32::MAX))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.attribute(field.name(), |key| Attribute::Text(key, format!("{value:?}").into()));
    }
}

impl Fields {
    /// Secrecy: what is no attribute of ours is not taken.
    fn attribute(&mut self, name: &str, attribute: impl FnOnce(Key) -> Attribute) {
        if let Some(key) = spans::ATTRIBUTES.iter().position(|known| *known == name) {
            self.attributes.reserve_exact(1);
            self.attributes.push(attribute(key as Key));
        }
    }
}
