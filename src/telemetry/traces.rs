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
    kind: u64,
    begun_at_ns: i128,
    duration_ns: u128,
    attributes: Vec<(&'static str, Value)>,
}

/// What is kept beside a span's place while it lasts.
struct Ongoing {
    span: Span,
    begun: Instant,
}

enum Value {
    Text(Box<str>),
    Whole(i64),
}

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
            begun_at_ns: SystemClock.now().as_nanosecond(),
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
            let told = |key: &str| fields.attributes.iter().any(|(name, _)| *name == key);
            span.attributes.retain(|(key, _)| !told(key));
            span.attributes.append(&mut fields.attributes);
        }
    }

    fn on_close(&self, id: Id, surroundings: Surroundings<'_, S>) {
        let ended = surroundings.span(&id).and_then(|opened| opened.extensions_mut().remove::<Ongoing>());
        let Some(Ongoing { mut span, begun }) = ended else { return };
        span.duration_ns = begun.elapsed().as_nanos();
        if self.queue.try_send(span).is_err() {
            spans::note_dropped(1);
        }
    }
}

/// The fields of a span as they are told.
#[derive(Default)]
struct Fields {
    name: Box<str>,
    kind: u64,
    came_from: Option<Context>,
    attributes: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            spans::NAME => self.name = value.into(),
            spans::CAME_WITH => self.came_from = Context::parse(value).map(|(context, _)| context),
            attribute => self.attributes.push((attribute, Value::Text(value.into()))),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            spans::KIND => self.kind = value,
            attribute => self.attributes.push((attribute, Value::Whole(i64::try_from(value).unwrap_or(i64::MAX)))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.attributes.push((field.name(), Value::Text(format!("{value:?}").into())));
    }
}
