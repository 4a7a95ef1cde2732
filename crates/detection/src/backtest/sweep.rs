//! Compares several CRITICAL thresholds on the same history, and recommends one for a budget of false alarms. The caller sets the
//! threshold; nothing is applied here.

use std::cmp::Reverse;

use super::{Backtest, LabelledIncident, Report};
use crate::{
    Detector, MinuteCounts, MonitorSettings, Thresholds, ZScoreDetector,
    detector::{
        adaptive::{AdaptiveSettings, AdaptiveSettingsError},
        zscore::ThresholdsError,
    },
};

/// The default thresholds of a sweep, in the unit of the policy's score.
pub const DEFAULT_THRESHOLDS: [f64; 7] = [3.0, 3.5, 4.0, 5.0, 6.0, 8.0, 10.0];

/// A threshold that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(transparent)]
pub enum ThresholdError {
    /// Of policy `zscore`.
    ZScore(#[from] ThresholdsError),
    /// Of policy `adaptive`.
    Adaptive(#[from] AdaptiveSettingsError),
}

/// The detector with another CRITICAL threshold. The WARNING threshold of `zscore` keeps its ratio, that of `adaptive` its decade.
pub fn with_critical(detector: Detector, critical: f64) -> Result<Detector, ThresholdError> {
    Ok(match detector {
        Detector::ZScore(detector) => {
            let ratio = detector.thresholds.warning() / detector.thresholds.critical();
            Detector::ZScore(ZScoreDetector {
                thresholds: Thresholds::try_new(critical * ratio, critical)?,
                ..detector
            })
        }
        Detector::Adaptive(_) => Detector::Adaptive(AdaptiveSettings::try_new(critical)?),
    })
}

/// One report for each detector, over the same minutes in the same order.
pub fn sweep(
    settings: MonitorSettings,
    detectors: &[Detector],
    labels: &[LabelledIncident],
    minutes: &[MinuteCounts],
) -> Vec<Report> {
    let run = |detector: &Detector| {
        let settings = MonitorSettings {
            detector: *detector,
            ..settings
        };
        let mut backtest = Backtest::new(settings, Some(labels.to_vec()));
        for counts in minutes {
            backtest.observe(counts.clone());
        }
        backtest.report()
    };
    detectors.iter().map(run).collect()
}

/// The report with the highest recall among those with at most this many false episodes per day. Ties go to fewer false
/// alarms, then with the shorter delay, then with the higher threshold. `None` if all have more.
pub fn recommended(reports: &[Report], false_per_day: f64) -> Option<&Report> {
    let within = reports.iter().filter_map(|report| {
        let score = report.score.as_ref()?;
        let rate = score.episodes.false_per_day?.rate;
        let rank = (
            score.found,
            Reverse(score.episodes.false_alarms),
            Reverse(score.delay.map(|delay| (delay.p90, delay.median))),
        );
        (rate <= false_per_day).then_some((rank, report))
    });
    within
        .max_by(|(rank, report), (other_rank, other)| {
            let by_threshold = report.critical.total_cmp(&other.critical);
            rank.cmp(other_rank).then(by_threshold)
        })
        .map(|(_, report)| report)
}
