//! Log records: one JSON object per line on stdout, or text on stderr, and severe records to a
//! webhook.
//!
//! Every record made inside a span carries its `trace_id` and `span_id`. Fields of spans are not
//! repeated on records: the trace has them. The filter of [`crate::Settings`] decides what is logged.

use std::io;

use anyhow::Context as _;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use self::record::Recorder;

mod record;
mod webhook;

pub use self::webhook::LogWebhook;
pub(crate) use self::webhook::{WebhookThread, layer as webhook_layer};

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line on stdout, for log collectors
    #[default]
    Json,
    /// Text on stderr, for people; stdout stays free for the program's own output
    Text,
}

/// The layer that writes the records that `filter` (in the syntax of `RUST_LOG`) lets through.
pub(crate) fn layer<S>(
    service: &'static str,
    format: LogFormat,
    filter: &str,
) -> anyhow::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!(
            "log filter {filter:?} is not valid; use the syntax of RUST_LOG, such as \"info\" or \"info,hyper=warn\""
        )
    })?;
    Ok(match format {
        LogFormat::Json => JsonLayer::new(service, io::stdout)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .log_internal_errors(false)
            .with_writer(io::stderr)
            .with_filter(filter)
            .boxed(),
    })
}

/// Writes each record as one line of JSON.
pub(crate) struct JsonLayer<W> {
    recorder: Recorder,
    writer: W,
}

impl<W> JsonLayer<W> {
    pub(crate) fn new(service: &'static str, writer: W) -> Self {
        Self {
            recorder: Recorder::new(service),
            writer,
        }
    }
}

impl<S, W> Layer<S> for JsonLayer<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_register_dispatch(&self, dispatch: &tracing::Dispatch) {
        self.recorder.register(dispatch);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = self.recorder.record(event).to_json();
        line.push(b'\n');
        // A closed stdout must not stop the program, and no other place is left to report it.
        let _ = io::Write::write_all(&mut self.writer.make_writer(), &line);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    #[test]
    fn an_invalid_filter_is_named() {
        let error = layer::<Registry>("test", LogFormat::Json, "common=loud")
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("\"common=loud\""), "{error}");
    }
}
