//! `GET /alerts/analyze`: the findings of a range, as stored or recomputed with other settings. It changes nothing.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use axum::{Json, extract, response::IntoResponse};
use detection::{
    Anomaly, Detector, Direction, Minute, MonitorSettings, MonitoredStatus, Observed, PolicyName,
    RowChange, Severity, State, Stream, Suppression, Thresholds, ZScoreDetector,
    detector::adaptive::{AdaptiveSettings, MAX_LEARNED_MINUTES},
};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    AppState,
    error::Problem,
    extract::QueryParams,
    fields::{Field, fields},
    openapi,
    parameters::{OnePolicy, OneStream, Whole, require_order},
    schema,
};
use crate::{
    alerts::json::EvidenceView,
    store::{Hole, RangeFindings},
};

/// The longest range, minutes: a month.
const MAX_MINUTES: i64 = 31 * 1440;

/// Alerts in one answer. All are counted, also those not listed.
const MAX_ALERTS: usize = 500;

/// Holes in one answer.
const MAX_HOLES: usize = 500;

fields! {
    /// Which minutes, [from, to), and which settings to try.
    pub(super) struct AnalyzeQuery {
        /// From this minute on.
        from: Minute = "2025-07-12T13:45:00Z",
        /// Before this minute, at most 31 days later.
        to: Minute = "2025-07-12T14:45:00Z",
        /// Try this WARNING threshold, below the CRITICAL one.
        warning: Option<Threshold>,
        /// Try this CRITICAL threshold.
        critical: Option<Threshold>,
        /// Try a baseline of this many observed minutes, as `BASELINE_WINDOW`.
        window: Option<Whole<2, 1440>>,
        ..stream: OneStream,
        ..policy: OnePolicy,
    }
}

/// A threshold to recompute with.
#[derive(Clone, Copy)]
pub(super) struct Threshold(f64);

impl Field for Threshold {
    const QUOTED: bool = false;

    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse().map(Self);
        number.map_err(|_| "is not a number".to_owned())
    }

    fn fix() -> Cow<'static, str> {
        "use 0 < warning < critical; a missing one defaults to that of the service".into()
    }

    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number);
        number.exclusive_minimum(Some(0)).into()
    }
}

/// The findings and alerts of a range.
#[derive(Serialize, ToSchema)]
struct Analysis {
    stream: String,
    #[schema(value_type = schema::Minute)]
    from: Minute,
    #[schema(value_type = schema::Minute)]
    to: Minute,
    mode: Mode,
    #[schema(value_type = schema::Policy)]
    policy: PolicyName,
    warning: f64,
    critical: f64,
    /// Null for the policy adaptive, which has none.
    window: Option<usize>,
    /// Minutes of the range that did not arrive between two that did: they are unknown, not 0.
    minutes_missing: u64,
    /// Where these are, the first 500.
    holes: Vec<Hole>,
    #[serde(flatten)]
    found: Found,
}

/// `stored`: with the settings of the time; `recomputed`: with the settings of this answer.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Stored,
    Recomputed,
}

/// The findings of a range. Keeps only the alerts that are shown, so that memory is bounded.
#[derive(Default, Serialize, ToSchema)]
struct Found {
    /// Rows per status and state.
    findings: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    /// Alerts that no cooldown and no silence suppressed.
    alerts_raised: usize,
    /// Alerts that a cooldown or a silence suppressed. Other reasons do not depend on these settings.
    alerts_suppressed: usize,
    /// By minute, the first 500.
    alerts: Vec<AnalyzedAlert>,
}

/// An alert of a range.
#[derive(Serialize, ToSchema)]
struct AnalyzedAlert {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    #[schema(value_type = schema::MonitoredStatus)]
    status: MonitoredStatus,
    #[schema(value_type = schema::AlertSeverity)]
    severity: Severity,
    #[schema(value_type = schema::DirectionName)]
    direction: Direction,
    count: u32,
    #[serde(flatten)]
    evidence: EvidenceView,
    /// `cooldown`, `silence` or null.
    suppressed: Option<&'static str>,
    message: String,
}

/// The findings of a range; with other thresholds or another window, recomputed with these.
#[utoipa::path(
    get,
    path = "/alerts/analyze",
    operation_id = "analyze_alerts",
    tag = "alerts",
    params(AnalyzeQuery),
    responses((status = 200, description = "Findings and alerts of the range", body = Analysis), openapi::OfOne)
)]
pub(super) async fn analyze(
    extract::State(state): extract::State<Arc<AppState>>,
    QueryParams(query): QueryParams<AnalyzeQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (from, to) = (query.from, query.to);
    require_order(from, to)?;
    if to.since(from) > MAX_MINUTES {
        let detail = "the range is longer than 31 days";
        return Err(Problem::invalid("to", &*to.to_string(), detail).fix("use a shorter range"));
    }
    let policy = query.policy.of(&state);
    let settings = settings(&state.monitor, policy, &query)?;
    let recomputed = query.warning.is_some() || query.critical.is_some() || query.window.is_some();
    let stream = query.stream.find(&state.store).await?;
    let (mode, found) = if recomputed {
        let found = recompute(&state, settings, &stream, from, to).await?;
        (Mode::Recomputed, found)
    } else {
        let found = state
            .store
            .findings(stream.as_str(), policy, from, to, MAX_ALERTS);
        (Mode::Stored, found.await?.into())
    };
    let holes = state.store.holes(stream.as_str(), from, to, MAX_HOLES);
    let (holes, minutes_missing) = holes.await?;
    Ok(Json(Analysis {
        stream: stream.to_string(),
        from,
        to,
        mode,
        policy,
        warning: settings.detector.threshold(Severity::Warning),
        critical: settings.detector.threshold(Severity::Critical),
        window: settings.zscore().map(|detector| detector.window),
        minutes_missing,
        holes,
        found,
    }))
}

