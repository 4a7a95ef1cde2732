//! The figures of a report by name: for requirements, CSV columns and the JSON of a sweep. How they come about is in
//! [`detection::backtest`].

use detection::backtest::{Quantiles, Report};

/// One figure of a report.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) needs_labels: bool,
    /// None where the report has no such figure: no labels, or nothing to divide by.
    pub(super) value: fn(&Report) -> Option<f64>,
}

/// All of them.
pub(super) static METRICS: [Metric; 17] = [
    labelled("incidents", |r| Some(r.score.as_ref()?.incidents.into())),
    labelled("found", |r| Some(r.score.as_ref()?.found.into())),
    labelled("recall", |r| r.score.as_ref()?.recall),
    labelled("delay_median", |r| delay(r, |delay| delay.median)),
    labelled("delay_p90", |r| delay(r, |delay| delay.p90)),
    labelled("delay_worst", |r| delay(r, |delay| delay.worst)),
    labelled("false_per_day", |r| {
        Some(r.score.as_ref()?.episodes.false_per_day?.rate)
    }),
    labelled("false_per_day_low", |r| {
        Some(r.score.as_ref()?.episodes.false_per_day?.low)
    }),
    labelled("false_per_day_high", |r| {
        Some(r.score.as_ref()?.episodes.false_per_day?.high)
    }),
    labelled("precision", |r| r.score.as_ref()?.episodes.precision),
    labelled("false_notifications_per_day", |r| {
        Some(r.score.as_ref()?.false_notifications_per_day?.rate)
    }),
    always("warning_alerts", |r| Some(r.sent.warning_alerts.into())),
    always("critical_alerts", |r| Some(r.sent.critical_alerts.into())),
    always("notifications", |r| Some(r.sent.notifications.into())),
    always("critical_episodes", |r| {
        Some(r.sent.critical_episodes.into())
    }),
    always("notifications_per_day", |r| {
        per_day(r.sent.notifications, r)
    }),
    always("episodes_per_day", |r| per_day(r.sent.critical_episodes, r)),
];

const fn labelled(name: &'static str, value: fn(&Report) -> Option<f64>) -> Metric {
    Metric {
        name,
        needs_labels: true,
        value,
    }
}

const fn always(name: &'static str, value: fn(&Report) -> Option<f64>) -> Metric {
    Metric {
        name,
        needs_labels: false,
        value,
    }
}

#[expect(clippy::cast_precision_loss, reason = "minutes of a history")]
fn delay(report: &Report, of: fn(Quantiles) -> i64) -> Option<f64> {
    Some(of(report.score.as_ref()?.delay?) as f64)
}

/// Events a day; none of an empty history.
pub(super) fn per_day(events: u32, report: &Report) -> Option<f64> {
    (report.days > 0.0).then(|| f64::from(events) / report.days)
}
