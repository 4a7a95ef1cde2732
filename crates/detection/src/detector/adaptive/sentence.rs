//! The evidence of the policy `adaptive` in words, for an on-call engineer.

use super::{
    bar,
    episode::{EpisodeChange, EpisodeEvent},
    evidence::{AdaptiveEvidence, Test},
    rate::WINDOW,
};
use crate::{
    Finding, MonitoredStatus, Severity,
    number::{about, grouped, short},
};

/// From this score on, the exponent is shown as an integer.
const WHOLE_EXPONENT: f64 = 10.0;

/// A finding of this policy in one or two sentences: the count, the usual count, its probability, and whether a raised bar prevented
/// CRITICAL.
pub(crate) fn sentence(
    finding: &Finding,
    evidence: &AdaptiveEvidence,
    status: &str,
    count: u32,
) -> String {
    let (count, expected, span) = match evidence.test {
        Test::Minute => (u64::from(count), evidence.expected, String::new()),
        Test::Window => (
            evidence.window_count,
            evidence.window_expected,
            format!(" in {WINDOW} minutes"),
        ),
    };
    let is_volume = status == MonitoredStatus::Approved.name();
    let facts = if is_volume {
        let (count, usual) = (grouped(count), short(expected));
        format!("{count}{span}, usually {usual} at this time of day")
    } else if expected < 1.0 {
        let (before, among) = (about(evidence.day_count), about(evidence.day_payments));
        let count = grouped(count);
        format!("{count}{span}; in the last day {before} of {among} payments")
    } else {
        share(evidence, count, expected, &span)
    };
    let chance = chance(finding, is_volume);
    let raised = raised_bar(finding, evidence, is_volume);
    format!("{status}: {facts}{chance}.{raised}")
}

#[expect(clippy::cast_precision_loss, reason = "a percentage")]
fn share(evidence: &AdaptiveEvidence, count: u64, expected: f64, span: &str) -> String {
    let share = percent(count as f64, evidence.payments as f64);
    let usual_share = percent(expected, evidence.expected_payments);
    let (count, payments) = (grouped(count), grouped(evidence.payments));
    let usual = short(expected);
    format!(
        "{count} of {payments} payments{span} ({share}), usually {usual} ({usual_share}) at this volume"
    )
}

fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 {
        100.0 * part / whole
    } else {
        0.0
    };
    format!("{} %", short(share))
}

/// The probability of an anomalous share, marked if it is only a WARNING; empty for a count in its range.
fn chance(finding: &Finding, is_volume: bool) -> String {
    let severity = match finding.severity {
        Severity::Normal => return String::new(),
        Severity::Warning => " (WARNING)",
        Severity::Critical => "",
    };
    match finding.score {
        Some(score) if !is_volume && score >= WHOLE_EXPONENT => {
            format!("; chance below 1 in 10^{:.0}{severity}", score.floor())
        }
        Some(score) if !is_volume => format!("; chance 1 in 10^{}{severity}", one_decimal(score)),
        _ => severity.to_owned(),
    }
}

/// The reason why a score that is usually CRITICAL is not: the bar was raised.
fn raised_bar(finding: &Finding, evidence: &AdaptiveEvidence, is_volume: bool) -> String {
    let score = finding.score.unwrap_or(0.0);
    let bad = if is_volume { -score } else { score };
    let usual_warning = evidence.bar / evidence.heat - 1.0;
    if finding.severity == Severity::Critical || evidence.heat <= 1.0 || bad < usual_warning {
        return String::new();
    }
    format!(
        " CRITICAL needs 10^-{:.1} today: this status had {:.0} episodes since yesterday.",
        evidence.bar,
        bar::episodes(evidence.heat).round()
    )
}

/// Rounded down, so that a score is never shown at or above a limit that it did not reach.
fn one_decimal(score: f64) -> String {
    format!("{:.1}", (score * 10.0).floor() / 10.0)
}