/// The settings of the service for this policy alone, with those of the query instead where given.
fn settings(
    of_service: &MonitorSettings,
    policy: PolicyName,
    query: &AnalyzeQuery,
) -> Result<MonitorSettings, Problem> {
    let settings = of_service.only(policy);
    Ok(MonitorSettings {
        detector: match settings.detector {
            Detector::ZScore(detector) => Detector::ZScore(zscore(detector, query)?),
            Detector::Adaptive(settings) => Detector::Adaptive(adaptive(settings, query)?),
        },
        ..settings
    })
}

/// The policy `adaptive` has one setting.
fn adaptive(settings: AdaptiveSettings, query: &AnalyzeQuery) -> Result<AdaptiveSettings, Problem> {
    let window = query.window.map(|Whole(minutes)| f64::from(minutes));
    let warning = query.warning.map(|Threshold(warning)| warning);
    for (field, value) in [("warning", warning), ("window", window)] {
        if let Some(value) = value {
            let detail = "only the policy zscore has this setting";
            return Err(Problem::invalid(field, &*value.to_string(), detail)
                .fix("leave it out, or use policy=zscore"));
        }
    }
    let Some(Threshold(critical)) = query.critical else {
        return Ok(settings);
    };
    AdaptiveSettings::try_new(critical).map_err(|error| {
        Problem::invalid("critical", &*critical.to_string(), error.to_string())
            .fix("use a number above 1 and at most 100")
    })
}

fn zscore(mut detector: ZScoreDetector, query: &AnalyzeQuery) -> Result<ZScoreDetector, Problem> {
    let limit = |asked: Option<Threshold>, severity| {
        asked.map_or(detector.thresholds.limit(severity), |Threshold(limit)| {
            limit
        })
    };
    let warning = limit(query.warning, Severity::Warning);
    let critical = limit(query.critical, Severity::Critical);
    detector.thresholds = Thresholds::try_new(warning, critical).map_err(|error| {
        let (field, value) = match query.warning {
            Some(_) => ("warning", warning),
            None => ("critical", critical),
        };
        Problem::invalid(field, &*value.to_string(), error.to_string()).fix(Threshold::fix())
    })?;
    if let Some(Whole(window)) = query.window {
        detector.window = window as usize;
        // A window shorter than the minimum history would evaluate nothing, which would look as if all were normal.
        detector.min_history = detector.min_history.min(window);
    }
    Ok(detector)
}

/// Folds the stored minutes on the thread that reads them.
async fn recompute(
    state: &AppState,
    settings: MonitorSettings,
    stream: &Stream,
    from: Minute,
    to: Minute,
) -> Result<Found, Problem> {
    // Start before the range, so that its first minutes have full windows.
    let before = match settings.detector {
        Detector::ZScore(_) => settings.history_capacity(),
        Detector::Adaptive(_) => usize::try_from(MAX_LEARNED_MINUTES).unwrap_or_default(),
    };
    let minutes = usize::try_from(to.since(from)).unwrap_or_default() + before;
    let name = stream.clone();
    let fold = move |minutes| {
        let mut found = Found::default();
        detection::recompute(settings, &name, minutes, from)
            .for_each(|observed| found.add(&observed));
        found
    };
    let found = state
        .store
        .with_observed_minutes(stream.as_str(), to.plus(-1), minutes, fold);
    Ok(found.await?)
}

impl From<RangeFindings> for Found {
    fn from(range: RangeFindings) -> Self {
        let mut found = Self {
            alerts_raised: range.unmuted,
            alerts_suppressed: range.muted,
            ..Self::default()
        };
        for (status, state, rows) in range.counts {
            found.count(status, state, rows);
        }
        let alerts = range.alerts.iter();
        found.alerts = alerts
            .filter_map(|alert| Some(AnalyzedAlert::new(alert.anomaly()?, alert.suppression)))
            .collect();
        found
    }
}

impl Found {
    fn add(&mut self, observed: &Observed) {
        for row in &observed.rows {
            if let RowChange::Judged { judgement, .. } = row.change {
                self.count(row.status, judgement.state(), 1);
            }
        }
        for raised in &observed.alerts {
            let suppressed = raised.suppression.is_some();
            self.alerts_suppressed += usize::from(suppressed);
            self.alerts_raised += usize::from(!suppressed);
            if self.alerts.len() < MAX_ALERTS {
                self.alerts
                    .push(AnalyzedAlert::new(&raised.anomaly, raised.suppression));
            }
        }
    }

    fn count(&mut self, status: MonitoredStatus, state: State, rows: u64) {
        let of_status = self.findings.entry(status.name()).or_default();
        *of_status.entry(state.name()).or_default() += rows;
    }
}

impl AnalyzedAlert {
    fn new(anomaly: &Anomaly, suppression: Option<Suppression>) -> Self {
        let Anomaly { key, finding, .. } = anomaly;
        Self {
            minute: anomaly.minute,
            status: key.status,
            severity: key.severity,
            direction: key.direction,
            count: anomaly.count,
            evidence: EvidenceView::new(Some(&finding.evidence), finding.score),
            suppressed: suppression
                .filter(|by| by.is_muted())
                .map(Suppression::reason),
            message: finding.sentence(key.status.name(), anomaly.count),
        }
    }
}
