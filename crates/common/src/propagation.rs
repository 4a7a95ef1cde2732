//! W3C trace context in Kafka and HTTP headers.
//!
//! Keys are the lower-case `traceparent` and `tracestate` of the specification. A malformed header
//! means no parent, never an error: a bad trace must not cost a record. Baggage is not propagated.

use axum::http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::message::{Header, Headers, OwnedHeaders};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Adds the span of `context` to `headers`, if it has one.
pub fn inject(context: &Context, headers: OwnedHeaders) -> OwnedHeaders {
    let mut injector = KafkaHeaders(Some(headers));
    TraceContextPropagator::new().inject_context(context, &mut injector);
    injector.0.unwrap_or_default()
}

/// The sender's span as a remote parent; an empty context if it is missing or malformed. The last of
/// a repeated header counts, as in librdkafka.
pub fn extract<H: Headers>(headers: Option<&H>) -> Context {
    let mut carrier = Carrier::default();
    for header in headers.into_iter().flat_map(Headers::iter) {
        let slot = match header.key {
            TRACEPARENT => &mut carrier.traceparent,
            TRACESTATE => &mut carrier.tracestate,
            _ => continue,
        };
        *slot = header.value.and_then(|value| str::from_utf8(value).ok());
    }
    carrier.context()
}

/// The caller's span as a remote parent; an empty context if it is missing or malformed.
pub(crate) fn extract_http(headers: &HeaderMap) -> Context {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Carrier {
        traceparent: text(TRACEPARENT),
        tracestate: text(TRACESTATE),
    }
    .context()
}

/// The two headers, found in one pass instead of one search by the propagator for each.
#[derive(Default)]
struct Carrier<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Carrier<'_> {
    fn context(&self) -> Context {
        if self.traceparent.is_none() {
            return Context::new();
        }
        TraceContextPropagator::new().extract_with_context(&Context::new(), self)
    }
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => self.traceparent,
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// `OwnedHeaders::insert` takes the headers by value; the option is empty only during that call.
struct KafkaHeaders(Option<OwnedHeaders>);

impl Injector for KafkaHeaders {
    fn set(&mut self, key: &str, value: String) {
        // Most spans have no vendor state, and an empty header would cost bytes in every record.
        if !value.is_empty() {
            self.0 = self.0.take().map(|headers| {
                headers.insert(Header {
                    key,
                    value: Some(&value),
                })
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use opentelemetry::trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    };

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn kafka(headers: &[(&str, &[u8])]) -> OwnedHeaders {
        let insert = |all: OwnedHeaders, &(key, value): &(&str, &[u8])| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        };
        headers.iter().fold(OwnedHeaders::new(), insert)
    }

    fn extracted(headers: &[(&str, &[u8])]) -> SpanContext {
        extract(Some(&kafka(headers))).span().span_context().clone()
    }

    #[test]
    fn an_injected_span_is_extracted() {
        let state = TraceState::from_key_value([("vendor", "value")]).unwrap();
        let flags = TraceFlags::SAMPLED;
        let sent = SpanContext::new(TraceId::from(7), SpanId::from(9), flags, true, state);
        let headers = inject(
            &Context::new().with_remote_span_context(sent.clone()),
            kafka(&[("other", b"kept")]),
        );
        assert_eq!(
            headers.iter().map(|header| header.key).collect::<Vec<_>>(),
            ["other", TRACEPARENT, TRACESTATE]
        );
        assert_eq!(extract(Some(&headers)).span().span_context(), &sent);
    }

    #[test]
    fn a_context_without_a_span_adds_no_header() {
        assert_eq!(inject(&Context::new(), OwnedHeaders::new()).count(), 0);
    }

    #[test]
    fn a_span_without_vendor_state_adds_one_header() {
        let context = extract(Some(&kafka(&[(TRACEPARENT, PARENT.as_bytes())])));
        assert_eq!(inject(&context, OwnedHeaders::new()).count(), 1);
    }

    #[test]
    fn no_headers_mean_no_parent() {
        assert!(!extract::<OwnedHeaders>(None).has_active_span());
        assert!(!extracted(&[]).is_valid());
    }

    #[test]
    fn a_malformed_parent_means_no_parent() {
        let malformed: [&[u8]; 9] = [
            b"",
            b"-",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            b"00-4bf92f3577b34da6a3ce929d0e0e47\xff6-00f067aa0ba902b7-01",
        ];
        for value in malformed {
            assert!(
                !extracted(&[(TRACEPARENT, value)]).is_valid(),
                "{}",
                value.escape_ascii()
            );
        }
    }

    #[test]
    fn keys_are_lower_case_only() {
        assert!(!extracted(&[("Traceparent", PARENT.as_bytes())]).is_valid());
    }

    #[test]
    fn the_last_of_a_repeated_header_counts() {
        let older = b"00-11111111111111111111111111111111-2222222222222222-01";
        let span = extracted(&[(TRACEPARENT, older), (TRACEPARENT, PARENT.as_bytes())]);
        assert_eq!(span.span_id(), SpanId::from(0x00f0_67aa_0ba9_02b7));
    }

    #[test]
    fn a_malformed_state_keeps_the_parent() {
        let span = extracted(&[(TRACEPARENT, PARENT.as_bytes()), (TRACESTATE, b"\xff\xfe")]);
        assert!(span.is_valid() && span.trace_state().header().is_empty());
    }

    #[test]
    fn http_headers_are_read_the_same_way() {
        let mut headers = HeaderMap::new();
        assert!(!extract_http(&headers).has_active_span());
        headers.insert(TRACEPARENT, HeaderValue::from_static(PARENT));
        let context = extract_http(&headers);
        assert!(
            context.span().span_context().is_sampled() && context.span().span_context().is_remote()
        );
    }
}
