//! Log records: one JSON object a line on stdout, or text for a terminal on stderr, and chosen records to a webhook.
//!
//! Every record made inside a span carries its `trace_id` and `span_id`. Fields of spans are not repeated on records:
//! the trace has them. Nothing here decides what is logged; that is the filter of [`crate::Settings`].

use std::fmt;
use std::io;
use std::str::FromStr;

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

/// How records are written. Parses from and displays as `json` or `text`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object a line on stdout, for log collectors.
    #[default]
    Json,
    /// Lines for a human on stderr, so that what a program prints on stdout stays clean.
    Text,
}

/// A name that is not one of the log formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log format {0:?} is not known: use \"json\" or \"text\"")]
pub struct UnknownLogFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(UnknownLogFormat(name.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// The layer that writes the records which `filter` (in the syntax of `RUST_LOG`) lets through.
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
            "log filter {filter:?} is not valid: use the syntax of RUST_LOG, such as \"info\" or \"info,hyper=warn\""
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
        // A closed stdout must not stop the program, and there is nowhere left to say so.
        let _ = io::Write::write_all(&mut self.writer.make_writer(), &line);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    #[test]
    fn a_format_parses_from_what_it_displays() {
        for format in [LogFormat::Json, LogFormat::Text] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        let error = "yaml".parse::<LogFormat>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#"log format "yaml" is not known: use "json" or "text""#
        );
    }

    #[test]
    fn a_filter_that_cannot_be_parsed_is_named() {
        let error = layer::<Registry>("test", LogFormat::Json, "common=loud")
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("\"common=loud\""), "{error}");
    }
}
