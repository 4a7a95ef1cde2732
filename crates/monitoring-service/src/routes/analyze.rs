//! `GET /alerts/analyze`: what the policy said of a range, or would have said with other settings. Changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, response::IntoResponse};
use detection::{
    Detector, Minute, MonitorSettings, MonitoredStatus, RowChange, Severity, Stream, Thresholds,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams, missing},
    openapi, params,
    queries::stream_of,
    schema,
    views::BaselineView,
};
use crate::store::RangeFindings;

/// The longest range: a month of minutes.
const MAX_MINUTES: i64 = 31 * 1440;

/// Windows that may be asked for, as `BASELINE_WINDOW`.
const WINDOWS: std::ops::RangeInclusive<usize> = 2..=1440;

/// Alerts that one answer lists; all are counted.
const MAX_ALERTS: usize = 500;

const THRESHOLD_FIX: &str = "give 0 < warning < critical; the one not given is that of the service";
const WINDOW_FIX: &str = "use a whole number of minutes from 2 to 1440";

/// Which minutes, [from, to), and what to try.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AnalyzeQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// From this minute on.
    #[param(value_type = schema::Timestamp, required = true)]
    from: Option<Minute>,
    /// Before this minute, at most 31 days later.
    #[param(value_type = schema::Timestamp, required = true)]
    to: Option<Minute>,
    /// Try this WARNING threshold; below the critical one.
    #[param(value_type = f64, exclusive_minimum = 0.0, required = false)]
    warning: Option<f64>,
    /// Try this CRITICAL threshold.
    #[param(value_type = f64, exclusive_minimum = 0.0, required = false)]
    critical: Option<f64>,
    /// Try this many observed minutes as the baseline.
    #[param(value_type = u32, minimum = 2, maximum = 1440, required = false)]
    window: Option<usize>,
}

impl Fields for AnalyzeQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("from", params::TIMESTAMP_FIX),
        ("to", params::TIMESTAMP_FIX),
        ("warning", THRESHOLD_FIX),
        ("critical", THRESHOLD_FIX),
        ("window", WINDOW_FIX),
    ];
}

#[derive(Serialize, ToSchema)]
struct AnalysisView {
    stream: String,
    #[schema(value_type = schema::Minute)]
    from: Minute,
    #[schema(value_type = schema::Minute)]
    to: Minute,
    /// `stored`: what was said when the minutes came. `recomputed`: what the settings below would have said.
    #[schema(value_type = schema::AnalysisMode)]
    mode: &'static str,
    warning: f64,
    critical: f64,
    window: usize,
    /// Rows per status and severity.
    verdicts: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    alerts_dispatched: usize,
    alerts_suppressed: usize,
    /// By minute, the first 500.
    alerts: Vec<AnalyzedAlertView>,
}

#[derive(Serialize, ToSchema)]
struct AnalyzedAlertView {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    #[schema(value_type = schema::MonitoredStatus)]
    status: &'static str,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = schema::DirectionName)]
    direction: &'static str,
    count: u32,
    z_score: Option<f64>,
    baseline: Option<BaselineView>,
    dispatched: bool,
    message: String,
}

/// What the policy said of a range or, with other thresholds or another window, would have said.
#[utoipa::path(
    get,
    path = "/alerts/analyze",
    operation_id = "analyze_alerts",
    tag = "alerts",
    params(AnalyzeQuery),
    responses((status = 200, description = "Verdicts and alerts of the range", body = AnalysisView), openapi::OfOne)
)]
pub(super) async fn analyze(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<AnalyzeQuery>,
) -> Result<impl IntoResponse, Problem> {
    let from = query.from.ok_or_else(|| missing::<AnalyzeQuery>("from"))?;
    let to = query.to.ok_or_else(|| missing::<AnalyzeQuery>("to"))?;
    params::require_order(Some(from), Some(to))?;
    if to.since(from) > MAX_MINUTES {
        let detail = "the range is longer than 31 days";
        return Err(Problem::invalid("to", &to.to_string(), detail).fix("give a shorter range"));
    }
    let recomputed = query.warning.is_some() || query.critical.is_some() || query.window.is_some();
    let policy = policy(&state.monitor, &query)?;
    let stream = stream_of(&state.store, query.stream).await?;
    let (mode, found) = if recomputed {
        // Fed from before the range, so that its first minutes have their windows.
        let minutes =
            usize::try_from(to.since(from)).unwrap_or_default() + policy.history_capacity();
        let judged = stream.clone();
        let recompute = move |minutes| recompute(policy, &judged, minutes, from);
        (
            "recomputed",
            state
                .store
                .with_observed_minutes(stream.as_str(), to.plus(-1), minutes, recompute)
                .await?,
        )
    } else {
        (
            "stored",
            stored(
                state
                    .store
                    .findings(stream.as_str(), from, to, MAX_ALERTS)
                    .await?,
            ),
        )
    };
    Ok(Json(AnalysisView {
        stream: stream.to_string(),
        from,
        to,
        mode,
        warning: policy.detector.threshold(Severity::Warning),
        critical: policy.detector.threshold(Severity::Critical),
        window: policy.detector.window(),
        verdicts: found.verdicts,
        alerts_dispatched: found.dispatched,
        alerts_suppressed: found.suppressed,
        alerts: found.alerts,
    }))
}

