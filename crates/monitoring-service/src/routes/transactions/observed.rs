//! A minute that ingest stored by request, as JSON: what became of it, and its findings.

use detection::{Minute, Observed, RowChange, State, Suppression, Timeliness};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    alerts::Alert,
    routes::{findings::Finding, schema},
};

/// What became of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::routes) enum MinuteResult {
    /// It is new.
    Stored,
    /// It was stored before with other counts.
    Corrected,
    /// It was stored before with the same counts.
    Unchanged,
    /// It is older than ALLOWED_LATENESS: its counts are stored, not evaluated.
    TooLate,
    /// It is still open, and evaluated when it closes.
    Open,
}

/// A minute that was sent.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct PostedMinute {
    stream: String,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    result: MinuteResult,
    /// The worst of the counts that were evaluated; null if none was.
    #[schema(value_type = Option<schema::StateName>)]
    pub(super) state: Option<State>,
    /// Why counts were not evaluated; null if all monitored ones were.
    not_evaluated: Option<String>,
    /// Statuses that are stored and not monitored.
    not_monitored: Vec<String>,
}

/// A count that is WARNING or CRITICAL.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct CountFinding {
    stream: String,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    count: u32,
    #[serde(flatten)]
    finding: Finding,
    message: String,
    /// The alert that was recorded; null if there is none, for example because the minute was evaluated before.
    #[schema(value_type = Option<schema::Id>)]
    alert_id: Option<Uuid>,
    /// Why the alert is not notified.
    #[schema(value_type = Option<schema::SuppressionReason>)]
    suppressed: Option<&'static str>,
}

impl PostedMinute {
    /// A minute that was observed, with its alerts.
    pub(in crate::routes) fn of(
        observed: &Observed,
        alerts: &[Alert],
    ) -> (Self, Vec<CountFinding>) {
        let judgements = || {
            observed.rows.iter().filter_map(|row| match &row.change {
                RowChange::Judged { judgement, .. } => Some((row, judgement)),
                RowChange::CountOnly => None,
            })
        };
        let result = match observed.timeliness {
            _ if observed.rows.is_empty() => MinuteResult::Unchanged,
            Timeliness::TooLate => MinuteResult::TooLate,
            Timeliness::Late if !observed.is_new => MinuteResult::Corrected,
            Timeliness::Late | Timeliness::Fresh => MinuteResult::Stored,
        };
        let not_evaluated = match result {
            MinuteResult::TooLate => Some("minute older than ALLOWED_LATENESS".to_owned()),
            MinuteResult::Unchanged => Some("its monitored counts are stored already".to_owned()),
            _ => judgements().find_map(|(_, judgement)| judgement.why_not_judged()),
        };
        let counts = &observed.counts;
        let other = counts.transactions().iter().map(|of| &of.status);
        let other = other.filter(|status| status.monitored().is_none());
        let minute = Self {
            stream: counts.stream().to_string(),
            minute: counts.minute(),
            result,
            state: judgements().map(|(_, judgement)| judgement.state()).max(),
            not_evaluated,
            not_monitored: other.map(ToString::to_string).collect(),
        };
        let findings = judgements().filter_map(|(row, judgement)| {
            let finding = judgement.finding()?;
            finding.severity.is_anomalous().then_some(())?;
            let alert = alerts.iter().find(|alert| {
                alert.anomaly().is_some_and(|of| {
                    of.key.status == row.status && of.key.policy == finding.policy()
                })
            });
            let suppression = alert.and_then(|alert| alert.suppression);
            Some(CountFinding {
                stream: minute.stream.clone(),
                minute: minute.minute,
                status: row.status.name().to_owned(),
                count: row.count,
                finding: judgement.into(),
                message: judgement.sentence(row.status.name(), row.count),
                alert_id: alert.map(|alert| alert.id),
                suppressed: suppression.map(Suppression::reason),
            })
        });
        let findings = findings.collect();
        (minute, findings)
    }

    /// A minute that is still open.
    pub(in crate::routes) fn open(stream: String, minute: Minute) -> Self {
        Self {
            stream,
            minute,
            result: MinuteResult::Open,
            state: None,
            not_evaluated: Some("the minute is still open".to_owned()),
            not_monitored: Vec::new(),
        }
    }
}