/// The new usual level after a close as the new level; `None` for any other event.
pub(super) fn new_level(event: &EpisodeEvent) -> Option<String> {
    let EpisodeChange::ClosedNewLevel(level) = event.change else {
        return None;
    };
    let parts = event.statuses.iter().map(|status| {
        if status.is_problem() {
            format!("{} {status}", percent(level.shares[status.index()], 1.0))
        } else {
            format!("{} {status} a minute", short(level.approved))
        }
    });
    let hours = event.minute.since(event.since) / 60;
    let usual = parts.collect::<Vec<_>>().join(" and ");
    Some(format!(
        "different for {hours} h: from now on {usual} counts as usual."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Evidence, Minute,
        detector::adaptive::{NewLevel, StatusSet},
    };

    const USUAL: AdaptiveEvidence = AdaptiveEvidence {
        expected: 6.02,
        spread: 0.1,
        bar: 5.0,
        heat: 1.0,
        test: Test::Minute,
        window_count: 0,
        window_expected: 0.0,
        payments: 92,
        expected_payments: 121.0,
        day_count: 0.0,
        day_payments: 0.0,
    };

    fn sentence(
        severity: Severity,
        score: f64,
        evidence: AdaptiveEvidence,
        status: &str,
        count: u32,
    ) -> String {
        let finding = Finding {
            severity,
            direction: None,
            score: Some(score),
            threshold: None,
            evidence: Evidence::Adaptive(evidence),
        };
        finding.sentence(status, count)
    }

    #[test]
    fn a_share_states_both_counts_and_percentages() {
        assert_eq!(
            sentence(Severity::Critical, 21.7, USUAL, "denied", 41),
            "denied: 41 of 92 payments (45 %), usually 6 (5 %) at this volume; chance below 1 in 10^21."
        );
        assert_eq!(
            sentence(Severity::Normal, 0.1, USUAL, "denied", 7),
            "denied: 7 of 92 payments (7.6 %), usually 6 (5 %) at this volume."
        );
        let window = AdaptiveEvidence {
            test: Test::Window,
            window_count: 120,
            window_expected: 60.2,
            payments: 1250,
            expected_payments: 1204.0,
            ..USUAL
        };
        assert_eq!(
            sentence(Severity::Warning, 4.96, window, "denied", 14),
            "denied: 120 of 1,250 payments in 10 minutes (9.6 %), usually 60 (5 %) at this volume; chance 1 in 10^4.9 (WARNING)."
        );
    }

    #[test]
    fn a_window_of_approvals_states_its_length() {
        let window = AdaptiveEvidence {
            test: Test::Window,
            window_count: 3,
            window_expected: 1180.3,
            ..USUAL
        };
        assert_eq!(
            sentence(Severity::Critical, -28.4, window, "approved", 0),
            "approved: 3 in 10 minutes, usually 1,180 at this time of day."
        );
        assert_eq!(
            sentence(Severity::Warning, -4.5, USUAL, "approved", 0),
            "approved: 0, usually 6 at this time of day (WARNING)."
        );
    }

    #[test]
    fn a_rare_status_states_its_last_day() {
        let rare = AdaptiveEvidence {
            expected: 0.002,
            day_count: 0.3,
            day_payments: 168_432.0,
            ..USUAL
        };
        assert_eq!(
            sentence(Severity::Warning, 4.19, rare, "failed", 2),
            "failed: 2; in the last day 0 of 168,000 payments; chance 1 in 10^4.1 (WARNING)."
        );
    }

    #[test]
    fn a_raised_bar_says_why_it_is_no_critical() {
        let heat = bar::heat(2.5);
        let hot = AdaptiveEvidence {
            heat,
            bar: 5.0 * heat,
            ..USUAL
        };
        assert_eq!(
            sentence(Severity::Warning, 5.5, hot, "denied", 20),
            "denied: 20 of 92 payments (22 %), usually 6 (5 %) at this volume; chance 1 in 10^5.5 (WARNING). \
             CRITICAL needs 10^-6.1 today: this status had 3 episodes since yesterday."
        );
        assert!(!sentence(Severity::Normal, 1.0, hot, "denied", 8).contains("needs"));
        assert!(!sentence(Severity::Critical, 9.0, hot, "denied", 30).contains("needs"));
    }

    #[test]
    fn a_new_level_says_what_counts_as_usual() {
        let since = Minute::from_epoch_minutes(0);
        let mut event = EpisodeEvent {
            number: 1,
            since,
            minute: since.plus(360),
            change: EpisodeChange::ClosedCalm,
            severity: Severity::Critical,
            score: 0.0,
            statuses: StatusSet::default(),
        };
        event.statuses.insert(MonitoredStatus::Denied);
        assert_eq!(event.new_level_reason(), None);
        event.change = EpisodeChange::ClosedNewLevel(NewLevel {
            approved: 118.2,
            shares: [0.7, 0.3, 0.0, 0.0, 0.0],
        });
        assert_eq!(
            event.new_level_reason().unwrap(),
            "different for 6 h: from now on 30 % denied counts as usual."
        );
        event.statuses.insert(MonitoredStatus::Approved);
        assert_eq!(
            event.new_level_reason().unwrap(),
            "different for 6 h: from now on 118 approved a minute and 30 % denied counts as usual."
        );
    }
}