/// The settings of the service with those of the query put in.
fn policy(of_service: &MonitorSettings, query: &AnalyzeQuery) -> Result<MonitorSettings, Problem> {
    let mut policy = *of_service;
    let Detector::ZScore(detector) = &mut policy.detector else {
        let detail = "only the policy zscore has thresholds and a window to recompute with";
        return Err(Problem::invalid(
            "policy",
            policy.detector.policy().name(),
            detail,
        ));
    };
    let thresholds = detector.thresholds;
    let warning = query
        .warning
        .unwrap_or_else(|| thresholds.limit(Severity::Warning));
    let critical = query
        .critical
        .unwrap_or_else(|| thresholds.limit(Severity::Critical));
    detector.thresholds = Thresholds::try_new(warning, critical).map_err(|error| {
        let (field, value) = if query.warning.is_some() {
            ("warning", warning)
        } else {
            ("critical", critical)
        };
        Problem::invalid(field, &value.to_string(), error.to_string()).fix(THRESHOLD_FIX)
    })?;
    detector.window = query.window.unwrap_or(detector.window);
    if !WINDOWS.contains(&detector.window) {
        let detail = "the window is not one that can be set";
        return Err(
            Problem::invalid("window", &detector.window.to_string(), detail).fix(WINDOW_FIX),
        );
    }
    // A window of fewer minutes than it needs would judge nothing, and look as if nothing were wrong.
    detector.min_history = detector
        .min_history
        .min(u32::try_from(detector.window).unwrap_or(u32::MAX));
    Ok(policy)
}

/// What is found in a range. However many alerts it has, no more are held than are shown.
#[derive(Default)]
struct Found {
    verdicts: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    dispatched: usize,
    suppressed: usize,
    alerts: Vec<AnalyzedAlertView>,
}

impl Found {
    fn count(&mut self, status: MonitoredStatus, state: &'static str, rows: u64) {
        *self
            .verdicts
            .entry(status.name())
            .or_default()
            .entry(state)
            .or_default() += rows;
    }

    fn add(&mut self, dispatched: bool, alert: impl FnOnce() -> AnalyzedAlertView) {
        *(if dispatched {
            &mut self.dispatched
        } else {
            &mut self.suppressed
        }) += 1;
        if self.alerts.len() < MAX_ALERTS {
            self.alerts.push(alert());
        }
    }
}

fn stored(range: RangeFindings) -> Found {
    let mut found = Found {
        dispatched: range.unmuted,
        suppressed: range.muted,
        ..Found::default()
    };
    for (status, state, rows) in range.counts {
        found.count(status, state.name(), rows);
    }
    for alert in &range.alerts {
        if let Some(anomaly) = alert.anomaly() {
            found.alerts.push(view(anomaly, !alert.is_muted()));
        }
    }
    found
}

/// The same fold over the stored minutes, with other settings.
fn recompute(
    settings: MonitorSettings,
    stream: &Stream,
    minutes: Vec<detection::ObservedMinute>,
    from: Minute,
) -> Found {
    let mut found = Found::default();
    for observed in detection::recompute(settings, stream, minutes, from) {
        for row in &observed.rows {
            if let RowChange::Judged { judgement, .. } = row.change {
                found.count(row.status, judgement.state().name(), 1);
            }
        }
        for raised in &observed.alerts {
            let dispatched = raised.suppression.is_none();
            found.add(dispatched, || view(&raised.anomaly, dispatched));
        }
    }
    found
}

fn view(anomaly: &detection::Anomaly, dispatched: bool) -> AnalyzedAlertView {
    let (key, finding) = (&anomaly.key, &anomaly.finding);
    AnalyzedAlertView {
        minute: anomaly.minute,
        status: key.status.name(),
        severity: key.severity,
        direction: key.direction.name(),
        count: anomaly.count,
        z_score: finding.score,
        baseline: finding.evidence.baseline().map(Into::into),
        dispatched,
        message: finding.sentence(key.status.name(), anomaly.count),
    }
}
