//! The result for programs: JSON with everything, CSV with one row for each policy and threshold.

use std::path::Path;

use anyhow::Context as _;
use detection::{Minute, Stream, backtest::Report};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{Comparison, PolicyResult, metrics::METRICS, requirement::Checked};

#[derive(Serialize)]
struct Document<'a> {
    history: HistoryFacts<'a>,
    labels: Option<LabelFacts<'a>>,
    policies: Vec<PolicyFacts<'a>>,
    requirements: &'a [Checked],
}

#[derive(Serialize)]
struct HistoryFacts<'a> {
    source: &'a Path,
    first: Minute,
    last: Minute,
    streams: Vec<&'a str>,
    skipped_rows: u64,
}

#[derive(Serialize)]
struct LabelFacts<'a> {
    source: &'a Path,
    incidents: usize,
    harmless: usize,
    elsewhere: usize,
}

#[derive(Serialize)]
struct PolicyFacts<'a> {
    #[serde(flatten)]
    report: &'a Report,
    sweep: Vec<Figures<'a>>,
    recommended_critical: Option<f64>,
}

/// The figures of a report by name.
struct Figures<'a>(&'a Report);

impl Serialize for Figures<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("critical", &self.0.critical)?;
        map.serialize_entry("warning", &self.0.warning)?;
        for metric in &METRICS {
            map.serialize_entry(metric.name, &(metric.value)(self.0))?;
        }
        map.end()
    }
}

impl PolicyResult {
    /// The CRITICAL threshold that the sweep recommends.
    fn recommended(&self) -> Option<f64> {
        let sweep = self.sweep.as_ref()?;
        Some(sweep.reports[sweep.recommended?].critical)
    }

    fn swept(&self) -> impl Iterator<Item = &Report> {
        self.sweep.iter().flat_map(|sweep| &sweep.reports)
    }
}

/// One JSON object, with a line end.
pub(super) fn json(comparison: &Comparison) -> anyhow::Result<String> {
    let history = &comparison.history;
    let document = Document {
        history: HistoryFacts {
            source: &history.path,
            first: history.first(),
            last: history.last(),
            streams: history.streams.iter().map(Stream::as_str).collect(),
            skipped_rows: history.skipped,
        },
        labels: comparison.labels.as_ref().map(|file| LabelFacts {
            source: &file.path,
            incidents: file.incidents().count(),
            harmless: file.harmless().count(),
            elsewhere: file.elsewhere,
        }),
        policies: comparison.policies.iter().map(policy_facts).collect(),
        requirements: &comparison.checked,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn policy_facts(policy: &PolicyResult) -> PolicyFacts<'_> {
    PolicyFacts {
        report: &policy.report,
        sweep: policy.swept().map(Figures).collect(),
        recommended_critical: policy.recommended(),
    }
}

/// The figures as columns. `run` is `settings` for the settings as they are, `sweep` for a threshold that was tried, and
/// `recommended` for the best of these.
pub(super) fn csv(comparison: &Comparison) -> anyhow::Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let names = METRICS.iter().map(|metric| metric.name);
    csv.write_record(
        ["policy", "run", "critical", "warning"]
            .into_iter()
            .chain(names),
    )?;
    for policy in &comparison.policies {
        csv.write_record(record(&policy.report, "settings"))?;
        let recommended = policy.sweep.as_ref().and_then(|sweep| sweep.recommended);
        for (at, report) in policy.swept().enumerate() {
            let run = if recommended == Some(at) {
                "recommended"
            } else {
                "sweep"
            };
            csv.write_record(record(report, run))?;
        }
    }
    let bytes = csv.into_inner().context("cannot write the CSV")?;
    String::from_utf8(bytes).context("names are UTF-8")
}

fn record(report: &Report, run: &str) -> Vec<String> {
    let head = [
        report.policy.to_string(),
        run.to_owned(),
        report.critical.to_string(),
        report.warning.to_string(),
    ];
    let figures = METRICS
        .iter()
        .map(|metric| (metric.value)(report).map_or_else(String::new, |value| value.to_string()));
    head.into_iter().chain(figures).collect()
}
