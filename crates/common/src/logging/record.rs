//! One log record: the fields of an event as a flat JSON object.
//!
//! It does not filter and does not write.

use std::error::Error;
use std::fmt;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;
use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level};
use tracing_log::NormalizeEvent as _;

/// Keys that every record has. An event's own field of such a name becomes `field_NAME`, because a
/// JSON object has each key once.
const RESERVED: [&str; 4] = ["timestamp", "level", "service", "target"];

/// Turns the events of one subscriber into records.
pub(super) struct Recorder {
    service: &'static str,
    dispatch: OnceLock<WeakDispatch>,
}

impl Recorder {
    pub(super) fn new(service: &'static str) -> Self {
        Self {
            service,
            dispatch: OnceLock::new(),
        }
    }

    /// Stores the subscriber, to look up the span that an event names as its parent.
    pub(super) fn register(&self, dispatch: &Dispatch) {
        let _ = self.dispatch.set(dispatch.downgrade());
    }

    pub(super) fn record<'a>(&self, event: &'a Event<'_>) -> Record<'a> {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if event.is_log() {
            fields.0.retain(|(name, _)| !name.starts_with("log."));
        }
        if let Some(span) = self.span_of(event) {
            fields.add_ids(&span);
        }
        Record {
            time: now(),
            level: *event.metadata().level(),
            service: self.service,
            target: target(event),
            fields,
        }
    }

    /// The span of an event: the parent it names, or else the current one. A current span made
    /// through OpenTelemetry alone counts, too: `tracing` keeps the same context up to date.
    fn span_of(&self, event: &Event<'_>) -> Option<SpanContext> {
        let span = if let Some(parent) = event.parent() {
            let dispatch = self.dispatch.get()?.upgrade()?;
            tracing_opentelemetry::get_otel_context(parent, &dispatch)?
                .span()
                .span_context()
                .clone()
        } else if event.is_contextual() {
            opentelemetry::Context::map_current(|context| context.span().span_context().clone())
        } else {
            return None;
        };
        span.is_valid().then_some(span)
    }
}

/// The target, also of an event from the `log` crate, such as those of librdkafka.
pub(super) fn target<'a>(event: &'a Event<'_>) -> &'a str {
    event
        .normalized_metadata()
        .map_or_else(|| event.metadata().target(), |metadata| metadata.target())
}

#[expect(
    clippy::disallowed_methods,
    reason = "an edge: a record gets its timestamp where it is created"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// One event, serialized as one flat object.
pub(super) struct Record<'a> {
    time: SystemTime,
    level: Level,
    service: &'static str,
    target: &'a str,
    fields: Fields,
}

impl Record<'_> {
    /// Adds a field, or replaces the event's field of that name.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.fields.set(name, value.into());
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a map with text keys can be written as JSON")
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &rfc3339(self.time))?;
        map.serialize_entry("level", self.level.as_str())?;
        map.serialize_entry("service", self.service)?;
        map.serialize_entry("target", self.target)?;
        for (name, value) in &self.fields.0 {
            if RESERVED.contains(name) {
                map.serialize_entry(&format!("field_{name}"), value)?;
            } else {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// UTC to the millisecond. A clock outside the years -9999 to 9999 is written as 1970, so that the
/// record is not lost.
fn rfc3339(time: SystemTime) -> String {
    format!("{:.3}", jiff::Timestamp::try_from(time).unwrap_or_default())
}

/// The fields of an event in their order, each name once: the last value of a repeated name wins.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds the ids of `span` unless the event has its own.
    fn add_ids(&mut self, span: &SpanContext) {
        let trace_id = Value::from(span.trace_id().to_string());
        match self.get("trace_id") {
            // The event names another trace, and this span is not part of it.
            Some(own) if *own != trace_id => return,
            Some(_) => {}
            None => self.set("trace_id", trace_id),
        }
        if self.get("span_id").is_none() {
            self.set("span_id", span.span_id().to_string().into());
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        // In source code, a field named like a keyword is `r#type`.
        self.set(name.strip_prefix("r#").unwrap_or(name), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes =
            std::iter::successors(Some(value), |&error| error.source()).map(ToString::to_string);
        self.put(field, causes.collect::<Vec<_>>().join(": ").into());
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _};
    use serde_json::json;

    use super::*;
    use crate::testing::record_thread;

    #[test]
    fn a_record_has_the_ids_of_its_exported_span() {
        let (recorded, _guard) = record_thread();
        tracing::info_span!("work").in_scope(|| tracing::info!(count = 3, "done"));
        let (span, record) = (recorded.span("work").span_context, &recorded.logs()[0]);
        assert_eq!(record["trace_id"], span.trace_id().to_string());
        assert_eq!(record["span_id"], span.span_id().to_string());
        assert_eq!(record["level"], "INFO");
        assert_eq!(record["service"], "test");
        assert_eq!(record["target"], module_path!());
        assert_eq!(record["message"], "done");
        assert_eq!(record["count"], 3);
    }

    #[test]
    fn a_span_made_without_tracing_gives_its_ids() {
        let (recorded, _guard) = record_thread();
        let span = recorded.tracer().start("outside");
        let id = span.span_context().span_id().to_string();
        let entered = opentelemetry::Context::new().with_span(span).attach();
        tracing::info!("inside");
        drop(entered);
        assert_eq!(recorded.logs()[0]["span_id"], id);
    }

    #[test]
    fn a_named_parent_wins_over_the_current_span() {
        let (recorded, _guard) = record_thread();
        let named = tracing::info_span!("named");
        tracing::info_span!("current").in_scope(|| tracing::info!(parent: &named, "done"));
        drop(named);
        assert_eq!(
            recorded.logs()[0]["span_id"],
            recorded.span("named").span_context.span_id().to_string()
        );
    }

    #[test]
    fn a_record_outside_any_span_has_no_ids() {
        let (recorded, _guard) = record_thread();
        tracing::info!("alone");
        tracing::info_span!("work").in_scope(|| tracing::info!(parent: None, "on its own"));
        for record in recorded.logs() {
            assert!(
                record.get("trace_id").is_none() && record.get("span_id").is_none(),
                "{record}"
            );
        }
    }

    #[test]
    fn ids_of_two_traces_are_never_mixed() {
        let (recorded, _guard) = record_thread();
        tracing::info_span!("work").in_scope(|| tracing::info!(trace_id = "ab", "done"));
        let record = &recorded.logs()[0];
        assert_eq!(record["trace_id"], "ab");
        assert!(record.get("span_id").is_none());
    }

    #[test]
    fn special_characters_survive() {
        let (recorded, _guard) = record_thread();
        let text =
            "quote \" backslash \\ line\nfeed\r tab\t nul\0 escape\u{1b}[31m \u{2028} \u{1f980} é";
        tracing::info!(text, debug = ?text, "{text}");
        let record = &recorded.logs()[0];
        assert_eq!(record["message"], text);
        assert_eq!(record["text"], text);
        assert_eq!(record["debug"], format!("{text:?}"));
    }

    #[test]
    fn every_kind_of_value_keeps_its_type() {
        let (recorded, _guard) = record_thread();
        let error: Box<dyn Error> = std::io::Error::other("disk full").into();
        tracing::info!(
            int = -1,
            big = u64::MAX,
            float = 0.5,
            nan = f64::NAN,
            yes = true,
            error = &*error,
            "values"
        );
        let record = &recorded.logs()[0];
        let expected = json!({"int": -1, "big": u64::MAX, "float": 0.5, "nan": null, "yes": true, "error": "disk full"});
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&record[name], value, "{name}");
        }
    }

    #[test]
    fn each_key_is_written_once() {
        let (recorded, _guard) = record_thread();
        tracing::info!(
            level = 7,
            timestamp = "then",
            r#type = "kind",
            a.b = 1,
            "clash"
        );
        let record = &recorded.logs()[0];
        assert_eq!(
            (&record["level"], &record["field_level"]),
            (&json!("INFO"), &json!(7))
        );
        assert_eq!(record["field_timestamp"], "then");
        assert_eq!(record["type"], "kind");
        assert_eq!(record["a.b"], 1);
    }

    #[test]
    fn a_time_is_utc_to_the_millisecond() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_752_327_900_120_999);
        assert_eq!(rfc3339(time), "2025-07-12T13:45:00.120Z");
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
